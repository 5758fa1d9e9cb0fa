// Presence against the real program: two users, tabs, a cut, a restart; and tabs that share a connection.

import { afterAll, beforeAll, expect, test, vi } from "vitest";
import WebSocket from "ws";

import { type Client, type ClientOptions, createClient, webSocket } from "../../src/index.js";
import { presence } from "../../src/presence/index.js";
import { FakeBrowser } from "../tabs-browser.js";
import { CuttingProxy, Server } from "./server.js";

/** Longest wait for something that has to happen. */
const PATIENCE = { timeout: 30_000, interval: 20 };

let server: Server;
let proxy: CuttingProxy;

beforeAll(async () => {
  server = await Server.start("--presence", "room:*");
  proxy = await CuttingProxy.before(() => server.host);
});
afterAll(async () => {
  await proxy?.stop();
  await server?.stop();
});

/** A user on a room, and what it is told: a list of users for each time. */
function join(
  user: string,
  options: ClientOptions = {},
  room = "room:1",
): { client: Client; told: string[]; last: () => string | undefined } {
  const { transport, watch } = presence(webSocket);
  const client = createClient({
    url: `http://${proxy.host}`,
    transports: [transport],
    getToken: () => server.token({ sub: user, channels: ["*"] }),
    reconnectInterval: 20,
    environment: { WebSocket: WebSocket as never },
    ...options,
  });
  client.subscribe(room, () => undefined);
  const told: string[] = [];
  watch(room, ({ members }) => told.push(members.map(({ user }) => user).join(" ")));
  return { client, told, last: () => told.at(-1) };
}

test("users see each other come and leave, and no cut is a leave", async () => {
  const ann = join("ann");
  await vi.waitFor(() => expect(ann.last()).toBe("ann"), PATIENCE);
  const ben = join("ben");
  await vi.waitFor(() => expect([ann.last(), ben.last()]).toEqual(["ann ben", "ann ben"]), PATIENCE);
  const tab = join("ben");
  await vi.waitFor(() => expect(tab.last()).toBe("ann ben"), PATIENCE);
  const before = ann.told.length;
  proxy.cut();
  await vi.waitFor(() => expect(ann.told.length).toBeGreaterThan(before), PATIENCE);
  expect(ann.told.slice(before)).toEqual(["ann ben"]);
  tab.client.disconnect();
  ben.client.disconnect();
  await vi.waitFor(() => expect(ann.last()).toBe("ann"), PATIENCE);
  await server.restart();
  await vi.waitFor(() => expect(ann.client.status.state).toBe("connected"), PATIENCE);
  const cid = join("cid");
  await vi.waitFor(() => expect([ann.last(), cid.last()]).toEqual(["ann cid", "ann cid"]), PATIENCE);
  ann.client.disconnect();
  cid.client.disconnect();
});

test("tabs that share a connection are one user, and all see who is there, whoever leads", async () => {
  const browser = new FakeBrowser(WebSocket as never);
  const open = (user: string) => {
    const tab = browser.open();
    const environment = { WebSocket: tab.WebSocket, lifecycle: tab.lifecycle };
    return { tab, ...join(user, { tabs: tab.share(), environment }, "room:2") };
  };
  const eve = join("eve", {}, "room:2");
  await vi.waitFor(() => expect(eve.last()).toBe("eve"), PATIENCE);
  const [one, two] = [open("dan"), open("dan")];
  await vi.waitFor(() => expect([one.last(), two.last()]).toEqual(["eve dan", "eve dan"]), PATIENCE);
  one.tab.crash();
  const fay = join("fay", {}, "room:2");
  await vi.waitFor(() => expect([two.last(), eve.last()]).toEqual(["eve dan fay", "eve dan fay"]), PATIENCE);
  // His line was another for a moment, and he was there all the time.
  expect(eve.told.filter((users) => users)).toEqual(["eve", "eve dan", "eve dan fay"]);
  for (const { client } of [one, two, eve, fay]) client.disconnect();
});
