// Presence beside a transport: what is asked for, and what is told.

import { expect, test, vi } from "vitest";

import { sse } from "../src/fallback/index.js";
import { createClient } from "../src/index.js";
import { type Present, presence } from "../src/presence/index.js";
import type { ClientFrame, LinkListener, LinkTarget, ServerFrame, Transport } from "../src/transport.js";

/** A transport, by the hand of a test. */
function scene() {
  const sent: ClientFrame[] = [];
  const heard: ServerFrame[] = [];
  let inner: LinkListener | undefined;
  const way: Transport = {
    name: "ws",
    open(_, listener) {
      inner = listener;
      return { send: (frame) => void sent.push(frame), close: () => undefined };
    },
  };
  const { transport, watch } = presence(way);
  const open = () =>
    transport.open({} as LinkTarget, {
      opened: () => undefined,
      alive: () => undefined,
      closed: () => undefined,
      frame: (frame) => void heard.push(frame),
    });
  const told: string[] = [];
  const show = ({ members, more }: Present) =>
    void told.push(members.map(({ user }) => user).join(" ") + (more ? " …" : ""));
  return {
    sent,
    heard,
    told,
    show,
    watch,
    open,
    transport,
    say: Object.assign((frame: ServerFrame) => inner?.frame(frame), { opened: () => inner?.opened() }),
    cut: () => inner?.closed({ code: 1006, reason: "" }),
  };
}

const member = (user: string) => ({ user, since: "2026-01-01T00:00:00.000Z" });

test("it is asked for where somebody watches, and told whenever it changes", () => {
  const { sent, heard, told, show, watch, open, say } = scene();
  watch("room:1", show);
  const link = open();
  link.send({ type: "hello", id: 1, channels: ["tasks"] });
  link.send({ type: "subscribe", id: 2, channels: ["tasks", "room:1"] });
  link.send({ type: "unsubscribe", id: 3, channels: ["room:1"] });
  expect(sent.map((frame) => "presence" in frame)).toEqual([false, true, false]);
  const presence = { "room:1": { count: 1, members: [member("ann")] }, tasks: { code: "NO_PRESENCE", message: "…" } };
  say({ type: "subscribed", id: 2, channels: ["tasks", "room:1"], presence });
  say({ type: "presence", channel: "room:1", event: "join", ...member("ben") });
  say({ type: "presence", channel: "room:2", event: "join", ...member("eve") });
  say({ type: "presence", channel: "room:1", event: "leave", user: "ann" });
  say({
    type: "presence",
    channel: "room:1",
    event: "state",
    count: 2,
    more: true,
    members: [member("cid"), member("dan")],
  });
  expect(told).toEqual(["ann", "ann ben", "ben", "cid dan …"]);
  expect(heard.map(({ type }) => type)).toEqual(["subscribed"]);
});

test("a channel that is there already is asked for at once, and the client need not know", () => {
  const { sent, heard, told, show, watch, open, say } = scene();
  const link = open();
  watch("room:2", show);
  expect(sent).toEqual([]);
  link.send({ type: "subscribe", id: 1, channels: ["room:1"] });
  say({ type: "subscribed", id: 1, channels: ["room:1"] });
  const undo = watch("room:1", show);
  expect(sent[1]).toEqual({ type: "subscribe", id: -1, channels: ["room:1"], presence: true });
  say({ type: "subscribed", id: -1, channels: ["room:1"], presence: { "room:1": { count: 0, members: [] } } });
  // Who comes later is told what is known.
  watch("room:1", show);
  expect(sent).toHaveLength(2);
  undo();
  undo();
  say({ type: "presence", channel: "room:1", event: "join", ...member("ann") });
  expect(told).toEqual(["", "", "ann"]);
  expect(heard).toHaveLength(1);
});

test("after a cut it is asked for anew, and the last that is known stays until then", () => {
  const { sent, told, show, watch, open, say, cut } = scene();
  watch("room:1", show);
  open().send({ type: "hello", id: 1, channels: ["room:1"] });
  say({ type: "subscribed", id: 1, channels: ["room:1"], presence: { "room:1": { members: [member("ann")] } } });
  cut();
  expect(told).toEqual(["ann"]);
  watch("room:2", show);
  expect(sent).toHaveLength(1);
  open().send({ type: "hello", id: 2, channels: ["room:1"] });
  expect(sent[1]).toMatchObject({ presence: true });
  say({ type: "subscribed", id: 2, channels: ["room:1"], presence: { "room:1": { members: [member("ben")] } } });
  expect(told).toEqual(["ann", "ben"]);
});

test("where it is not kept, that is told", () => {
  const { told, show, watch, open, say } = scene();
  const onUnknown = vi.fn();
  watch("tasks", show, onUnknown);
  open().send({ type: "hello", id: 1, channels: ["tasks"] });
  const reason = { code: "NO_PRESENCE", message: "it is off" };
  say({ type: "subscribed", id: 1, channels: ["tasks"], presence: { tasks: reason } });
  expect(onUnknown).toHaveBeenCalledWith(reason);
  expect(told).toEqual([]);
});

test("who comes before the list was told is in the list", () => {
  const { told, show, watch, open, say } = scene();
  watch("room:1", show);
  open().send({ type: "hello", id: 1, channels: ["room:1"] });
  // Another tab, with which the line is shared, has asked already.
  say({ type: "presence", channel: "room:1", event: "join", ...member("ben") });
  expect(told).toEqual([]);
  const members = [member("ann"), member("ben")];
  say({ type: "subscribed", id: 1, channels: ["room:1"], presence: { "room:1": { members } } });
  expect(told).toEqual(["ann ben"]);
});

test("beside others it is the whole that is asked, and only over WebSockets", async () => {
  const { told, show, watch, transport, say, sent } = scene();
  const asked: ClientFrame[] = [];
  const { among } = sse;
  const other: Transport = {
    name: "sse",
    open: (_, { opened }) => {
      setTimeout(opened, 0);
      return { send: (frame) => void asked.push(frame), close: () => undefined };
    },
    ...(among && { among }),
  };
  const client = createClient({
    url: "ws://server/ws",
    transports: [transport, other],
    environment: { storage: { getItem: () => null, setItem: () => undefined } },
  });
  client.subscribe("room:1", () => undefined);
  watch("room:1", show);
  await vi.waitFor(() => expect(client.status.state).toBe("connecting"));
  say.opened();
  expect(sent[0]).toMatchObject({ type: "hello", channels: ["room:1"], presence: true });
  const members = [member("ann")];
  say({ type: "subscribed", id: 1, channels: ["room:1"], presence: { "room:1": { members } } });
  expect(client.status.transport).toBe("ws");
  expect(told).toEqual(["ann"]);
  client.disconnect();
});

test("who throws stops nobody", () => {
  const reported = vi.spyOn(console, "error").mockImplementation(() => undefined);
  const { told, show, watch, open, say } = scene();
  watch("room:1", () => {
    throw new Error("oh");
  });
  watch("room:1", show);
  open();
  say({ type: "presence", channel: "room:1", event: "state", count: 1, members: [member("ann")] });
  expect(told).toEqual(["ann"]);
  expect(reported).toHaveBeenCalledOnce();
  reported.mockRestore();
});
