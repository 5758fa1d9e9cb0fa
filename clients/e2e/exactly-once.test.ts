// 10,000 numbered events, 50 cuts and 5 restarts of the server: each tab is handed each of them once, in order.

import { afterAll, beforeAll, expect, test } from "vitest";

import { Chromium, type Tab } from "./harness/chromium.js";
import { expectAll, leaderOf, numbered, type Stage, stage } from "./harness/stage.js";

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

/** Plays all rounds: in each some events are inserted, and the lines break while these are on their way. */
async function play(own: Stage, tabs: () => readonly Tab[], between: (round: number) => Promise<void>): Promise<void> {
  let restarts = 0;
  for (let number = 0; number < CUTS; number += 1) {
    for (const tab of tabs()) await tab.is("connected");
    const first = number * PER_CUT + 1;
    const before = own.relay.cuts;
    // In half of the rounds the lines break as the events arrive, in the middle of one; in the others when all are there.
    if (number % 2 === 0) own.relay.cutAfter(1 + ((number * 977) % 4_000));
    for (let k = 0; k < PER_CUT; k += BATCH) await own.database.insert(...numbered(first + k, BATCH));
    if (own.relay.cuts === before) {
      await expect.poll(() => own.relay.open(/^GET/), { timeout: 20_000 }).toBeGreaterThan(0);
      own.relay.cut();
    }
    if (number % (CUTS / RESTARTS) === 5) {
      restarts += 1;
      await own.server.restart(restarts % 2 === 0 ? "SIGTERM" : "SIGKILL");
    }
    await between(number);
  }
  expect(restarts).toBe(RESTARTS);
  expect(own.relay.cuts).toBeGreaterThanOrEqual(CUTS);
}

/** Holds a tab to all that there was, and says how it came. */
async function finish(name: string, own: Stage, tab: Tab, handovers = 0): Promise<void> {
  await tab.has(EVENTS);
  const found = await tab.findings();
  expectAll(found, EVENTS);
  const away = found.states.filter((state) => state === "reconnecting").length;
  const figures = [
    `${found.numbers.length} events`,
    `${own.relay.cuts} lines cut`,
    `${RESTARTS} restarts`,
    `${handovers} handovers`,
  ];
  process.stdout.write(`${name}: ${figures.join(", ")}; ${away} times away, ${found.repeats} repeats dropped\n`);
}

async function run(way: "ws" | "sse" | "poll"): Promise<void> {
  const own = await stage(chromium, { flags: ["--poll-interval-min", "5ms"] });
  try {
    const since = await own.cursor();
    const plan = { since, transports: [way] };
    const tabs = [await own.open(plan), await own.open(plan)];
    await play(
      own,
      () => tabs,
      async () => {},
    );
    for (const tab of tabs) await finish(way, own, tab);
  } finally {
    await own.stop();
  }
}

test("by WebSocket", { timeout: 120_000 }, () => run("ws"));
test("by server-sent events", { timeout: 120_000 }, () => run("sse"));
test("by long polling", { timeout: 120_000 }, () => run("poll"));

test("by WebSocket, shared by tabs of which the leader is closed again and again", { timeout: 120_000 }, async () => {
  const own = await stage(chromium, { flags: ["--poll-interval-min", "5ms"] });
  try {
    const since = await own.cursor();
    const open = () => own.open({ since, tabs: true });
    const tabs = [await open(), await open()];
    let handovers = 0;
    const hand = async (number: number): Promise<void> => {
      if (number % 8 !== 7) return;
      const leader = await leaderOf(tabs);
      tabs.splice(tabs.indexOf(leader), 1);
      const found = await leader.findings();
      expectAll(found, found.numbers.length);
      await leader.close();
      tabs.push(await open());
      handovers += 1;
    };
    await play(own, () => tabs, hand);
    expect(handovers).toBeGreaterThanOrEqual(5);
    for (const tab of tabs) await finish("tabs", own, tab, handovers);
    expect(await own.server.metric("rowcast_connections ")).toBe(1);
  } finally {
    await own.stop();
  }
});
