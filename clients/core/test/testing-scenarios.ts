// What a client may say to a server, and whom else it may meet. Played against the server for tests and the real one: both
// have to answer the same.

import type { NewEvent } from "../src/testing/index.js";
import type { Heard, RawLine } from "./testing-raw.js";

/** Claims of a token of the scenarios. */
export interface Claims {
  readonly sub?: string;
  readonly channels?: readonly string[];
  /** Permits one channel. */
  readonly channel?: string;
  /** Has expired. */
  readonly isOld?: boolean;
}

/** A server under test. */
export interface Subject {
  open(token?: Claims): Promise<RawLine>;
  token(claims: Claims): string;
  commit(...events: readonly NewEvent[]): Promise<void>;
  broadcast(channel: string, event: Heard): Promise<void>;
  restart(): Promise<void>;
}

export interface Scenario {
  /** The server asks for tokens. */
  readonly hasTokens?: boolean;
  /** Gives all that was heard. */
  play(subject: Subject): Promise<Heard[]>;
}

const task = (n: number): NewEvent => ({ channel: "tasks", type: "task.created", payload: { n } });
const plan = (n: number): NewEvent => ({ channel: "plans", type: "plan.created", payload: { n } });
const cursorOf = (frames: readonly Heard[]) => frames.findLast(({ cursor }) => cursor !== undefined)?.cursor;

/** Asks, and waits for the answer; all that came until then. */
async function ask(line: RawLine, frame: object): Promise<Heard[]> {
  line.send(frame);
  const mark = `after ${JSON.stringify(frame).slice(0, 40)}`;
  line.send({ type: "ping", id: mark });
  const all: Heard[] = [];
  for (;;) {
    const heard = await line.next();
    if (heard.id === mark || heard.code === 4001) return heard.id === mark ? all : [...all, heard];
    all.push(heard);
  }
}

/** What is missed may come in parts of any size, and each part has a position. */
function withoutStops(heard: readonly Heard[]): Heard[] {
  return heard
    .filter(({ type }) => type !== "cursor")
    .map(({ cursor, ...frame }) => (frame.type === "event" || cursor === undefined ? frame : { ...frame, cursor }));
}

/** So many events, and what came between them. */
async function events(line: RawLine, count: number): Promise<Heard[][]> {
  const all: Heard[][] = [];
  while (all.length < count) all.push(await line.until("event"));
  return all;
}

/** Says frames one after the other, each answered before the next. */
async function talk(line: RawLine, ...frames: readonly object[]): Promise<Heard[]> {
  const all: Heard[] = [];
  for (const frame of frames) all.push(...(await ask(line, frame)));
  return all;
}

/** A position with two batches behind it. */
async function history(subject: Subject): Promise<{ line: RawLine; since: unknown }> {
  const line = await subject.open();
  const since = cursorOf(await ask(line, { type: "subscribe", channels: ["tasks"] }));
  await subject.commit(task(1), plan(1), task(2));
  await line.until("event");
  await line.until("event");
  await subject.commit(task(3), plan(2));
  await line.until("event");
  await line.until("cursor");
  return { line, since };
}

export const scenarios: Readonly<Record<string, Scenario>> = {
  "hello without anything": { play: async (s) => talk(await s.open(), { type: "hello" }, { type: "ping", id: "p" }) },
  "hello with channels": {
    play: async (s) => talk(await s.open(), { type: "hello", id: 7, channels: ["tasks", "messages:*"] }),
  },
  "nonsense in hello is no hello": {
    play: async (s) =>
      talk(
        await s.open(),
        { type: "hello", id: 1, channels: ["tasks"], since: "yesterday" },
        { type: "hello", id: 2, channels: ["a b"] },
        { type: "hello", id: 3, channels: "tasks" },
        { type: "hello", id: 4, channels: ["tasks", 5] },
        { type: "ping", id: 5 },
      ),
  },
  "nonsense elsewhere": {
    play: async (s) =>
      talk(
        await s.open(),
        { type: "subscribe", id: 1 },
        { type: "subscribe", id: 2, channels: [] },
        { type: "subscribe", id: 3, channels: ["tasks"], since: "yesterday" },
        { type: "subscribe", id: 4, channels: ["tasks"], since: 5 },
        { type: "subscribe", id: 5, channels: ["tasks::x"] },
        { type: "subscribe", id: 6, channels: [`a${"b".repeat(200)}`] },
        { type: "unsubscribe", id: 7 },
        { type: "subscripe", id: 8 },
        { type: "auth", id: 9 },
      ),
  },
  "events of a commit share the cursor that the last one has": {
    async play(s) {
      const line = await s.open();
      const first = await ask(line, { type: "subscribe", id: 1, channels: ["tasks"] });
      await s.commit(task(1), task(2));
      const both = [await line.next(), await line.next()];
      await s.commit(task(3), plan(1));
      return [...first, ...both, ...(await line.until("cursor"))];
    },
  },
  "earliest is all there is": {
    async play(s) {
      const line = await s.open();
      await ask(line, { type: "subscribe", channels: ["old"] });
      for (let n = 0; n < 3; n += 1) {
        await s.commit({ channel: "old", type: "x.y", payload: n }, { channel: "other", type: "x.y" });
        await line.until("cursor");
      }
      line.send({ type: "subscribe", id: 2, channels: ["old:*", "old"], since: "earliest" });
      return withoutStops(await line.until("caught_up"));
    },
  },
  "who comes back has what it missed": {
    async play(s) {
      const { since } = await history(s);
      const line = await s.open();
      line.send({ type: "hello", id: 1, channels: ["tasks"], since });
      return line.until("caught_up");
    },
  },
  "who comes back to the present is told so": {
    async play(s) {
      const { line } = await history(s);
      const since = cursorOf(await ask(line, { type: "subscribe", channels: ["x"] }));
      const other = await s.open();
      other.send({ type: "hello", id: "h", channels: ["tasks", "plans"], since });
      return other.until("caught_up");
    },
  },
  "a second subscription may ask for the past": {
    async play(s) {
      const { since } = await history(s);
      const line = await s.open();
      const live = await ask(line, { type: "hello", id: 1, channels: ["tasks"] });
      line.send({ type: "subscribe", id: 2, channels: ["plans"], since });
      const past = await line.until("caught_up");
      await s.commit(task(4), plan(3));
      return [...live, ...past, await line.next(), await line.next()];
    },
  },
  "asked again, the past comes again": {
    async play(s) {
      const { line, since } = await history(s);
      line.send({ type: "subscribe", id: 2, channels: ["tasks"], since });
      return line.until("caught_up");
    },
  },
  "a position of another database": {
    async play(s) {
      const line = await s.open();
      line.send({ type: "hello", id: 1, channels: ["tasks"], since: "AQGVc4QTABfF" });
      const all = await line.until("reset");
      await s.commit(task(1));
      return [...all, await line.next()];
    },
  },
  "subscribing twice, unsubscribing what is not there": {
    async play(s) {
      const line = await s.open();
      const all = await talk(
        line,
        { type: "subscribe", id: 1, channels: ["tasks", "tasks"] },
        { type: "subscribe", id: 2, channels: ["tasks"] },
        { type: "unsubscribe", id: 3, channels: ["plans"] },
        { type: "unsubscribe", id: 4, channels: ["tasks"] },
        { type: "ping", id: 5 },
      );
      return all;
    },
  },
  "parents and patterns": {
    async play(s) {
      const line = await s.open();
      const all = await talk(
        line,
        { type: "subscribe", channels: ["project:7:*"] },
        { type: "hello", channels: ["chat"] },
      );
      for (const channel of ["project:7", "project:7:x", "project:77", "chat", "chat:1:2", "chats", "end chat"]) {
        await s.commit({ channel, type: "x.y" });
      }
      // Commits that follow each other closely may come as one.
      return [...all, ...withoutStops((await events(line, 4)).flat())];
    },
  },
  "what is no row": {
    async play(s) {
      const line = await s.open();
      const all = await ask(line, { type: "subscribe", channels: ["room"] });
      await s.broadcast("room", { type: "user.typing" });
      return [...all, await line.next()];
    },
  },
  "a server that is restarted": {
    async play(s) {
      const { line, since } = await history(s);
      const goodbye = line.until("disconnect");
      await s.restart();
      const all = [...(await goodbye), await line.next()];
      const again = await s.open();
      again.send({ type: "hello", channels: ["plans"], since });
      return [...all, ...withoutStops(await again.until("caught_up"))];
    },
  },
  "nobody without a token": {
    hasTokens: true,
    play: async (s) => {
      const line = await s.open();
      line.send({ type: "hello", id: 1, channels: ["tasks"] });
      return [await line.next(), await line.next()];
    },
  },
  "a token that is not accepted": {
    hasTokens: true,
    play: async (s) => {
      const line = await s.open();
      line.send({ type: "hello", id: 1, token: s.token({ sub: "ann", isOld: true }), channels: ["tasks"] });
      return [await line.next(), await line.next()];
    },
  },
  "auth may come first": {
    hasTokens: true,
    play: async (s) =>
      talk(await s.open(), { type: "auth", id: 1, token: s.token({ sub: "ann" }) }, { type: "hello", id: 2 }),
  },
  "another user's token, and one that is not accepted, change nothing": {
    hasTokens: true,
    play: async (s) =>
      talk(
        await s.open({ sub: "ann", channels: ["tasks"] }),
        { type: "hello", id: 1, channels: ["tasks"] },
        { type: "auth", id: 2, token: s.token({ sub: "bob", channels: ["*"] }) },
        { type: "auth", id: 3, token: s.token({ sub: "ann", isOld: true }) },
        { type: "hello", id: 4, token: s.token({ sub: "bob" }) },
        { type: "subscribe", id: 5, channels: ["plans"] },
      ),
  },
  "what is granted of what was asked": {
    hasTokens: true,
    play: async (s) =>
      talk(
        await s.open({ sub: "ann", channels: ["tasks", "project:7", "messages:*"] }),
        { type: "hello", id: 1, channels: ["tasks", "plans", "project"] },
        { type: "subscribe", id: 2, channels: ["messages"] },
        { type: "subscribe", id: 3, channels: ["inbox:bob", "inbox:*"] },
        { type: "subscribe", id: 4, channels: ["plans"], since: "earliest" },
      ),
  },
  "a fresh token takes away what it does not grant": {
    hasTokens: true,
    play: async (s) =>
      talk(
        await s.open({ sub: "ann", channels: ["tasks", "plans", "project:7"] }),
        { type: "hello", id: 1, channels: ["*", "plans", "project:7:x"] },
        { type: "auth", id: 2, token: s.token({ sub: "ann", channels: ["tasks", "project:7:x"] }) },
        { type: "auth", id: 3, token: s.token({ sub: "ann", channels: ["tasks", "plans"] }) },
      ),
  },
  "a token for one channel": {
    hasTokens: true,
    play: async (s) => {
      const permit = s.token({ sub: "ann", channel: "messages:42" });
      const old = s.token({ sub: "ann", channel: "messages:43", isOld: true });
      return talk(
        await s.open({ sub: "ann", channels: [] }),
        { type: "subscribe", id: 1, channels: ["messages:42"] },
        { type: "subscribe", id: 2, channels: ["messages:42"], tokens: [permit] },
        { type: "subscribe", id: 3, channels: ["messages:43"], tokens: [old] },
        { type: "subscribe", id: 4, channels: ["messages:43"], tokens: permit },
      );
    },
  },
};
