// What befalls a page in its life: other tabs, sleep, no network, tokens that expire, servers that go, lines that hang.

import { spawnSync } from "node:child_process";

import { afterAll, afterEach, beforeAll, expect, test } from "vitest";

import { Chromium, type Tab } from "./harness/chromium.js";
import { Rowcast } from "./harness/rowcast.js";
import { expectAll, leaderOf, numbered, type Stage, stage } from "./harness/stage.js";

let chromium: Chromium;
let own: Stage;
beforeAll(async () => {
  chromium = await Chromium.start();
});
afterAll(() => chromium?.stop());
afterEach(() => own?.stop());

const CONNECTIONS = "rowcast_connections ";

/** Inserts the next numbers, and waits until these tabs have them. */
async function add(from: number, count: number, ...tabs: readonly Tab[]): Promise<void> {
  await own.database.insert(...numbered(from, count));
  for (const tab of tabs) await tab.has(from + count - 1);
}

async function connected(...tabs: readonly Tab[]): Promise<void> {
  for (const tab of tabs) await tab.is("connected");
}

test("two tabs share a connection; closed, the one hands over to the other", async () => {
  own = await stage(chromium);
  const since = await own.cursor();
  const plan = { tabs: true, since };
  const [one, two] = [await own.open(plan), await own.open(plan)];
  await connected(one, two);
  await add(1, 10, one, two);
  expect(await own.server.metric(CONNECTIONS)).toBe(1);
  expect(own.relay.open(/^GET \/ws/)).toBe(1);
  const leader = await leaderOf([one, two]);
  const other = leader === one ? two : one;
  const inserting = own.database.insert(...numbered(11, 10));
  await leader.close();
  await inserting;
  await other.has(20);
  const three = await own.open(plan);
  await add(21, 10, other, three);
  for (const tab of [other, three]) expectAll(await tab.findings(), 30);
  expect(await own.server.metric(CONNECTIONS)).toBe(1);
});

test("a leader that is frozen is followed by another; awake, it has what it missed", async () => {
  own = await stage(chromium);
  const plan = { tabs: true, since: await own.cursor() };
  const [one, two] = [await own.open(plan), await own.open(plan)];
  await connected(one, two);
  await add(1, 10, one, two);
  const leader = await leaderOf([one, two]);
  await leader.freeze("frozen");
  await add(11, 10, leader === one ? two : one);
  await leader.freeze("active");
  await add(21, 10, one, two);
  for (const tab of [one, two]) expectAll(await tab.findings(), 30);
  expect(await own.server.metric(CONNECTIONS)).toBe(1);
});

test("a page that slept while its line broke has all when it is awake", async () => {
  own = await stage(chromium);
  const tab = await own.open({ since: await own.cursor() });
  await connected(tab);
  await add(1, 10, tab);
  await tab.freeze("frozen");
  own.relay.cut();
  await own.server.restart();
  await add(11, 10);
  await tab.freeze("active");
  await tab.has(20);
  expectAll(await tab.findings(), 20);
});

test("without a network it waits, and comes back with it", async () => {
  own = await stage(chromium);
  const tab = await own.open({ since: await own.cursor() });
  await connected(tab);
  await add(1, 10, tab);
  const network = await tab.page.context().newCDPSession(tab.page);
  await network.send("Network.enable");
  const offline = (isOffline: boolean) =>
    network.send("Network.emulateNetworkConditions", {
      offline: isOffline,
      latency: 0,
      downloadThroughput: -1,
      uploadThroughput: -1,
    });
  await offline(true);
  own.relay.cut();
  await tab.is("reconnecting");
  expect((await tab.findings()).status).toMatchObject({ isOnline: false, retryInMs: undefined });
  const { length } = own.relay.requests;
  await add(11, 10);
  expect(own.relay.requests).toHaveLength(length);
  await offline(false);
  await tab.has(20);
  expectAll(await tab.findings(), 20);
  expect((await tab.findings()).status).toMatchObject({ isOnline: true, state: "connected" });
});

/** A token as the program makes it. */
function mint(lifetime: string): string {
  const args = ["token", "mint", "--jwt-secret-file", own.database.keyFile, "--user", "ann"];
  const made = spawnSync(process.env.ROWCAST ?? "", [...args, "--channels", "*", "--for", lifetime]);
  if (made.status !== 0) throw new Error(String(made.stderr));
  return String(made.stdout).trim();
}

const AUTH = { isPrivate: true, flags: ["--jwt-leeway", "0s", "--max-auth-failures", "0"] };

test("a token that expires is replaced on the same connection", async () => {
  own = await stage(chromium, AUTH);
  const reasons: string[] = [];
  let expiresAt = 0;
  const tab = await own.open({}, (reason) => {
    reasons.push(reason);
    if (reason !== "connect") return mint("1h");
    expiresAt = Date.now() + 4_000;
    return mint("4s");
  });
  await connected(tab);
  await expect.poll(() => Date.now() > expiresAt + 1_000, { timeout: 10_000 }).toBe(true);
  await add(1, 10, tab);
  expectAll(await tab.findings(), 10);
  expect(reasons).toEqual(["connect", "expiring"]);
  expect((await tab.findings()).states).toEqual(["connecting", "connected"]);
});

test("a token that is refused ends in an error; with a good one it goes on", async () => {
  own = await stage(chromium, AUTH);
  const reasons: string[] = [];
  let token = "no token at all";
  const tab = await own.open({}, (reason) => {
    reasons.push(reason);
    return token;
  });
  await tab.is("error");
  expect(reasons).toEqual(["connect", "refused"]);
  expect((await tab.findings()).error).toMatchObject({ code: "TOKEN" });
  token = mint("1h");
  await tab.page.evaluate(() => window.client?.connect());
  await connected(tab);
  await add(1, 10, tab);
  expectAll(await tab.findings(), 10);
});

test("another server of the same database goes on where the first was", async () => {
  own = await stage(chromium);
  const other = await Rowcast.start(own.database, "--allow-origin", chromium.origin);
  try {
    const plan = { since: await own.cursor() };
    const [one, two] = [await own.open({ ...plan, tabs: true }), await own.open({ ...plan, transports: ["sse"] })];
    await connected(one, two);
    await add(1, 10, one, two);
    own.relay.target = other.port;
    const stopping = own.server.down("SIGTERM");
    await add(11, 10, one, two);
    await stopping;
    await add(21, 10, one, two);
    for (const tab of [one, two]) expectAll(await tab.findings(), 30);
  } finally {
    await other.stop();
  }
});

test("a line that hangs is found dead, for all tabs that share it", async () => {
  own = await stage(chromium);
  const plan = { since: await own.cursor(), tabs: true, heartbeatInterval: 500, connectTimeout: 2_000 };
  const [one, two] = [await own.open(plan), await own.open(plan)];
  await connected(one, two);
  await add(1, 10, one, two);
  own.relay.stall();
  await add(11, 10);
  // Half a second of silence, and ten more.
  await one.is("reconnecting");
  await two.is("reconnecting");
  own.relay.cut();
  own.relay.flow();
  await add(21, 10, one, two);
  for (const tab of [one, two]) expectAll(await tab.findings(), 30);
  expect(await own.server.metric(CONNECTIONS)).toBe(1);
});

test("where WebSockets do not pass, server-sent events do, and that is remembered", async () => {
  own = await stage(chromium);
  own.relay.blocksWebSockets = true;
  const plan = { since: await own.cursor(), transports: ["ws", "sse"] } as const;
  const tab = await own.open(plan);
  await connected(tab);
  expect((await tab.findings()).status.transport).toBe("sse");
  await add(1, 10, tab);
  expectAll(await tab.findings(), 10);
  const before = own.relay.requests.length;
  await tab.page.reload();
  await tab.begin(own.plan(plan));
  await connected(tab);
  await tab.has(10);
  expect(own.relay.requests.slice(before).filter((request) => request.startsWith("GET /ws"))).toEqual([]);
});

test("where WebSockets do not pass, tabs share one stream of server-sent events", async () => {
  own = await stage(chromium);
  own.relay.blocksWebSockets = true;
  const plan = { since: await own.cursor(), tabs: true, transports: ["ws", "sse"] } as const;
  const [one, two] = [await own.open(plan), await own.open(plan)];
  await connected(one, two);
  await add(1, 10, one, two);
  own.relay.cut();
  await add(11, 10, one, two);
  for (const tab of [one, two]) expectAll(await tab.findings(), 20);
  await expect.poll(() => own.server.metric(CONNECTIONS)).toBe(1);
});
