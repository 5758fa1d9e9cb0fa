// Random schedules: rows, cuts at any frame, subscriptions that come and go, history asked for, retention. Whatever
// happens, each handler is given each row of its channel exactly once and in order, or is told to refetch.

import fc from "fast-check";
import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { patternsOf } from "../src/channels.js";
import { type Client, createClient } from "../src/index.js";
import { cursorAt, Feed, placeOf } from "./support/feed.js";
import { FakeLifecycle } from "./support/lifecycle.js";

const CHANNELS = ["a", "b", "a:1", "a:1:x"];
const PATTERNS = [...CHANNELS, "*", "a:*"];

type Step =
  | { do: "insert"; channels: string[]; times: number }
  | { do: "work"; size: number }
  | { do: "read" | "deliver"; times: number }
  | { do: "subscribe"; pattern: string; since: "none" | "earliest" | "cursor"; back: number }
  | { do: "undo"; which: number }
  | { do: "cut" | "suspend" | "retain" | "disconnect" }
  | { do: "wait"; ms: number };

const steps = fc.array(
  fc.oneof(
    {
      weight: 6,
      arbitrary: fc.record({
        do: fc.constant("insert" as const),
        channels: fc.uniqueArray(fc.constantFrom(...CHANNELS), { minLength: 1, maxLength: 2 }),
        times: fc.integer({ min: 1, max: 4 }),
      }),
    },
    { weight: 4, arbitrary: fc.record({ do: fc.constant("work" as const), size: fc.integer({ min: 1, max: 4 }) }) },
    {
      weight: 8,
      arbitrary: fc.record({
        do: fc.constantFrom("read" as const, "deliver" as const),
        times: fc.integer({ min: 1, max: 4 }),
      }),
    },
    {
      weight: 3,
      arbitrary: fc.record({
        do: fc.constant("subscribe" as const),
        pattern: fc.constantFrom(...PATTERNS),
        since: fc.constantFrom("none" as const, "earliest" as const, "cursor" as const),
        back: fc.integer({ min: 0, max: 12 }),
      }),
    },
    { weight: 1, arbitrary: fc.record({ do: fc.constant("undo" as const), which: fc.nat(5) }) },
    {
      weight: 3,
      arbitrary: fc.record({
        do: fc.constantFrom(
          "cut" as const,
          "cut" as const,
          "cut" as const,
          "cut" as const,
          "suspend" as const,
          "retain" as const,
          "disconnect" as const,
        ),
      }),
    },
    { weight: 6, arbitrary: fc.record({ do: fc.constant("wait" as const), ms: fc.constantFrom(0, 0, 1_500, 35_000) }) },
  ) as fc.Arbitrary<Step>,
  { maxLength: 90 },
);

/** One handler, and what it is owed. */
interface Follower {
  readonly pattern: string;
  /** Who asked for a time is not given what was before it. */
  readonly oldest: number;
  readonly got: number[];
  /** It is owed what came after this: as it asked, or when it was confirmed first. */
  from: number | undefined;
  /** It is not owed what was there when it was told to refetch. */
  until: number;
  end: number | undefined;
  undo: () => void;
}

class World {
  readonly feed = new Feed();
  readonly lifecycle = new FakeLifecycle();
  readonly followers: Follower[] = [];
  readonly client: Client = createClient({
    url: "ws://server/ws",
    transports: [this.feed.transport],
    environment: { lifecycle: this.lifecycle, random: () => 0.5 },
  });

  subscribe(pattern: string, since: string | undefined): void {
    const follower: Follower = {
      pattern,
      oldest: placeOf(since ?? "earliest"),
      got: [],
      from: since === undefined ? undefined : placeOf(since),
      until: 0,
      end: undefined,
      undo: () => {},
    };
    follower.undo = this.client.subscribe(pattern, (event) => follower.got.push(event.payload as number), {
      ...(since === undefined ? {} : { since }),
      onSubscribed: () => {
        follower.from ??= this.feed.end;
      },
      onReset: () => {
        follower.until = this.feed.end;
      },
    });
    this.followers.push(follower);
  }

  run(step: Step): void {
    const { feed } = this;
    const { link } = feed;
    switch (step.do) {
      case "insert":
        for (let n = 0; n < step.times; n += 1) feed.insert(...step.channels);
        break;
      case "work":
        link?.work(step.size);
        break;
      case "read":
        if (link && !link.isOpen) link.open();
        for (let n = 0; n < step.times; n += 1) link?.read();
        break;
      case "deliver":
        for (let n = 0; n < step.times; n += 1) link?.deliver();
        break;
      case "subscribe": {
        const back = cursorAt(Math.max(feed.retainedFrom, feed.end - step.back));
        this.subscribe(step.pattern, { none: undefined, earliest: "earliest", cursor: back }[step.since]);
        break;
      }
      case "undo": {
        const follower = this.followers[step.which];
        if (follower === undefined) break;
        follower.undo();
        follower.end ??= feed.end;
        break;
      }
      case "cut":
        link?.end();
        break;
      case "suspend":
        this.lifecycle.change("suspend");
        this.lifecycle.change("resume");
        break;
      case "disconnect":
        this.client.disconnect();
        this.client.connect();
        break;
      case "retain":
        feed.retainedFrom = Math.max(0, feed.end - 6);
        break;
      case "wait":
        vi.advanceTimersByTime(step.ms);
    }
  }

  /** Everything that is under way comes to its end. */
  settle(): void {
    for (let round = 0; round < 60; round += 1) {
      // Long enough for the longest wait before an attempt, now and then; otherwise no more than a macrotask.
      vi.advanceTimersByTime(round % 10 === 9 ? 31_000 : 1);
      const { link } = this.feed;
      if (link && !link.isOpen) link.open();
      while (link?.read() || link?.deliver() || link?.work(3));
    }
  }

  check(): void {
    for (const { pattern, oldest, got, from, until, end } of this.followers) {
      const isMeant = (channel: string): boolean => patternsOf(channel).includes(pattern);
      const owed = this.feed.rows
        .filter((row) => row.channels.some(isMeant))
        .map(({ position }) => position)
        .filter((position) => position > Math.max(from ?? Infinity, until) && (end === undefined || position <= end));
      expect(got, `in order, none twice, on ${pattern}`).toEqual([...new Set(got)].sort((a, b) => a - b));
      const foreign = got.filter((position) => !this.feed.rows[position - 1]?.channels.some(isMeant));
      expect(foreign, `of other channels, on ${pattern}`).toEqual([]);
      // What was not delivered before an undo is not owed.
      if (end === undefined)
        expect(got, `none missing, on ${pattern} from ${from}`).toEqual(expect.arrayContaining(owed));
      expect(
        got.filter((position) => position <= oldest),
        `too old on ${pattern}`,
      ).toEqual([]);
    }
  }
}

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

test("each handler is given each row exactly once and in order, or told to refetch", () => {
  fc.assert(
    fc.property(steps, (all) => {
      const world = new World();
      try {
        for (const step of all) world.run(step);
        world.settle();
        world.check();
      } finally {
        world.client.disconnect();
        vi.clearAllTimers();
      }
    }),
    { numRuns: Number(process.env.RUNS ?? 3_000) },
  );
});
