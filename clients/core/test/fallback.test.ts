// The ways to connect where sockets do not get through, and how one is chosen.

import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";

import { eventStreamParser } from "../src/fallback/event-stream.js";
import { longPoll, sse } from "../src/fallback/index.js";
import type { ClientOptions } from "../src/index.js";
import { Scene } from "./support/scene.js";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

test("messages are read however they are cut into pieces", () => {
  const text = 'retry: 5\n\nid: c1\nevent: subscribed\ndata: {"a":\ndata: 1}\n\n: nothing\n\nid: c2\n\ndata:x\r\n\r\n';
  for (let at = 0; at <= text.length; at += 1) {
    const got: unknown[] = [];
    const read = eventStreamParser((message) => got.push(message));
    read(text.slice(0, at));
    read(text.slice(at));
    expect(got).toEqual([
      { data: "", id: undefined, retry: "5" },
      { data: '{"a":\n1}', id: "c1" },
      { data: "", id: undefined },
      { data: "", id: "c2" },
      { data: "x", id: undefined },
    ]);
  }
});

describe("plain requests", () => {
  /** Answers one request after the other; the rest wait for ever. */
  function answering(...answers: { status?: number; body: object; headers?: Record<string, string> }[]) {
    const asked: URL[] = [];
    const headers: (string | undefined)[] = [];
    const fetch = vi.fn(async (address: string, init: RequestInit) => {
      asked.push(new URL(address));
      headers.push((init.headers as Record<string, string>).authorization);
      const answer = answers.shift();
      if (answer === undefined) return new Promise<Response>(() => {});
      return new Response(JSON.stringify(answer.body), { status: answer.status ?? 200, headers: answer.headers ?? {} });
    });
    return { asked, headers, fetch: fetch as unknown as typeof globalThis.fetch };
  }

  const empty = (cursor: string) => ({ body: { events: [], cursor, more: false } });

  test("each goes on from the answer before, and the token is in the header alone", async () => {
    const event = { type: "event", channels: ["a"], event: { id: 1, createdAt: "t" } };
    const { asked, headers, fetch } = answering(
      empty("c1"),
      { body: { events: [event], cursor: "c2", more: true } },
      empty("c3"),
    );
    const scene = new Scene({ transports: [longPoll], getToken: () => "secret", environment: { fetch } });
    const got: unknown[] = [];
    scene.client.subscribe("a", ({ id }) => got.push(id));
    await scene.wait(10);
    expect(asked.map(({ searchParams }) => searchParams.getAll("after"))).toEqual([[], ["c1"], ["c2"], ["c3"]]);
    expect(asked.map(({ searchParams }) => searchParams.get("wait"))).toEqual(["0", "25s", "0", "25s"]);
    expect(asked[0]?.href).toBe("http://server/events?wait=0&channels=a");
    expect(headers).toEqual(Array(4).fill("Bearer secret"));
    expect(got).toEqual([1]);
    expect(scene.client.status).toMatchObject({ state: "connected", transport: "poll" });
  });

  test.each([
    [401, "TOKEN", "error"],
    [503, "CLOSED", "reconnecting"],
    [502, "CLOSED", "reconnecting"],
  ])("an answer %d is %s, and then %s", async (status, code, state) => {
    const { fetch } = answering({ status, body: { message: "because" }, headers: { "retry-after": "7" } });
    const scene = new Scene({ transports: [longPoll], environment: { fetch } });
    scene.client.subscribe("a", () => {});
    await scene.wait(10);
    expect(scene.client.status).toMatchObject({ state, error: { code, message: expect.stringContaining("because") } });
    // All are told the same whole seconds: with a part of the first wait they do not come back together.
    if (state === "reconnecting") expect(scene.client.status).toMatchObject({ attempt: 1, retryInMs: 7_000 + 500 });
  });

  test("a server that stops answering and says when to come back has not failed", async () => {
    let isStopping = false;
    const fetch = async () => {
      await new Promise((resolve) => setTimeout(resolve, 2_000));
      const body = isStopping ? { message: "stopping" } : { events: [], cursor: "c1", more: false };
      return new Response(JSON.stringify(body), isStopping ? { status: 503, headers: { "retry-after": "7" } } : {});
    };
    const scene = new Scene({ transports: [longPoll], environment: { fetch: fetch as never } });
    scene.client.subscribe("a", () => {});
    await scene.wait(2_010);
    expect(scene.client.status.state).toBe("connected");
    isStopping = true;
    await scene.wait(2_000);
    expect(scene.client.status).toMatchObject({ state: "reconnecting", attempt: 0, retryInMs: 7_000 + 250 });
    // It still does not answer, which is a failure.
    await scene.wait(7_250 + 2_000);
    expect(scene.client.status).toMatchObject({ state: "reconnecting", attempt: 1, retryInMs: 7_000 + 500 });
  });
});

describe("streams", () => {
  const subscribed = 'id: c1\nevent: subscribed\ndata: {"type":"subscribed","channels":["a"],"recovered":false}\n\n';

  /** A client with a stream, what the server writes to it, and its end. */
  async function streaming(...first: string[]) {
    let stream: ReadableStreamDefaultController<Uint8Array> | undefined;
    const fetch = vi.fn(async () => {
      const body = new ReadableStream<Uint8Array>({
        start(controller) {
          stream = controller;
        },
      });
      return new Response(body, { headers: { "content-type": "text/event-stream" } });
    });
    const scene = new Scene({ transports: [sse], environment: { fetch: fetch as never } });
    scene.client.subscribe("a", () => {});
    await scene.wait(10);
    const write = (text: string) => stream?.enqueue(new TextEncoder().encode(text));
    for (const text of [...first, subscribed]) write(text);
    await scene.wait(2_000);
    expect(scene.client.status).toMatchObject({ state: "connected", transport: "sse" });
    return { scene, fetch, write, end: () => stream?.close() };
  }

  test("the time that a stream begins with is waited after it", async () => {
    const { scene, end } = await streaming("retry: 4000\n\n");
    end();
    await scene.wait(10);
    expect(scene.client.status).toMatchObject({ state: "reconnecting", attempt: 0, retryInMs: 4_000 + 250 });
  });

  test("one without a time, or with none that is one, is a failure", async () => {
    const { scene, end } = await streaming("retry: soon\n\n");
    end();
    await scene.wait(10);
    expect(scene.client.status).toMatchObject({ state: "reconnecting", attempt: 1, retryInMs: 500 });
  });

  test("a server that stops tells each its own time, which goes before", async () => {
    const { scene, write, end, fetch } = await streaming("retry: 4000\n\n");
    write(
      'event: disconnect\ndata: {"type":"disconnect","code":"SERVER_SHUTDOWN","reconnect":true,"retryAfterMs":900}\n\n',
    );
    await scene.wait(100);
    end();
    await scene.wait(0);
    expect(scene.client.status).toMatchObject({ state: "reconnecting", attempt: 0, retryInMs: 800 });
    await scene.wait(810);
    expect(fetch).toHaveBeenCalledTimes(2);
  });
});

describe("several ways", () => {
  const memory = new Map<string, string>();
  const storage = {
    getItem: (key: string) => memory.get(key) ?? null,
    setItem: (key: string, value: string) => void memory.set(key, value),
  };
  const { among } = sse;

  function scene(options: ClientOptions = {}): Scene {
    const made: Scene = new Scene({ ...options, environment: { storage, ...options.environment }, transports: [] });
    return made;
  }

  /** A scene whose transports are all fake, the last of which knows how to choose. */
  function choosing(): Scene {
    const helper = scene();
    const ways = [helper.transport("ws"), { ...helper.transport("sse"), ...(among && { among }) }];
    const made = new Scene({ transports: ways, environment: { storage } });
    Object.defineProperty(made, "links", { value: helper.links });
    return made;
  }

  beforeEach(() => memory.clear());

  test("after two failures in a row the next, at once; which is remembered", async () => {
    const made = choosing();
    made.client.connect();
    made.link.end();
    await made.wait(1_000);
    made.link.end();
    expect(made.links.map(({ name }) => name)).toEqual(["ws", "ws", "sse"]);
    made.link.welcome();
    expect(made.client.status.transport).toBe("sse");
    const next = choosing();
    next.client.connect();
    expect(next.links.map(({ name }) => name)).toEqual(["sse"]);
  });

  test("a token that is refused says nothing about the way", async () => {
    const made = choosing();
    made.client.connect();
    for (let n = 0; n < 4; n += 1) {
      made.link.open().end(4429, { retryAfterMs: 1_000 });
      await made.wait(1_000);
    }
    expect(new Set(made.links.map(({ name }) => name))).toEqual(new Set(["ws"]));
  });

  test("the best is tried again after five minutes, and nothing is lost on the way", async () => {
    memory.set("rowcast:transport:ws://server/ws", "sse");
    const made = choosing();
    made.client.subscribe("a", () => {});
    await made.soon();
    const first = made.link.welcome().event(1, "a", "c1");
    const untilThereAre = async (links: number): Promise<void> => {
      for (let n = 0; n < 310 && made.links.length < links; n += 1) {
        await made.wait(1_000);
        first.tell({ type: "heartbeat" });
      }
    };
    await untilThereAre(2);
    expect(made.links.map(({ name }) => name)).toEqual(["sse", "ws"]);
    expect(first.isOver).toBe(false);
    made.link.end();
    await untilThereAre(3);
    expect(made.links.map(({ name }) => name)).toEqual(["sse", "ws", "ws"]);
    made.link.welcome();
    expect(first.isOver).toBe(true);
    expect(made.link.name).toBe("ws");
    made.link.open();
    expect(made.link.said).toEqual([{ type: "hello", id: 2, channels: ["a"], since: "c1" }]);
  });
});
