// What is asked of the server, and who is given what.

import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";

import { patternsOf } from "../src/channels.js";
import { Scene } from "./support/scene.js";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

/** Subscribes; gives the ids of what comes, and what else is told. */
function follow(scene: Scene, channel: string, since?: string): { ids: number[]; told: string[]; undo: () => void } {
  const ids: number[] = [];
  const told: string[] = [];
  const undo = scene.client.subscribe(channel, ({ id }) => ids.push(id), {
    ...(since === undefined ? {} : { since }),
    onSubscribed: () => told.push("subscribed"),
    onRejected: ({ code }) => told.push(code),
    onReset: ({ reason }) => told.push(reason),
  });
  return { ids, told, undo };
}

describe("routing", () => {
  /** The rule of the server, as its documentation has it. */
  function matches(pattern: string, channel: string): boolean {
    if (pattern === "*") return true;
    const parent = pattern.endsWith(":*") ? pattern.slice(0, -2) : undefined;
    return parent === undefined
      ? channel === pattern || channel.startsWith(`${pattern}:`)
      : channel.startsWith(`${parent}:`);
  }

  test("an event reaches its channel, the parents, their patterns and all: the same as by the rule", () => {
    const name = fc
      .array(fc.constantFrom("a", "b", "ab"), { minLength: 1, maxLength: 4 })
      .map((parts) => parts.join(":"));
    const pattern = fc.oneof(
      name,
      name.map((parent) => `${parent}:*`),
      fc.constant("*"),
    );
    fc.assert(
      fc.property(
        pattern,
        name,
        (pattern, channel) => patternsOf(channel).includes(pattern) === matches(pattern, channel),
      ),
    );
  });

  test("a handler is called once, by however many channels it is reached", async () => {
    const scene = new Scene();
    const all = ["messages:42", "messages", "messages:*", "*"].map((channel) => follow(scene, channel));
    const other = follow(scene, "messages:4");
    await scene.soon();
    scene.link
      .welcome()
      .tell({ type: "event", channels: ["messages:42", "messages:43"], event: { id: 1, createdAt: "t" } });
    expect(all.map(({ ids }) => ids)).toEqual([[1], [1], [1], [1]]);
    expect(other.ids).toEqual([]);
  });

  test("the event has its channels, and what is no row comes each time", async () => {
    const scene = new Scene();
    const got: unknown[] = [];
    scene.client.subscribe("inbox:ann", (event) => got.push(event));
    await scene.soon();
    const frame = { type: "event", channels: ["inbox:ann"], event: { type: "typing", payload: 1 } };
    scene.link.welcome().tell(frame, frame);
    expect(got).toEqual([{ type: "typing", payload: 1, channels: ["inbox:ann"] }, expect.anything()]);
  });

  test("a handler that throws stops neither the others nor the position", async () => {
    const scene = new Scene();
    scene.client.subscribe("a", () => {
      throw new Error("oops");
    });
    const { ids } = follow(scene, "a");
    await scene.soon();
    scene.link.welcome().event(1, "a", "c1");
    expect(ids).toEqual([1]);
    expect(scene.client.cursor).toBe("c1");
    expect(scene.errors).toMatchObject([{ code: "HANDLER", message: "a handler failed: Error: oops" }]);
  });

  test("nobody who listens for errors: the page is told", async () => {
    const report = vi.fn();
    vi.stubGlobal("reportError", report);
    const scene = new Scene();
    scene.client.on("error", () => {
      throw new Error("twice");
    });
    scene.client.on("status", () => {
      throw new Error("once");
    });
    scene.client.connect();
    expect(report.mock.calls.map(([error]) => String(error))).toContain("Error: twice");
    vi.unstubAllGlobals();
  });

  test("messages of an administrator are passed on", async () => {
    const scene = new Scene();
    const got: unknown[] = [];
    scene.client.on("message", (message) => got.push(message));
    (await scene.connected()).tell({ type: "notice", text: "hi" });
    expect(got).toEqual([{ type: "notice", text: "hi" }]);
  });
});

describe("asking", () => {
  test("a second handler of a channel costs nothing and hears what comes", async () => {
    const scene = new Scene();
    const link = await scene.connected("a");
    const { ids, told } = follow(scene, "a");
    await scene.soon();
    expect(link.said).toHaveLength(1);
    expect(told).toEqual(["subscribed"]);
    link.event(1, "a");
    expect(ids).toEqual([1]);
  });

  test("each position goes in a request of its own, one after the other", async () => {
    const scene = new Scene();
    follow(scene, "a");
    follow(scene, "b", "s1");
    follow(scene, "c", "s1");
    follow(scene, "d", "s2");
    await scene.soon();
    const link = scene.link.welcome();
    await scene.soon();
    expect(link.said).toEqual([
      { type: "hello", id: 1, channels: ["a"] },
      { type: "subscribe", id: 2, channels: ["b", "c"], since: "s1" },
    ]);
    link.tell({ type: "subscribed", id: 2, channels: ["b", "c"], cursor: "s1", recovered: true });
    await scene.soon();
    expect(link.said).toHaveLength(2);
    link.tell({ type: "caught_up", id: 2, cursor: "c9" });
    expect(link.said.slice(2)).toMatchObject([{ id: 3, channels: ["a"], since: "c0" }]);
  });

  test("who is live is not given the past that somebody else asks for, and misses nothing meanwhile", async () => {
    const scene = new Scene();
    const live = follow(scene, "a");
    await scene.soon();
    const link = scene.link.welcome().event(5, "a", "c5");
    const late = follow(scene, "a", "earliest");
    await scene.soon();
    link.tell({ type: "subscribed", id: 2, channels: ["a"], recovered: true });
    for (const id of [1, 2, 3, 4, 5, 6]) link.event(id, "a");
    expect(live.ids).toEqual([5]);
    link.tell({ type: "caught_up", id: 2, cursor: "c6" });
    expect(link.said.at(-1)).toEqual({ type: "subscribe", id: 3, channels: ["a"], since: "c5" });
    link.tell({ type: "subscribed", id: 3, channels: ["a"], cursor: "c5", recovered: true });
    link.event(6, "a", "c6").tell({ type: "caught_up", id: 3, cursor: "c6" });
    link.event(7, "a", "c7");
    expect(live.ids).toEqual([5, 6, 7]);
    expect(late.ids).toEqual([1, 2, 3, 4, 5, 6, 7]);
  });

  test("after a cut all go on from the last position, and what comes again is dropped", async () => {
    const scene = new Scene();
    const { ids } = follow(scene, "a");
    await scene.soon();
    scene.link.welcome().event(1, "a", "c1").event(2, "a").end();
    const fresh = follow(scene, "b");
    await scene.wait(1_000);
    const link = scene.link.open();
    expect(link.said).toEqual([{ type: "hello", id: 2, channels: ["a", "b"], since: "c1" }]);
    link.tell(
      { type: "welcome", id: 2 },
      { type: "subscribed", id: 2, channels: ["a", "b"], cursor: "c1", recovered: true },
    );
    link.event(2, "a").event(3, "b").event(3, "b", "c3");
    expect(ids).toEqual([1, 2]);
    expect(fresh.ids).toEqual([3]);
  });

  test("any frame may have the position", async () => {
    const scene = new Scene();
    const link = await scene.connected();
    for (const type of ["cursor", "heartbeat", "pong", "disconnect"]) {
      link.tell({ type, cursor: `of ${type}` });
      expect(scene.client.cursor).toBe(`of ${type}`);
    }
  });

  test("many channels are several requests, each small enough for a server", async () => {
    const scene = new Scene();
    for (let n = 0; n < 250; n += 1) follow(scene, `channel:${n}`);
    await scene.soon();
    scene.link.welcome();
    await scene.soon();
    expect(scene.link.said.map((frame) => "channels" in frame && frame.channels?.length)).toEqual([100, 100, 50]);
  });
});

describe("a reset", () => {
  test("is told to all, and its position counts", async () => {
    const scene = new Scene();
    const resets: unknown[] = [];
    scene.client.on("reset", (reset) => resets.push(reset));
    const { told, ids } = follow(scene, "a");
    await scene.soon();
    scene.link.welcome().tell({ type: "reset", reason: "epoch", cursor: "x1" }).event(1, "a");
    expect(told).toEqual(["subscribed", "epoch"]);
    expect(resets).toEqual([{ reason: "epoch" }]);
    expect(scene.client.cursor).toBe("x1");
    expect(ids).toEqual([1]);
  });

  test("so is a position that the server does not understand: it begins now", async () => {
    const scene = new Scene();
    const link = await scene.connected("other");
    const { told } = follow(scene, "a", "nonsense");
    await scene.soon();
    link.tell({ type: "error", id: 2, code: "CURSOR_INVALID", message: "no" });
    expect(told).toEqual(["cursor_invalid"]);
    expect(link.said.at(-1)).toEqual({ type: "subscribe", id: 3, channels: ["a"] });
  });

  test("in hello, too", async () => {
    const scene = new Scene({ getToken: () => "secret" });
    const { told } = follow(scene, "a", "nonsense");
    await scene.soon();
    scene.link.open().tell({ type: "error", id: 1, code: "CURSOR_INVALID", message: "no" });
    expect(scene.link.said.slice(1)).toEqual([
      { type: "hello", id: 2, token: "secret" },
      { type: "subscribe", id: 3, channels: ["a"] },
    ]);
    expect(told).toEqual(["cursor_invalid"]);
  });
});

describe("refusals", () => {
  const rejected = [{ channel: "b", code: "FORBIDDEN", message: "no" }];

  test("are told, and remembered until there is another token", async () => {
    let token = "one";
    const scene = new Scene({ getToken: () => token });
    const told: unknown[] = [];
    scene.client.on("rejected", (rejection) => told.push(rejection));
    follow(scene, "a");
    const { told: own } = follow(scene, "b");
    await scene.soon();
    scene.link
      .open()
      .tell(
        { type: "welcome", id: 1 },
        { type: "subscribed", id: 1, channels: ["a"], rejected, cursor: "c1", recovered: false },
      );
    expect(told).toEqual(rejected);
    expect(own).toEqual(["FORBIDDEN"]);
    scene.link.end();
    await scene.wait(1_000);
    expect(scene.link.open().said[0]).toMatchObject({ channels: ["a"] });
    scene.link.end();
    token = "two";
    await scene.wait(2_000);
    expect(scene.link.open().said[0]).toMatchObject({ channels: ["a", "b"] });
  });

  test("what is taken away is asked for again after a fresh token", async () => {
    const scene = new Scene({ getToken: () => "secret" });
    const { ids, told } = follow(scene, "a");
    await scene.soon();
    const link = scene.link.welcome().event(1, "a", "c1");
    link.tell({ type: "unsubscribed", channels: ["a"], code: "FORBIDDEN", message: "no" }).event(2, "a");
    expect(ids).toEqual([1]);
    expect(told).toEqual(["subscribed", "FORBIDDEN"]);
    link.tell({ type: "auth_ok" });
    await scene.soon();
    expect(link.said.at(-1)).toEqual({ type: "subscribe", id: 2, channels: ["a"], since: "c1" });
  });

  test("one bad name among many is found, and the others are there", async () => {
    const scene = new Scene();
    const names = ["a", "b", "bad name", "c", "d"];
    const told = names.map((name) => follow(scene, name).told);
    await scene.soon();
    scene.link.open();
    for (let n = 0; n < scene.link.said.length; n += 1) {
      const frame = scene.link.said[n];
      if (frame?.type !== "hello" && frame?.type !== "subscribe") continue;
      const { id = 0, channels = [] } = frame;
      if (channels.includes("bad name")) scene.link.tell({ type: "error", id, code: "INVALID_CHANNEL", message: "no" });
      else if (frame.type === "hello") scene.link.tell({ type: "welcome", id });
      else scene.link.tell({ type: "subscribed", id, channels, cursor: "c", recovered: false });
    }
    expect(told).toEqual([["subscribed"], ["subscribed"], ["INVALID_CHANNEL"], ["subscribed"], ["subscribed"]]);
    expect(scene.errors).toMatchObject([{ code: "INVALID_CHANNEL" }]);
    expect(scene.link.said.length).toBeLessThan(10);
  });

  test("too many messages: what is not answered is said again, when the server says", async () => {
    const scene = new Scene();
    const link = await scene.connected("a");
    follow(scene, "b");
    await scene.soon();
    link.tell({ type: "error", code: "RATE_LIMIT_EXCEEDED", message: "slow down", retryAfterMs: 8_000 });
    await scene.wait(7_000);
    expect(link.said).toHaveLength(2);
    await scene.wait(1_000);
    expect(link.said.slice(1)).toEqual([link.said[1], link.said[1]]);
    expect(scene.errors).toMatchObject([{ code: "RATE_LIMIT_EXCEEDED", retryable: true }]);
  });
});

describe("a token of its own", () => {
  test("goes with its channel, and is asked for anew on each connection and when it expires", async () => {
    const scene = new Scene();
    let calls = 0;
    scene.client.subscribe("doc:1", () => {}, { getToken: async () => `permit ${++calls}` });
    follow(scene, "a");
    await scene.soon();
    const link = scene.link.welcome();
    await scene.soon();
    expect(link.said.at(-1)).toEqual({ type: "subscribe", id: 2, channels: ["doc:1"], tokens: ["permit 1"] });
    link.tell({ type: "subscribed", id: 2, channels: ["doc:1"], cursor: "c1", recovered: false });
    link.tell({ type: "unsubscribed", channels: ["doc:1"], code: "TOKEN_EXPIRED", message: "expired" });
    await scene.soon();
    expect(link.said.at(-1)).toMatchObject({ channels: ["doc:1"], tokens: ["permit 2"], since: "c1" });
    link.end();
    await scene.wait(1_000);
    scene.link.welcome();
    await scene.wait(10);
    expect(scene.link.said.at(-1)).toMatchObject({ channels: ["doc:1"], tokens: ["permit 3"] });
  });

  test("that cannot be got is told, and tried again on the next connection", async () => {
    const scene = new Scene();
    const told: string[] = [];
    const getToken = vi.fn().mockRejectedValue(new Error("down"));
    scene.client.subscribe("doc:1", () => {}, {
      getToken,
      onRejected: ({ code, message }) => told.push(`${code}: ${message}`),
    });
    const link = await scene.connected("a");
    await scene.wait(10_000);
    expect(told).toEqual(["TOKEN: getToken failed: Error: down"]);
    link.end();
    await scene.wait(1_000);
    scene.link.welcome();
    await scene.wait(10);
    expect(getToken).toHaveBeenCalledTimes(2);
  });
});

test("an undo from within a handler is heeded at once", async () => {
  const scene = new Scene();
  const ids: number[] = [];
  const undos: (() => void)[] = [];
  scene.client.subscribe("a", () => undos.forEach((undo) => void undo()));
  undos.push(scene.client.subscribe("a", ({ id }) => ids.push(id)));
  await scene.soon();
  scene.link.welcome().event(1, "a");
  expect(ids).toEqual([]);
});

test("a position of another database, told on a link that is elsewhere: one reset, and it is live", async () => {
  const scene = new Scene();
  const link = await scene.connected("a");
  const { ids, told } = follow(scene, "b", "other");
  await scene.soon();
  link.tell({ type: "subscribed", id: 2, channels: ["b"], cursor: "c0", recovered: true });
  link.tell({ type: "reset", reason: "epoch", cursor: "c0" }).event(1, "b", "c1");
  await scene.soon();
  expect(told).toEqual(["epoch"]);
  expect(ids).toEqual([1]);
  expect(link.said).toHaveLength(2);
});

test("a position to which the link has yet to come: it is asked for again then, and nothing comes from before", async () => {
  const scene = new Scene();
  const link = await scene.connected("a");
  const { ids, told } = follow(scene, "a", "c5");
  await scene.soon();
  link.tell({ type: "subscribed", id: 2, channels: ["a"], cursor: "c0", recovered: true });
  link.event(4, "a").event(6, "a", "c6").tell({ type: "caught_up", id: 2, cursor: "c6" });
  expect(ids).toEqual([]);
  expect(link.said.at(-1)).toEqual({ type: "subscribe", id: 3, channels: ["a"], since: "c5" });
  link.tell({ type: "subscribed", id: 3, channels: ["a"], cursor: "c5", recovered: true }).event(6, "a", "c6");
  expect(ids).toEqual([6]);
  expect(told).toEqual(["subscribed"]);
});
