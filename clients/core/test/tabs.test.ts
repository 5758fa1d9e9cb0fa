// Tabs that share a connection, in a browser and with a server that do what the test says.

import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { type Client, type ClientOptions, createClient, type FeedEvent, webSocket } from "../src/index.js";
import { tabs, tabsWith } from "../src/tabs/index.js";
import { createTestServer, type TestServer, type TestServerOptions } from "../src/testing/index.js";
import { FakeBrowser, type FakeTab } from "./tabs-browser.js";

const URL = "ws://feed.test/ws";

let server: TestServer;
let browser: FakeBrowser;
let clients: Client[] = [];

function start(options: TestServerOptions = {}): void {
  server?.close();
  server = createTestServer({ random: () => 0, ...options });
  browser = new FakeBrowser(server.environment.WebSocket);
}

beforeEach(() => {
  vi.useFakeTimers();
  start();
});
afterEach(() => {
  for (const client of clients) client.disconnect();
  clients = [];
  server.close();
  vi.useRealTimers();
});

const later = (ms = 50) => vi.advanceTimersByTimeAsync(ms);

/** A tab with a page that shows tasks. */
interface Page {
  readonly tab: FakeTab;
  readonly client: Client;
  readonly seen: unknown[];
}

function page(
  options: ClientOptions & { readonly key?: string; readonly channel?: string; readonly since?: string } = {},
): Page {
  const { key, channel = "tasks", since, ...rest } = options;
  const tab = browser.open();
  const client = createClient({
    url: URL,
    tabs: tab.share(key === undefined ? {} : { key }),
    environment: { ...server.environment, WebSocket: tab.WebSocket, lifecycle: tab.lifecycle },
    ...rest,
  });
  clients.push(client);
  const seen: unknown[] = [];
  client.subscribe(channel, (event: FeedEvent) => seen.push(event.payload), since === undefined ? {} : { since });
  return { tab, client, seen };
}

const add = (n: number) => void server.emit("tasks", "task.created", n);

test("two tabs have one connection, and each gets each event", async () => {
  const [one, two] = [page(), page()];
  await later();
  add(1);
  add(2);
  await later();
  expect(server.connections).toHaveLength(1);
  expect(one.seen).toEqual([1, 2]);
  expect(two.seen).toEqual([1, 2]);
  expect(two.client.status).toMatchObject({ state: "connected", transport: "ws" });
});

test("a tab that comes later joins the connection that is there", async () => {
  const one = page();
  await later();
  add(1);
  await later();
  const two = page({ channel: "*" });
  await later();
  add(2);
  await later();
  expect(server.attempts).toBe(1);
  expect(one.seen).toEqual([1, 2]);
  expect(two.seen).toEqual([2]);
});

test("the tab that leads is closed: another takes over and nothing is missed", async () => {
  const [one, two, three] = [page(), page(), page()];
  await later();
  add(1);
  await later();
  one.client.disconnect();
  add(2);
  await later();
  add(3);
  await later();
  expect(server.connections).toHaveLength(1);
  for (const { seen } of [two, three]) expect(seen).toEqual([1, 2, 3]);
  expect(one.seen).toEqual([1]);
});

test("the tab that leads crashes: another takes over and nothing is missed", async () => {
  const [one, two] = [page(), page()];
  await later();
  add(1);
  await later();
  one.tab.crash();
  add(2);
  await later();
  expect(two.seen).toEqual([1, 2]);
  expect(server.connections).toHaveLength(1);
});

test("a tab that leads and hangs is replaced within seconds by one that is opened", async () => {
  const [one, two] = [page(), page()];
  await later();
  one.tab.hang();
  const three = page();
  await later(6_100);
  add(1);
  await later();
  expect(two.seen).toEqual([1]);
  expect(three.seen).toEqual([1]);
  one.tab.recover();
  await later();
  add(2);
  await later();
  for (const { seen } of [one, two, three]) expect(seen).toEqual([1, 2]);
  expect(server.connections).toHaveLength(1);
});

test("a frozen page lets others lead, and comes back", async () => {
  const [one, two] = [page(), page()];
  await later();
  one.tab.lifecycle.tell("suspend");
  await later();
  add(1);
  await later();
  expect(two.seen).toEqual([1]);
  expect(one.seen).toEqual([]);
  one.tab.lifecycle.tell("resume");
  await later();
  expect(one.seen).toEqual([1]);
  expect(server.connections).toHaveLength(1);
});

test("a tab that has missed a message notices, and comes back by its own position", async () => {
  const [one, two] = [page(), page()];
  await later();
  add(1);
  await later();
  two.tab.losing = 1;
  add(2);
  await later();
  expect(two.seen).toEqual([1]);
  add(3);
  await later();
  expect(two.seen).toEqual([1, 2, 3]);
  expect(one.seen).toEqual([1, 2, 3]);
});

test("cut or restarted, all come back by one connection", async () => {
  const all = [page(), page(), page()];
  await later();
  add(1);
  await later();
  server.cut();
  add(2);
  await later();
  server.restart({ retryAfterMs: 500 });
  add(3);
  await later(1_000);
  add(4);
  await later();
  for (const { seen } of all) expect(seen).toEqual([1, 2, 3, 4]);
  expect(server.connections).toHaveLength(1);
});

test("the server is told to stop when no tab wants a channel any more", async () => {
  const one = page({ channel: "a" });
  const two = page({ channel: "b" });
  const extra = [one, two].map(({ client }) => client.subscribe("shared", () => {}));
  await later();
  expect(server.connections[0]?.channels).toEqual(["a", "shared", "b"]);
  extra[0]?.();
  await later();
  expect(server.connections[0]?.channels).toContain("shared");
  extra[1]?.();
  await later();
  expect(server.connections[0]?.channels).toEqual(["a", "b"]);
  two.tab.crash();
  await later();
  expect(server.connections[0]?.channels).toEqual(["a"]);
});

test.each([
  [1_000, 60_000],
  [60_000, 1_000],
])("a line that is dead is found so by one, for all: %i, %i", async (...intervals) => {
  const all = intervals.map((heartbeatInterval) => page({ heartbeatInterval }));
  await later();
  const flow = server.stall();
  await later(11_500);
  expect(all.map(({ client }) => client.status.state)).not.toContain("connected");
  flow();
  add(1);
  await later(1_000);
  for (const { seen } of all) expect(seen).toEqual([1]);
  expect(server.connections).toHaveLength(1);
});

test("a connection that does not open is told as such, so that another way may be tried", async () => {
  const again = server.refuse();
  const one = page();
  await later(0);
  expect(one.client.status).toMatchObject({ state: "reconnecting", error: { closeCode: 1006 } });
  again();
  await later(5_000);
  expect(one.client.status.state).toBe("connected");
});

const users = {
  authenticate: (token: string) => (token.startsWith("bad") ? undefined : { userId: token.split(" ")[0] ?? "" }),
};

test("another user's tab has a connection of its own; the same user's has not", async () => {
  start(users);
  const [ann, more, bob] = ["ann 1", "ann 2", "bob 1"].map((token) => page({ getToken: () => token, channel: "*" }));
  await later();
  expect(server.connections.map(({ userId }) => userId)).toEqual(["ann", "bob"]);
  server.emit("inbox:ann", "x.y", 1);
  await later();
  expect([ann, more, bob].map((each) => each?.client.status.state)).toEqual(["connected", "connected", "connected"]);
  expect([ann?.seen, more?.seen]).toEqual([[1], [1]]);
});

test("where the server cannot say whose a token is, as over HTTP, another token has another connection", async () => {
  start(users);
  const transports = [{ ...webSocket, name: "sse" as const }];
  for (const token of ["ann 1", "ann 1", "ann 2"]) page({ transports, getToken: () => token });
  await later();
  expect(server.connections).toHaveLength(2);
});

test("a token that is refused is the affair of its tab only", async () => {
  start(users);
  const asked: string[] = [];
  const flow = server.stall();
  const bad = page({ getToken: () => "bad" });
  const good = page({
    getToken: ({ reason }) => {
      asked.push(reason);
      return "ann";
    },
  });
  // Both wait for the same line.
  await later();
  flow();
  await later(3_000);
  expect(bad.client.status.state).toBe("error");
  expect(new Set(asked)).toEqual(new Set(["connect"]));
  add(1);
  await later();
  expect(good.seen).toEqual([1]);
});

test("one tab is asked for a fresh token", async () => {
  start({ authenticate: () => ({ userId: "ann", expiresInMs: 90_000 }) });
  const asked: string[] = [];
  const getToken = ({ reason }: { reason: string }) => {
    asked.push(reason);
    return `token ${asked.length}`;
  };
  const all = [page({ getToken }), page({ getToken }), page({ getToken })];
  await later();
  expect(asked).toEqual(["connect", "connect", "connect"]);
  await later(31_000);
  expect(asked.slice(3)).toEqual(["expiring"]);
  await later(60_000);
  add(1);
  await later();
  for (const { seen } of all) expect(seen).toEqual([1]);
  expect(server.attempts).toBe(1);
});

test("what a tab missed in its sleep is not handed to others that have it, or never asked for it", async () => {
  const old = page();
  await later();
  add(1);
  await later();
  old.tab.lifecycle.tell("suspend");
  await later();
  add(2);
  await later(100_000);
  const young = page();
  await later();
  old.tab.lifecycle.tell("resume");
  await later();
  add(3);
  await later();
  expect(old.seen).toEqual([1, 2, 3]);
  expect(young.seen).toEqual([3]);
});

test("history that one tab asks for is not handed to others", async () => {
  add(1);
  add(2);
  const live = page();
  await later();
  const reader = page({ since: "earliest" });
  await later();
  add(3);
  await later();
  expect(reader.seen).toEqual([1, 2, 3]);
  expect(live.seen).toEqual([3]);
  expect(server.connections).toHaveLength(1);
});

test("asked too much for one connection, the server is asked on another", async () => {
  start({ messagesPerMinute: 8 });
  const all = [page(), page()];
  const channels = ["a", "b", "c", "d", "e", "f", "g", "h"];
  const confirmed = new Set<string>();
  for (const channel of channels) {
    all[1]?.client.subscribe(channel, () => {}, { onSubscribed: () => confirmed.add(channel) });
    await later();
  }
  await later(5_000);
  expect([...confirmed].sort()).toEqual(channels);
  add(1);
  await later();
  for (const { seen } of all) expect(seen).toEqual([1]);
});

test("a position that is none keeps nobody from what comes", async () => {
  const all = [page({ since: "yesterday" }), page()];
  await later();
  add(1);
  await later();
  for (const { seen } of all) expect(seen).toEqual([1]);
  expect(server.attempts).toBe(1);
});

test("a rejection is told to the tab that asked", async () => {
  server.reject("secret");
  const told: string[] = [];
  const one = page();
  one.client.on("rejected", ({ channel }) => told.push(`one: ${channel}`));
  const two = page({ channel: "secret" });
  two.client.on("rejected", ({ channel }) => told.push(`two: ${channel}`));
  await later();
  expect(told).toEqual(["two: secret"]);
});

test("tabs of different keys or URLs do not share", async () => {
  page({ key: "ann" });
  page({ key: "bob" });
  page({ key: "ann" });
  page({ key: "ann", url: "ws://feed.test/other" });
  await later();
  expect(server.connections).toHaveLength(3);
});

test("what is missing in the browser makes no difference but the number of connections", async () => {
  vi.stubGlobal("BroadcastChannel", undefined);
  expect(tabs(webSocket, { url: URL })).toBe(webSocket);
  vi.unstubAllGlobals();
  vi.stubGlobal("navigator", {});
  expect(tabs(webSocket, { url: URL })).toBe(webSocket);
  expect(tabsWith({ key: "ann" })(webSocket, { url: URL })).toBe(webSocket);
  vi.unstubAllGlobals();
});
