// 10,000 numbered events, 50 cuts and 5 restarts of the server: each tab is handed each of them once, in order.

import { afterAll, beforeAll, expect, test } from "vitest";

import { Chromium, type Tab } from "./harness/chromium.js";
import type { Plan } from "./harness/page.js";
import { expectAll, numbered, type Stage, stage } from "./harness/stage.js";

const EVENTS = 10_000;
const CUTS = 50;
const RESTARTS = 5;
const PER_CUT = EVENTS / CUTS;
/** Rows of one transaction. */
const BATCH = 40;

let chromium: Chromium;
beforeAll(async () => {
  chromium = await Chromium.start();
});
afterAll(() => chromium?.stop());

interface Round {
  readonly number: number;
  readonly tabs: readonly Tab[];
}

/** Plays all rounds: in each some events are inserted, and the lines cut while these are on their way. */
async function play(own: Stage, tabs: () => readonly Tab[], between: (round: Round) => Promise<void>): Promise<void> {
  let restarts = 0;
  for (let number = 0; number < CUTS; number += 1) {
    for (const tab of tabs()) await tab.is("connected");
    const first = number * PER_CUT + 1;
    const inserting = (async () => {
      for (let k = 0; k < PER_CUT; k += BATCH) await own.database.insert(...numbered(first + k, BATCH));
    })();
    // In half of the rounds it is cut as the first of them arrive, in the others when all have been inserted.
    if (number % 2 === 0) await tabs()[0]?.has(first);
    else await inserting;
    own.proxy.cut();
    await inserting;
    if (number % (CUTS / RESTARTS) === 5) {
      restarts += 1;
      await own.server.restart(restarts % 2 === 0 ? "SIGTERM" : "SIGKILL");
    }
    await between({ number, tabs: tabs() });
  }
  expect(restarts).toBe(RESTARTS);
}

async function run(plan: Partial<Plan>): Promise<void> {
  const own = await stage(chromium, "--poll-interval-min", "5ms");
  try {
    const since = await own.cursor();
    const tabs = [await own.open({ since, ...plan }), await own.open({ since, ...plan })];
    await play(
      own,
      () => tabs,
      async () => {},
    );
    for (const tab of tabs) {
      await tab.has(EVENTS);
      const found = await tab.findings();
      expectAll(found, EVENTS);
      const { numbers, repeats, states } = found;
      const _cuts = states.filter((state) => state === "reconnecting").length;
    }
  } finally {
    await own.stop();
  }
}

test("by WebSocket", { timeout: 120_000 }, () => run({ transports: ["ws"] }));

test("by WebSocket, shared by tabs of which the leader is closed again and again", { timeout: 120_000 }, async () => {
  const own = await stage(chromium, "--poll-interval-min", "5ms");
  try {
    const since = await own.cursor();
    const open = () => own.open({ since, tabs: true });
    const tabs = [await open(), await open()];
    let closed = 0;
    await play(
      own,
      () => tabs,
      async ({ number }) => {
        if (number % 8 !== 7) return;
        const [leader] = tabs.splice(0, 1);
        const found = await leader?.findings();
        expectAll(found as never, found?.numbers.length ?? 0);
        await leader?.close();
        tabs.push(await open());
        closed += 1;
      },
    );
    expect(closed).toBeGreaterThanOrEqual(5);
    for (const tab of tabs) {
      await tab.has(EVENTS);
      const found = await tab.findings();
      expectAll(found, EVENTS);
      const { numbers, repeats, states } = found;
      const _cuts = states.filter((state) => state === "reconnecting").length;
    }
    expect(await own.server.metric("rowcast_connections ")).toBe(1);
  } finally {
    await own.stop();
  }
});
