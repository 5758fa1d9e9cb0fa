// A database, a server, the proxy before it, and a browser with tabs: what each test begins with.

import { expect } from "vitest";

import type { Chromium, Tab } from "./chromium.js";
import type { Findings, Plan } from "./page.js";
import { Proxy } from "./proxy.js";
import { Database, type Row, Rowcast } from "./rowcast.js";

/** Clients of tests come back sooner than others. Milliseconds. */
export const SOON: { readonly reconnectInterval: number; readonly reconnectMaxInterval: number } = {
  reconnectInterval: 40,
  reconnectMaxInterval: 200,
};

/** What each test begins with. */
export interface Stage {
  readonly database: Database;
  readonly server: Rowcast;
  readonly proxy: Proxy;
  /** The page's plan, with the URL of the proxy. */
  plan(more?: Partial<Plan>): Plan;
  /** Another tab of the same browser, with the client begun. */
  open(more?: Partial<Plan>): Promise<Tab>;
  /** The position of now. */
  cursor(): Promise<string>;
  stop(): Promise<void>;
}

export async function stage(chromium: Chromium, ...flags: readonly string[]): Promise<Stage> {
  const database = new Database();
  const server = await Rowcast.start(database, "--allow-origin", chromium.origin, ...flags);
  const proxy = await Proxy.start(server.port);
  const context = await chromium.context();
  const plan = (more: Partial<Plan> = {}): Plan => ({ url: `ws://${proxy.host}/ws`, ...SOON, ...more });
  return {
    database,
    server,
    proxy,
    plan,
    async open(more) {
      const tab = await chromium.tab(context);
      await tab.begin(plan(more));
      return tab;
    },
    async cursor() {
      const answer = await fetch(`http://${server.host}/cursor`);
      return ((await answer.json()) as { cursor: string }).cursor;
    },
    async stop() {
      await context.close();
      await proxy.stop();
      await server.stop();
      database.remove();
    },
  };
}

/** Rows with the numbers from `first` on. */
export function numbered(first: number, count: number): Row[] {
  return Array.from({ length: count }, (_, k) => ({
    channel: "numbers",
    type: "number.added",
    payload: { n: first + k },
  }));
}

/** Each of the numbers 1 to `count` once and in order; else what is wrong, in a few words. */
export function expectAll({ numbers, resets }: Findings, count: number): void {
  const seen = new Set(numbers);
  const missing = Array.from({ length: count }, (_, k) => k + 1).filter((n) => !seen.has(n));
  const misplaced = numbers.filter((n, k) => n !== k + 1);
  expect({
    numbers: numbers.length,
    missing: missing.slice(0, 10),
    twice: numbers.length - seen.size,
    misplaced: misplaced.slice(0, 10),
    resets,
  }).toEqual({ numbers: count, missing: [], twice: 0, misplaced: [], resets: 0 });
}
