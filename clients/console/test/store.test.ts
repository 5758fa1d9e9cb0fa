// The buffer, and what is shown of it: by a clock and frames of the test.

import type { FeedEvent } from "@rowcast/client";
import { describe, expect, test } from "vitest";
import { NO_FILTER } from "../src/feed/filter.js";
import { Store } from "../src/feed/store.js";

function event(id: number, more: Partial<FeedEvent> = {}): FeedEvent {
  return {
    id,
    type: "task.created",
    channels: ["tasks"],
    payload: { n: id },
    createdAt: "2026-01-01T00:00:00.000Z",
    ...more,
  } as FeedEvent;
}

/** A store whose frames and time the test has. */
function scene(capacity = 100): {
  store: Store;
  frame: (times?: number) => void;
  tick: (milliseconds: number) => void;
  ids: () => (number | undefined)[];
} {
  let now = 0;
  let waiting: (() => void)[] = [];
  let later: { at: number; run: () => void }[] = [];
  const store = new Store({
    capacity,
    nextFrame: (run) => waiting.push(run),
    later: (run, milliseconds) => later.push({ at: now + milliseconds, run }),
    // Every look at the clock takes a while, as searching does.
    clock: () => (now += 1),
    now: () => Date.parse("2026-01-01T00:00:00Z") + now,
  });
  const tick = (milliseconds: number): void => {
    now += milliseconds;
    const due = later.filter(({ at }) => at <= now);
    later = later.filter(({ at }) => at > now);
    for (const { run } of due) run();
  };
  return {
    store,
    tick,
    frame(times = 1) {
      for (let n = 0; n < times; n += 1) {
        tick(60);
        const runs = waiting;
        waiting = [];
        for (const run of runs) run();
      }
    },
    ids: () => Array.from({ length: store.view().length }, (_, row) => store.view().at(row)?.id),
  };
}

describe("the buffer", () => {
  test("keeps the last so many, and says how many there were", () => {
    const { store, frame, ids } = scene(3);
    for (let id = 1; id <= 5; id += 1) store.push(event(id));
    frame();
    expect(ids()).toEqual([3, 4, 5]);
    expect(store.view()).toMatchObject({ length: 3, kept: 3, received: 5, gone: 2 });
    expect(store.view().at(3)).toBeUndefined();
    expect(store.view().at(-1)).toBeUndefined();
  });

  test("tells of thousands once a frame, and its view is the same object until then", () => {
    const { store, frame } = scene(10_000);
    let told = 0;
    store.subscribe(() => {
      told += 1;
    });
    frame();
    const before = store.view();
    for (let id = 0; id < 5_000; id += 1) store.push(event(id));
    expect(store.view()).toBe(before);
    frame();
    expect(told).toBe(1);
    expect(store.view().length).toBe(5_000);
  });

  test("shows what comes no oftener than is read, and what a person does at once", () => {
    const { store, frame, tick } = scene();
    store.push(event(1));
    frame();
    let told = 0;
    store.subscribe(() => {
      told += 1;
    });
    // Within 50 ms of the last view no frame is asked for.
    store.push(event(2));
    store.pause();
    frame();
    expect(told).toBe(1);
    expect(store.view()).toMatchObject({ isPaused: true, length: 2 });
    tick(1_000);
  });

  test("undoes a subscription", () => {
    const { store, frame } = scene();
    let told = 0;
    const undo = store.subscribe(() => {
      told += 1;
    });
    undo();
    undo();
    store.push(event(1));
    frame();
    expect(told).toBe(0);
  });

  test("keeps what is no row, and JSON of any kind", () => {
    const { store, frame } = scene();
    store.push({ type: "user.typing", channels: ["room:1"], payload: undefined } as unknown as FeedEvent);
    store.push(event(2, { payload: null, previous: "x", actor: 7 as unknown as string }));
    frame();
    expect(store.view().at(0)).toMatchObject({ id: undefined, payload: "null", createdAt: Number.NaN });
    expect(store.view().at(1)).toMatchObject({ payload: "null", previous: '"x"', actor: "7" });
  });

  test("is empty once it is cleared, and goes on", () => {
    const { store, frame, ids } = scene();
    store.push(event(1));
    frame();
    store.clear();
    frame();
    expect(store.view()).toMatchObject({ length: 0, kept: 0, received: 1 });
    store.push(event(2));
    frame();
    expect(ids()).toEqual([2]);
  });
});

describe("a pause", () => {
  test("keeps what is seen, counts what comes, and shows it afterwards", () => {
    const { store, frame, ids } = scene(3);
    store.push(event(1));
    store.push(event(2));
    store.pause();
    for (let id = 3; id <= 6; id += 1) store.push(event(id));
    frame();
    expect(ids()).toEqual([1, 2]);
    expect(store.view()).toMatchObject({ isPaused: true, waiting: 4, received: 6 });
    store.resume();
    frame();
    expect(ids()).toEqual([4, 5, 6]);
    expect(store.view()).toMatchObject({ isPaused: false, waiting: 0 });
  });

  test("twice is a pause, and to go on without one is nothing", () => {
    const { store, frame, ids } = scene();
    store.resume();
    store.pause();
    store.push(event(1));
    store.pause();
    store.resume();
    frame();
    expect(ids()).toEqual([1]);
  });
});

describe("a filter", () => {
  test("shows what matches of what is there and of what comes", () => {
    const { store, frame, ids } = scene();
    store.push(event(1));
    store.push(event(2, { type: "message.created", channels: ["messages:1"] }));
    store.show({ ...NO_FILTER, type: "message" });
    frame();
    expect(ids()).toEqual([2]);
    store.push(event(3, { type: "message.deleted", channels: ["messages:2"] }));
    store.push(event(4));
    frame();
    expect(ids()).toEqual([2, 3]);
    store.show(NO_FILTER);
    frame();
    expect(ids()).toEqual([1, 2, 3, 4]);
  });

  test("forgets matches that are not kept any more", () => {
    const { store, frame, ids } = scene(4);
    store.show({ ...NO_FILTER, text: "odd" });
    for (let id = 1; id <= 20; id += 1) {
      store.push(event(id, { payload: id % 2 ? "odd" : "even" }));
      frame();
    }
    expect(ids()).toEqual([17, 19]);
    expect(store.view().gone).toBe(8);
  });

  test("searches in slices, from the oldest on, while others come", () => {
    const { store, frame, ids } = scene(100_000);
    for (let id = 0; id < 50_000; id += 1) store.push(event(id));
    frame();
    store.show({ ...NO_FILTER, text: 'n":49999' });
    frame();
    // 8 ms are 8 looks at this clock, of 256 events each.
    expect(store.view().unsearched).toBeGreaterThan(45_000);
    expect(store.view().unsearched).toBeLessThan(49_000);
    store.push(event(499_990, { payload: { n: 499_990 } }));
    frame(30);
    expect(store.view().unsearched).toBe(0);
    expect(ids()).toEqual([49_999, 499_990]);
  });

  test("finds the row of an event, and none for one that is not shown", () => {
    const { store, frame } = scene(4);
    for (let id = 1; id <= 4; id += 1) store.push(event(id, { payload: id % 2 ? "odd" : "even" }));
    frame();
    const first = store.view().at(0);
    const second = store.view().at(1);
    if (!first || !second) throw new Error("there are four");
    expect(store.view().rowOf(second)).toBe(1);
    store.show({ ...NO_FILTER, text: "odd" });
    frame();
    expect(store.view().rowOf(first)).toBe(0);
    expect(store.view().rowOf(second)).toBeUndefined();
    store.push(event(5));
    frame();
    expect(store.view().rowOf(first)).toBeUndefined();
  });
});
