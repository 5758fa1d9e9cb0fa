// Who is on a channel, in tabs that share a connection: each is told what it watches, whoever leads.

import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { longPoll, sse } from "../src/fallback/index.js";
import { type Client, createClient } from "../src/index.js";
import { presence } from "../src/presence/index.js";
import { createTestServer } from "../src/testing/index.js";
import type { ClientFrame, LinkListener, Transport } from "../src/transport.js";
import { FakeBrowser, type FakeTab } from "./tabs-browser.js";

const SINCE = "2026-01-01T00:00:00.000Z";

/** A server that knows who is in its rooms, and nothing else. */
class Lobby {
  readonly rooms = new Map<string, string[]>();
  readonly lines: { listener: LinkListener; watched: Set<string> }[] = [];

  readonly way: Transport = {
    name: "ws",
    open: (_, listener) => {
      const line = { listener, watched: new Set<string>() };
      this.lines.push(line);
      setTimeout(listener.opened, 0);
      return {
        send: (frame) => void setTimeout(() => this.lines.includes(line) && this.answer(line, frame), 0),
        close: () => void this.lines.splice(this.lines.indexOf(line), 1),
      };
    },
  };

  private answer({ listener, watched }: Lobby["lines"][0], frame: ClientFrame & { presence?: boolean }): void {
    const { type, id } = frame;
    const channels = "channels" in frame ? (frame.channels ?? []) : [];
    const withId = id === undefined ? {} : { id };
    if (type === "hello") listener.frame({ type: "welcome", ...withId });
    if (type === "unsubscribe") for (const channel of channels) watched.delete(channel);
    if ((type !== "hello" && type !== "subscribe") || !channels[0]) return;
    const told = channels.map((channel) => {
      const users = this.rooms.get(channel);
      if (!users) return [channel, { code: "NO_PRESENCE", message: "not kept" }];
      if (frame.presence) watched.add(channel);
      return [channel, { count: users.length, members: users.map((user) => ({ user, since: SINCE })) }];
    });
    const answer = { type: "subscribed", ...withId, channels, cursor: "c1", recovered: false };
    listener.frame(frame.presence ? { ...answer, presence: Object.fromEntries(told) } : answer);
  }

  join(channel: string, user: string): void {
    this.rooms.get(channel)?.push(user);
    for (const { listener, watched } of this.lines) {
      if (watched.has(channel)) listener.frame({ type: "presence", channel, event: "join", user, since: SINCE });
    }
  }
}

let lobby: Lobby;
let browser: FakeBrowser;
let clients: Client[];

beforeEach(() => {
  vi.useFakeTimers();
  lobby = new Lobby();
  browser = new FakeBrowser(createTestServer().environment.WebSocket);
  clients = [];
});
afterEach(() => {
  for (const client of clients) client.disconnect();
  vi.useRealTimers();
});

const later = (ms = 50) => vi.advanceTimersByTimeAsync(ms);

interface Page {
  readonly tab: FakeTab;
  readonly client: Client;
  readonly watch: (channel: string) => () => void;
  readonly told: string[];
}

/** A tab that subscribes to a room, and shows who is in those that it watches. */
function page(channel: string, ...others: Transport[]): Page {
  const tab = browser.open();
  const { transport, watch } = presence(lobby.way);
  const client = createClient({
    url: "ws://feed.test/ws",
    tabs: tab.share(),
    transports: [transport, ...others],
    environment: { lifecycle: tab.lifecycle },
  });
  clients.push(client);
  client.subscribe(channel, () => {});
  const told: string[] = [];
  return {
    tab,
    client,
    told,
    watch: (channel) =>
      watch(
        channel,
        ({ members }) => told.push(`${channel}: ${members.map(({ user }) => user)}`),
        ({ code }) => told.push(`${channel}: ${code}`),
      ),
  };
}

test("each tab is told of what it watches, and of nothing else", async () => {
  for (const room of ["room:1", "room:2"]) lobby.rooms.set(room, ["ann"]);
  const [one, two, three] = [page("room:1"), page("room:1"), page("room:2")];
  one.watch("room:1");
  two.watch("room:1");
  three.watch("room:2");
  await later();
  lobby.join("room:1", "ben");
  lobby.join("room:2", "cid");
  await later();
  expect(lobby.lines).toHaveLength(1);
  expect(one.told).toEqual(["room:1: ann", "room:1: ann,ben"]);
  expect(two.told).toEqual(one.told);
  expect(three.told).toEqual(["room:2: ann", "room:2: ann,cid"]);
});

test("a tab that follows asks later, and then knows all who are there", async () => {
  lobby.rooms.set("room:1", ["ann"]);
  const [one, two] = [page("room:1"), page("room:1")];
  one.watch("room:1");
  await later();
  lobby.join("room:1", "ben");
  await later();
  two.watch("room:1");
  await later();
  lobby.join("room:1", "cid");
  await later();
  expect(two.told).toEqual(["room:1: ann,ben", "room:1: ann,ben,cid"]);
  expect(one.told.at(-1)).toBe("room:1: ann,ben,cid");
});

test("a tab that leaves a room takes it from no other", async () => {
  lobby.rooms.set("room:1", ["ann"]);
  const [one, two] = [page("tasks"), page("room:1")];
  const leave = one.client.subscribe("room:1", () => {});
  one.watch("room:1");
  two.watch("room:1");
  await later();
  leave();
  await later();
  lobby.join("room:1", "ben");
  await later();
  expect(one.told).toEqual(["room:1: ann"]);
  expect(two.told).toEqual(["room:1: ann", "room:1: ann,ben"]);
});

test("another tab leads: who came meanwhile is told", async () => {
  lobby.rooms.set("room:1", ["ann"]);
  const [one, two] = [page("room:1"), page("room:1")];
  one.watch("room:1");
  two.watch("room:1");
  await later();
  one.client.disconnect();
  lobby.join("room:1", "ben");
  await later();
  lobby.join("room:1", "cid");
  await later();
  expect(two.told.at(-1)).toBe("room:1: ann,ben,cid");
  expect(two.told.filter((text) => !text.includes("ann"))).toEqual([]);
  expect(lobby.lines).toHaveLength(1);
});

test("where it is not kept, each tab that asks is told", async () => {
  const [one, two] = [page("tasks"), page("tasks")];
  one.watch("tasks");
  two.watch("tasks");
  await later();
  expect([one.told, two.told]).toEqual([["tasks: NO_PRESENCE"], ["tasks: NO_PRESENCE"]]);
});

test("beside other ways to connect, too", async () => {
  lobby.rooms.set("room:1", ["ann"]);
  const [one, two] = [page("room:1", sse, longPoll), page("room:1", sse, longPoll)];
  one.watch("room:1");
  two.watch("room:1");
  await later();
  expect([one.told, two.told]).toEqual([["room:1: ann"], ["room:1: ann"]]);
  expect(two.client.status.transport).toBe("ws");
  expect(lobby.lines).toHaveLength(1);
});
