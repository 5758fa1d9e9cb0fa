// Against the real program, through a proxy that cuts: each transport tells each event once.

import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import WebSocket from "ws";

import { longPoll, sse } from "../../src/fallback/index.js";
import { type Client, type ClientOptions, createClient, type Transport, webSocket } from "../../src/index.js";
import { CuttingProxy, Server } from "./server.js";

/** Longest wait for something that has to happen. */
const PATIENCE = { timeout: 30_000, interval: 20 };

let server: Server;
let proxy: CuttingProxy;
const clients: Client[] = [];

beforeAll(async () => {
  server = await Server.start();
  proxy = await CuttingProxy.before(() => server.host);
});
afterEach(() => {
  for (const client of clients.splice(0)) client.disconnect();
});
afterAll(async () => {
  await proxy?.stop();
  await server?.stop();
});

function open(transports: Transport[], options: ClientOptions = {}): Client {
  const client = createClient({
    url: `http://${proxy.host}`,
    transports,
    getToken: () => server.token({ sub: "ann", channels: ["*"] }),
    reconnectInterval: 20,
    ...options,
    environment: { WebSocket: WebSocket as never, ...options.environment },
  });
  clients.push(client);
  return client;
}

/** Subscribes, and waits until that is confirmed. */
async function follow(client: Client, channel: string, since?: string): Promise<number[]> {
  const got: number[] = [];
  const onSubscribed = vi.fn();
  client.subscribe(channel, ({ payload }) => got.push((payload as { n: number }).n), {
    onSubscribed,
    ...(since === undefined ? {} : { since }),
  });
  await vi.waitFor(() => expect(onSubscribed).toHaveBeenCalled(), PATIENCE);
  return got;
}

const numbers = (count: number, from = 1): number[] => Array.from({ length: count }, (_, n) => from + n);

describe.each([webSocket, sse, longPoll])("by $name", (transport) => {
  const { name } = transport;

  test("an event is there, and what comes later on another channel", async () => {
    const client = open([transport]);
    const tasks = await follow(client, `${name}:tasks`);
    const plans = await follow(client, `${name}:plans`);
    expect(client.status).toMatchObject({ state: "connected", transport: name });
    await server.publish({ channel: `${name}:tasks`, type: "t", payload: { n: 1 } });
    await server.publish({ channel: `${name}:plans`, type: "t", payload: { n: 2 } });
    await server.publish({ channel: `${name}:tasks ${name}:plans`, type: "t", payload: { n: 3 } });
    await vi.waitFor(
      () =>
        expect([tasks, plans]).toEqual([
          [1, 3],
          [2, 3],
        ]),
      PATIENCE,
    );
  });

  test("a position of its own: no gap between a state and what comes after", async () => {
    const client = open([transport]);
    const live = await follow(client, `${name}:since`);
    await server.publish(...numbers(3).map((n) => ({ channel: `${name}:since`, type: "t", payload: { n } })));
    await vi.waitFor(() => expect(live).toEqual(numbers(3)), PATIENCE);
    const cursor = await server.cursor();
    await server.publish(...numbers(3, 4).map((n) => ({ channel: `${name}:since`, type: "t", payload: { n } })));
    const late = await follow(client, `${name}:since`, cursor);
    const all = await follow(client, `${name}:since`, "earliest");
    await server.publish({ channel: `${name}:since`, type: "t", payload: { n: 7 } });
    await vi.waitFor(() => expect([live, late, all]).toEqual([numbers(7), numbers(4, 4), numbers(7)]), PATIENCE);
  });

  test("a thousand events, thirty cuts and two restarts: each once, in order", async () => {
    const client = open([transport]);
    const channel = `${name}:cuts`;
    const got = await follow(client, channel);
    for (let n = 1; n <= 1_000; n += 10) {
      await server.publish(...numbers(10, n).map((n) => ({ channel, type: "t", payload: { n } })));
      if (n % 30 === 1) proxy.cut();
      if (n === 301 || n === 701) await server.restart();
    }
    await vi.waitFor(() => expect(got.length).toBeGreaterThanOrEqual(1_000), PATIENCE);
    expect(got).toEqual(numbers(1_000));
  });

  test("a channel that is not granted is told, and the others are there", async () => {
    const token = server.token({ sub: "ann", channels: ["tasks"] });
    const client = open([transport], { getToken: () => token });
    const rejected: unknown[] = [];
    client.on("rejected", ({ channel, code }) => rejected.push({ channel, code }));
    client.subscribe("plans", () => {});
    const got = await follow(client, "tasks");
    await vi.waitFor(() => expect(rejected).toEqual([{ channel: "plans", code: "FORBIDDEN" }]), PATIENCE);
    await server.publish({ channel: "tasks", type: "t", payload: { n: 1 } });
    await vi.waitFor(() => expect(got).toEqual([1]), PATIENCE);
  });

  test("one that is alone refused is no reason to give up", async () => {
    const client = open([transport], { getToken: () => server.token({ sub: "ann", channels: ["tasks"] }) });
    const onRejected = vi.fn();
    client.subscribe("plans", () => {}, { onRejected });
    await vi.waitFor(() => expect(onRejected).toHaveBeenCalledTimes(1), PATIENCE);
    expect(client.status.state).toBe("connected");
  });

  test("a name that is none is an error, and the others are there", async () => {
    const client = open([transport]);
    const codes: string[] = [];
    client.on("error", ({ code }) => codes.push(code));
    client.subscribe("no name", () => {});
    await follow(client, "tasks");
    await vi.waitFor(() => expect(codes).toEqual(["INVALID_CHANNEL"]), PATIENCE);
  });

  test("a token that is refused: another one is asked for once, and the same again is an error", async () => {
    const old = server.token({ sub: "ann", channels: ["*"], expires_in_s: -600 });
    const getToken = vi.fn(({ reason }: { reason: string }) =>
      reason === "refused" ? server.token({ channels: ["*"], sub: "ann" }) : old,
    );
    await follow(open([transport], { getToken }), "tasks");
    expect(getToken.mock.calls.map(([{ reason }]) => reason)).toEqual(["connect", "refused"]);
    const client = open([transport], { getToken: () => old });
    client.subscribe("tasks", () => {});
    await vi.waitFor(() => expect(client.status).toMatchObject({ state: "error", error: { code: "TOKEN" } }), PATIENCE);
  });

  test("a channel with a token of its own", async () => {
    const client = open([transport], { getToken: () => server.token({ sub: "ann", channels: [] }) });
    const got: unknown[] = [];
    const onSubscribed = vi.fn();
    const getToken = (): string => server.token({ sub: "ann", channel: `${name}:doc` });
    client.subscribe(`${name}:doc`, ({ payload }) => got.push(payload), { getToken, onSubscribed });
    await vi.waitFor(() => expect(onSubscribed).toHaveBeenCalled(), PATIENCE);
    await server.publish({ channel: `${name}:doc`, type: "t", payload: { n: 1 } });
    await vi.waitFor(() => expect(got).toEqual([{ n: 1 }]), PATIENCE);
  });

  test("a position of another database: one reset, and what comes then", async () => {
    const client = open([transport]);
    await follow(client, `${name}:other`);
    const onReset = vi.fn();
    const got: unknown[] = [];
    client.subscribe(`${name}:elsewhere`, ({ payload }) => got.push(payload), { since: "AQGVc4QTABfF", onReset });
    await vi.waitFor(() => expect(onReset).toHaveBeenCalledWith({ reason: "epoch" }), PATIENCE);
    await server.publish({ channel: `${name}:elsewhere`, type: "t", payload: { n: 1 } });
    await vi.waitFor(() => expect(got).toEqual([{ n: 1 }]), PATIENCE);
    expect(onReset).toHaveBeenCalledTimes(1);
  });

  test("leaving a channel: nothing of it comes any more", async () => {
    const client = open([transport]);
    const left: unknown[] = [];
    const onSubscribed = vi.fn();
    const undo = client.subscribe(`${name}:left`, ({ id }) => left.push(id), { onSubscribed });
    const kept = await follow(client, `${name}:kept`);
    await vi.waitFor(() => expect(onSubscribed).toHaveBeenCalled(), PATIENCE);
    undo();
    await server.publish({ channel: `${name}:left`, type: "t", payload: { n: 1 } });
    await server.publish({ channel: `${name}:kept`, type: "t", payload: { n: 2 } });
    await vi.waitFor(() => expect(kept).toEqual([2]), PATIENCE);
    expect(left).toEqual([]);
  });
});

test("where sockets do not get through, the next way is taken, and is remembered", async () => {
  const remembered = new Map<string, string>();
  const storage = {
    getItem: (key: string) => remembered.get(key) ?? null,
    setItem: (key: string, value: string) => void remembered.set(key, value),
  };
  class Blocked extends WebSocket {
    constructor() {
      super("ws://127.0.0.1:9/ws");
    }
  }
  const environment = { WebSocket: Blocked as never, storage };
  const client = open([webSocket, sse, longPoll], { environment });
  const got = await follow(client, "behind:proxies");
  expect(client.status.transport).toBe("sse");
  expect([...remembered.values()]).toEqual(["sse"]);
  await server.publish({ channel: "behind:proxies", type: "t", payload: { n: 1 } });
  await vi.waitFor(() => expect(got).toEqual([1]), PATIENCE);
});

test("a fresh token before the old one expires keeps the connection", async () => {
  const getToken = vi.fn(() => server.token({ sub: "ann", channels: ["*"], expires_in_s: 50 }));
  const client = open([webSocket], { getToken });
  await follow(client, "tasks");
  await vi.waitFor(() => expect(getToken.mock.calls.length).toBeGreaterThan(1), PATIENCE);
  expect(client.status.state).toBe("connected");
});
