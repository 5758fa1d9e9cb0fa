// The smaller parts: what differs between two values, counts by channel, seconds, axes.

import { describe, expect, test } from "vitest";
import type { Entry } from "../src/feed/entry.js";
import { History } from "../src/feed/history.js";
import { Meter, SPAN_S } from "../src/feed/meter.js";
import { CHANNELS_MAX, Tally } from "../src/feed/tally.js";
import { CHANGES_MAX, diff } from "../src/json/diff.js";
import { listeningTo } from "../src/panes/channels.js";
import { niceTop } from "../src/panes/chart.js";
import type { Status } from "../src/server/api.js";

describe("what differs", () => {
  test("is told member by member, however deep", () => {
    const before = { a: 1, b: { c: [1, 2], d: "x" }, gone: null };
    const after = { a: 1, b: { c: [1, 3, 4], d: "x" }, made: { x: 1 } };
    expect(diff(before, after)).toEqual([
      { path: "b.c[1]", kind: "changed", before: 2, after: 3 },
      { path: "b.c[2]", kind: "added", before: undefined, after: 4 },
      { path: "made", kind: "added", before: undefined, after: { x: 1 } },
      { path: "gone", kind: "removed", before: null, after: undefined },
    ]);
  });

  test("is the value itself where the kinds differ", () => {
    expect(diff(1, "1")).toEqual([{ path: "", kind: "changed", before: 1, after: "1" }]);
    expect(diff([], {})).toHaveLength(1);
    expect(diff(null, { a: 1 })).toHaveLength(1);
    expect(diff({ a: null }, { a: {} })).toEqual([{ path: "a", kind: "changed", before: null, after: {} }]);
  });

  test("is nothing for the same, and not without end", () => {
    expect(diff({ a: [{ b: 1 }] }, { a: [{ b: 1 }] })).toEqual([]);
    const many = Object.fromEntries(Array.from({ length: 1_000 }, (_, n) => [`k${n}`, n]));
    expect(diff({}, many)).toHaveLength(CHANGES_MAX);
  });

  test("names of prototypes are names like others", () => {
    const after = JSON.parse('{"__proto__": 1, "constructor": 2}') as unknown;
    expect(diff({}, after).map(({ path }) => path)).toEqual(["__proto__", "constructor"]);
  });
});

describe("counts by channel", () => {
  const entry = (channels: string, receivedAt = 0): Entry => ({ channels, type: "t", receivedAt }) as Entry;
  test("count an event on each of its channels, those with the most first", () => {
    const tally = new Tally();
    for (const channels of ["a b", "b", "c"]) tally.add(entry(channels, 5));
    expect(tally.top(2)).toEqual([
      { name: "b", count: 2, lastAt: 5, lastType: "t" },
      { name: "a", count: 1, lastAt: 5, lastType: "t" },
    ]);
  });

  test("have an end", () => {
    const tally = new Tally();
    for (let n = 0; n < CHANNELS_MAX + 5; n += 1) tally.add(entry(`c${n}`));
    tally.add(entry("c0"));
    expect(tally.size).toBe(CHANNELS_MAX);
    expect(tally.untold).toBe(5);
    expect(tally.top(1)[0]).toMatchObject({ name: "c0", count: 2 });
  });
});

describe("seconds", () => {
  test("have their events, and how late these were", () => {
    const meter = new Meter();
    meter.add(1_000_000, 10);
    meter.add(1_000_500, 30);
    meter.add(1_000_900, undefined);
    // A clock that is ahead.
    meter.add(1_001_000, -5);
    expect(meter.last(3, 1_002_000)).toEqual([
      { at: 999, events: 0, meanLagMs: undefined, maxLagMs: undefined },
      { at: 1_000, events: 3, meanLagMs: 20, maxLagMs: 30 },
      { at: 1_001, events: 1, meanLagMs: 0, maxLagMs: 0 },
    ]);
  });

  test("are forgotten after five minutes", () => {
    const meter = new Meter();
    meter.add(1_000_000, 1);
    meter.add(1_000_000 + SPAN_S * 1_000, 1);
    const all = meter.last(SPAN_S, 1_000_000 + (SPAN_S + 1) * 1_000);
    expect(all.reduce((sum, { events }) => sum + events, 0)).toBe(1);
  });
});

test("of two looks at the server's lag the mean between them is kept, and a restart is no lag", () => {
  const history = new History();
  const status = (batches: number, totalMs: number): Status => ({ lag: { batches, totalMs } }) as Status;
  history.add(status(10, 1_000), 1_000_000);
  history.add(status(12, 1_100), 1_002_000);
  history.add(status(12, 1_100), 1_004_000);
  history.add(status(1, 5), 1_006_000);
  expect(history.last(6, 1_007_000)).toEqual([undefined, 50, undefined, undefined, undefined, undefined]);
});

test("an event reaches subscriptions of its channel, of those above, and of patterns", () => {
  const subscribers = { "*": 1, a: 10, "a:*": 100, "a:b": 1_000, "a:b:*": 10_000, "a:b:c": 100_000, b: 7, "a:bc": 7 };
  expect(listeningTo("a:b:c", subscribers)).toBe(111_111);
  expect(listeningTo("a:b", subscribers)).toBe(1_111);
  expect(listeningTo("a", subscribers)).toBe(11);
  expect(listeningTo("x", {})).toBe(0);
});

test("axes end at round numbers", () => {
  expect([0, 0.3, 1, 1.1, 4, 7, 10, 11, 4_999].map(niceTop)).toEqual([1, 0.5, 1, 2, 5, 10, 10, 20, 5_000]);
});
