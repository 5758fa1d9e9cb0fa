// How to test a program with the server of `@rowcast/client/testing`: each test shows one thing.

import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { type Client, type ClientOptions, createClient } from "../src/index.js";
import { createTestServer, type TestServer, type TestServerOptions } from "../src/testing/index.js";

let server: TestServer;
let client: Client;

/** A client of a server of its own. The URL says nothing, but has to be one. */
function connect(options: Partial<ClientOptions> = {}, like: TestServerOptions = {}): Client {
  server = createTestServer(like);
  client = createClient({ url: "ws://test/ws", environment: server.environment, ...options });
  return client;
}

/** Lets everybody say what there is to say, and so much time pass. */
const pass = (ms = 0) => vi.advanceTimersByTimeAsync(ms);

beforeEach(() => void vi.useFakeTimers());
afterEach(() => {
  client.disconnect();
  server.close();
  vi.useRealTimers();
});

test("what is inserted is handed to who has subscribed", async () => {
  const titles: unknown[] = [];
  connect().subscribe("tasks", ({ type, payload }) => titles.push([type, payload]));
  await pass();
  server.emit("tasks", "task.created", { title: "Milk" });
  server.emit({ channel: ["plans", "tasks:7"], type: "task.updated", payload: { title: "Bread" }, actor: "ann" });
  server.emit("plans", "plan.created");
  await pass();
  expect(titles).toEqual([
    ["task.created", { title: "Milk" }],
    ["task.updated", { title: "Bread" }],
  ]);
});

test("what was missed in a cut comes afterwards", async () => {
  const seen: unknown[] = [];
  connect().subscribe("tasks", ({ payload }) => seen.push(payload));
  await pass();
  server.cut();
  server.emit("tasks", "task.created", 1);
  await pass();
  expect(client.status).toMatchObject({ state: "reconnecting", attempt: 1, retryInMs: 500 });
  expect(seen).toEqual([]);
  await pass(500);
  expect(seen).toEqual([1]);
});

test("a line may break in the middle of a transaction", async () => {
  const seen: unknown[] = [];
  connect().subscribe("tasks", ({ payload }) => seen.push(payload));
  await pass();
  server.cut({ afterFrames: 2 });
  server.commit([1, 2, 3].map((payload) => ({ channel: "tasks", type: "task.created", payload })));
  await pass();
  expect(seen).toEqual([1, 2]);
  await pass(1_000);
  expect(seen).toEqual([1, 2, 3]);
});

test("a line may hang", async () => {
  connect({ heartbeatInterval: 5_000 }).subscribe("tasks", () => {});
  await pass();
  const flow = server.stall();
  await pass(15_500);
  expect(client.status.state).toBe("reconnecting");
  flow();
  await pass(30_000);
  expect(client.status.state).toBe("connected");
});

test("a server that cannot be reached, and is there again", async () => {
  connect({}, { random: () => 1 });
  const accept = server.refuse();
  client.subscribe("tasks", () => {});
  await pass(10_000);
  expect(client.status).toMatchObject({ state: "reconnecting", attempt: 4, transport: undefined });
  expect(server.attempts).toBe(4);
  accept();
  await pass(8_000);
  expect(client.status.state).toBe("connected");
});

test("history that cannot be told", async () => {
  const onReset = vi.fn();
  connect().subscribe("tasks", () => {}, { onReset });
  await pass();
  server.reset("retention");
  await pass();
  expect(onReset).toHaveBeenCalledWith({ reason: "retention" });
});

test("a channel that is refused, and one that is taken away", async () => {
  const told: string[] = [];
  connect().on("rejected", ({ channel, code }) => told.push(`${channel}: ${code}`));
  server.reject("secret");
  client.subscribe("secret", () => {});
  client.subscribe("tasks", () => {});
  await pass();
  server.reject("tasks");
  await pass();
  expect(told).toEqual(["secret: FORBIDDEN", "tasks: FORBIDDEN"]);
  expect(server.connections[0]?.channels).toEqual([]);
});

test("tokens: who somebody is, what he may see, and for how long", async () => {
  const getToken = vi.fn(({ reason }: { reason: string }) => `ann, ${reason}`);
  const authenticate = (token: string) =>
    token.startsWith("ann") ? { userId: "ann", channels: ["tasks"], expiresInMs: 120_000 } : undefined;
  connect({ getToken }, { authenticate });
  const onRejected = vi.fn();
  client.subscribe("tasks", () => {});
  client.subscribe("plans", () => {}, { onRejected });
  await pass();
  expect(server.connections[0]).toMatchObject({ userId: "ann", channels: ["tasks"] });
  expect(onRejected).toHaveBeenCalledOnce();
  await pass(60_000);
  expect(getToken.mock.calls.map(([{ reason }]) => reason)).toEqual(["connect", "expiring"]);
  server.expire();
  await pass(1_000);
  expect(getToken).toHaveBeenLastCalledWith({ reason: "refused" });
  expect(client.status.state).toBe("connected");
});

test("no network, and sleep", async () => {
  const seen: unknown[] = [];
  connect().subscribe("tasks", ({ payload }) => seen.push(payload));
  await pass();
  server.goOffline();
  await pass(60_000);
  expect(client.status).toMatchObject({ state: "reconnecting", isOnline: false, retryInMs: undefined });
  server.goOnline();
  await pass();
  expect(client.status.state).toBe("connected");
  server.suspend();
  await pass();
  expect(server.connections).toHaveLength(0);
  server.emit("tasks", "task.created", 1);
  server.resume();
  await pass();
  expect(seen).toEqual([1]);
});

test("the server restarts and says when to come back", async () => {
  connect().subscribe("tasks", () => {});
  await pass();
  server.restart({ retryAfterMs: 3_000 });
  await pass(2_900);
  expect(client.status.state).toBe("reconnecting");
  await pass(100);
  expect(client.status.state).toBe("connected");
});

test("somebody is typing", async () => {
  const seen: unknown[] = [];
  connect().subscribe("room:1", (event) => seen.push(event));
  await pass();
  server.broadcast("room:1", { type: "user.typing", actor: "bob" });
  await pass();
  expect(seen).toMatchObject([{ type: "user.typing", actor: "bob", channels: ["room:1"] }]);
});

test("what the client says, and what the server may say to it", async () => {
  const onError = vi.fn();
  connect().subscribe("tasks", () => {});
  client.on("error", onError);
  await pass();
  const [connection] = server.connections;
  expect(connection?.frames).toMatchObject([{ type: "hello", channels: ["tasks"] }]);
  connection?.send({ type: "error", code: "UNAVAILABLE", message: "the token cannot be checked" });
  await pass();
  expect(onError).toHaveBeenCalledOnce();
  connection?.close(4003, "not for you");
  await pass();
  expect(client.status.state).toBe("error");
});
