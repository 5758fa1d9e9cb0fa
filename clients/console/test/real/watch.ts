// How long the tasks of a page take: on the clock, as the browser itself tells pages, and on the processor.

import { availableParallelism, loadavg } from "node:os";
import type { Browser, Page } from "playwright-core";

/** What was seen. Milliseconds. */
export interface Watched {
  /** Tasks of more than 50 ms (`PerformanceObserver`, `longtask`). */
  readonly longTasks: number;
  readonly longestMs: number;
  /** The most processor time that one task of the page took. */
  readonly busiestMs: number;
  /**
   * Whether others wanted the processors all the while: then the clock tells how long the page was kept from running, and
   * only the processor's time tells what it did.
   */
  readonly isStarved: boolean;
}

interface TraceEvent {
  readonly name: string;
  readonly ph: string;
  readonly pid: number;
  readonly tid: number;
  readonly tdur?: number;
  readonly args?: { readonly name?: string };
}

/** Watches the page while something happens. */
export async function watch(browser: Browser, page: Page, happens: () => Promise<void>): Promise<Watched> {
  await page.evaluate(() => {
    const watched = globalThis as unknown as { tasks: number[]; watching?: PerformanceObserver };
    watched.tasks = [];
    watched.watching?.disconnect();
    watched.watching = new PerformanceObserver((list) => {
      for (const { duration } of list.getEntries()) watched.tasks.push(duration);
    });
    watched.watching.observe({ type: "longtask" });
  });
  const loadBefore = load();
  await browser.startTracing(page, { categories: ["toplevel", "__metadata"] });
  await happens();
  const trace = JSON.parse((await browser.stopTracing()).toString()) as { traceEvents: TraceEvent[] };
  const tasks = await page.evaluate(() => (globalThis as unknown as { tasks: number[] }).tasks);
  return {
    longTasks: tasks.length,
    longestMs: Math.max(0, ...tasks),
    busiestMs: busiest(trace.traceEvents),
    isStarved: Math.max(loadBefore, load()) > 2,
  };
}

/** Those who want to run, for each processor. */
function load(): number {
  return (loadavg()[0] ?? 0) / availableParallelism();
}

/** The most processor time of a task of a page's main thread. */
function busiest(events: readonly TraceEvent[]): number {
  const idOf = ({ pid, tid }: TraceEvent): string => `${pid}:${tid}`;
  const isMain = (event: TraceEvent): boolean => event.name === "thread_name" && event.args?.name === "CrRendererMain";
  const mains = new Set(events.filter(isMain).map(idOf));
  let most = 0;
  let seen = 0;
  for (const event of events) {
    if (event.ph !== "X" || !event.name.includes("RunTask") || !mains.has(idOf(event))) continue;
    seen += 1;
    most = Math.max(most, (event.tdur ?? 0) / 1_000);
  }
  if (seen === 0) throw new Error("the trace has no tasks: this browser names them otherwise");
  return most;
}
