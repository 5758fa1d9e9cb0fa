// Tabs that open, close, crash, hang, sleep and lose messages at any time: each gets each event exactly once, in order.

/// <reference types="node" />

import fc from "fast-check";
import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { type Client, createClient } from "../src/index.js";
import { createTestServer } from "../src/testing/index.js";
import { FakeBrowser, type FakeTab } from "./tabs-browser.js";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

/** Longest that anything takes to be found out: a dead line, a hung leader, a wait before an attempt. */
const PATIENCE_MS = 200_000;
const CHANNELS = ["tasks", "plans"] as const;

type Step =
  | { readonly do: "open"; readonly channel: 0 | 1 }
  | { readonly do: "emit"; readonly rows: readonly (0 | 1)[]; readonly afterTurns: number }
  | { readonly do: "cut"; readonly afterFrames: number }
  | { readonly do: "flow"; readonly count: number }
  | { readonly do: "restart" }
  | { readonly do: "wait"; readonly ms: number }
  | { readonly do: "close" | "crash" | "hang" | "recover" | "suspend" | "resume" | "flush"; readonly tab: number }
  | { readonly do: "lose"; readonly tab: number; readonly count: number };

const one = fc.constantFrom(0 as const, 1 as const);
const which = fc.nat(5);
const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.oneof(
    { weight: 3, arbitrary: fc.record({ do: fc.constant("open" as const), channel: one }) },
    {
      weight: 8,
      arbitrary: fc.record({
        do: fc.constant("emit" as const),
        rows: fc.array(one, { minLength: 1, maxLength: 3 }),
        // In the middle of what tabs and server say to each other.
        afterTurns: fc.oneof(fc.constant(0), fc.nat(120)),
      }),
    },
    { weight: 2, arbitrary: fc.record({ do: fc.constant("cut" as const), afterFrames: fc.nat(4) }) },
    { weight: 3, arbitrary: fc.record({ do: fc.constant("flow" as const), count: fc.nat(150) }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant("restart" as const) }) },
    {
      weight: 6,
      arbitrary: fc.record({ do: fc.constant("wait" as const), ms: fc.constantFrom(0, 1, 5, 50, 4_000, 70_000) }),
    },
    {
      weight: 5,
      arbitrary: fc.record({
        do: fc.constantFrom("close", "crash", "hang", "recover", "suspend", "resume", "flush"),
        tab: which,
      }),
    },
    {
      weight: 2,
      arbitrary: fc.record({ do: fc.constant("lose" as const), tab: which, count: fc.integer({ min: 1, max: 3 }) }),
    },
  ),
  { maxLength: 60 },
);

class Page {
  readonly seen: number[] = [];
  /** The first event that it has to have. */
  from = Number.POSITIVE_INFINITY;
  isGone = false;
  readonly tab: FakeTab;
  readonly channel: string;
  readonly client: Client;

  constructor(tab: FakeTab, channel: string, server: ReturnType<typeof createTestServer>, next: () => number) {
    this.tab = tab;
    this.channel = channel;
    this.client = createClient({
      url: "ws://feed.test/ws",
      tabs: tab.share(),
      environment: { ...server.environment, WebSocket: tab.WebSocket, lifecycle: tab.lifecycle },
    });
    const onSubscribed = () => {
      this.from = Math.min(this.from, next());
    };
    const born = next();
    this.client.subscribe(channel, (event) => this.seen.push(event.payload as number), { onSubscribed });
    this.client.on("reset", () => expect.fail("nothing was lost, so nothing is reset"));
    this.born = born;
  }
  readonly born: number;
}

async function play(all: readonly Step[]): Promise<void> {
  let seed = 1;
  // Chance is the same in each run.
  const random = () => {
    seed = (seed * 16_807) % 2_147_483_647;
    return seed / 2_147_483_647;
  };
  vi.spyOn(Math, "random").mockImplementation(random);
  const server = createTestServer({ random, messagesPerMinute: 100_000 });
  const browser = new FakeBrowser(server.environment.WebSocket);
  const pages: Page[] = [];
  const committed: { readonly n: number; readonly channel: string }[] = [];
  const open = (channel: 0 | 1) =>
    pages.push(new Page(browser.open(), CHANNELS[channel], server, () => committed.length));
  const emit = (channels: readonly (0 | 1)[]) => {
    const rows = channels.map((channel, k) => ({ n: committed.length + k, channel: CHANNELS[channel] }));
    committed.push(...rows);
    server.commit(rows.map(({ n, channel }) => ({ channel, type: "x.y", payload: n })));
  };
  const perform = async (step: Step): Promise<void> => {
    if (step.do === "open") open(step.channel);
    else if (step.do === "emit") {
      for (let turn = 0; turn < step.afterTurns; turn += 1) await Promise.resolve();
      emit(step.rows);
    } else if (step.do === "flow") {
      for (let turn = 0; turn < step.count; turn += 1) {
        await Promise.resolve();
        if (turn % 3 === 0) emit([turn % 2 === 0 ? 0 : 1]);
      }
    } else if (step.do === "cut") server.cut(step);
    else if (step.do === "restart") server.restart({ retryAfterMs: 300 });
    else if (step.do === "wait") await vi.advanceTimersByTimeAsync(step.ms);
    else {
      const page = pages[step.tab % pages.length];
      if (page === undefined || page.isGone) return;
      if (step.do === "lose") page.tab.losing = step.count;
      else if (step.do === "hang") page.tab.hang();
      else if (step.do === "recover") page.tab.recover();
      else if (step.do === "suspend") page.tab.lifecycle.tell("suspend");
      else if (step.do === "resume") page.tab.lifecycle.tell("resume");
      else if (step.do === "close" || step.do === "crash") {
        page.isGone = true;
        if (step.do === "crash") page.tab.crash();
        page.client.disconnect();
      }
    }
  };
  for (const step of [{ do: "open", channel: 0 } as const, { do: "open", channel: 1 } as const, ...all])
    await perform(step);
  for (const { tab } of pages) {
    tab.losing = 0;
    tab.recover();
    if (!tab.isCrashed) tab.lifecycle.tell("resume");
  }
  await vi.advanceTimersByTimeAsync(PATIENCE_MS);
  server.emit(CHANNELS[0], "x.y", -1);
  await vi.advanceTimersByTimeAsync(PATIENCE_MS);
  const alive = pages.filter(({ isGone }) => !isGone);
  for (const { seen, channel, from, born, isGone } of pages) {
    const got = seen.filter((n) => n >= 0);
    const mine = committed.filter((row) => row.channel === channel).map(({ n }) => n);
    const start = Math.min(from, got[0] ?? from);
    expect(start).toBeGreaterThanOrEqual(born);
    const due = mine.filter((n) => n >= start);
    expect(got).toEqual(isGone ? due.slice(0, got.length) : due);
  }
  for (const { client } of alive) expect(client.status.state).toBe("connected");
  expect(server.connections.length).toBeLessThanOrEqual(Math.min(1, alive.length));
  for (const { client } of pages) client.disconnect();
  server.close();
  await vi.advanceTimersByTimeAsync(10_000);
}

test("whatever happens to tabs, each gets each event exactly once", { timeout: 60_000 }, async () => {
  await fc.assert(fc.asyncProperty(steps, play), { numRuns: Number(process.env.TABS_RUNS ?? 300) });
});
