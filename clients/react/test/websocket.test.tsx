// useWebSocket: topics by hand, and events in their words.

import { toWSEvent, useWebSocket, type WSEvent } from "@rowcast/react";
import { act } from "@testing-library/react";
import { useEffect } from "react";
import { expect, test, vi } from "vitest";
import { pass, stage } from "./harness.js";

test("events of a topic come in the words of topics and in ours", async () => {
  const { server, hook } = stage();
  const handler = vi.fn();
  const { result } = hook(() => useWebSocket());
  result.current.subscribe("gift-list:123", handler);
  await pass();
  server.emit({
    channel: ["user:7", "gift-list:123"],
    type: "gift.created",
    entityId: "g1",
    actor: "ann",
    traceId: "trace",
    payload: { name: "Book" },
  });
  await pass();
  expect(result.current.state).toBe("connected");
  expect(handler).toHaveBeenCalledTimes(1);
  expect(handler.mock.calls[0]?.[0]).toMatchObject({
    topic: "gift-list:123",
    event: "ADDED",
    data: { entity_id: "g1", payload: { name: "Book" }, user_id: "ann", timestamp: expect.stringMatching(/T.*Z$/) },
    trace_id: "trace",
    type: "gift.created",
    payload: { name: "Book" },
  });
});

test("events have the names that the server's preset for topics gives them", () => {
  const named = (type: string, payload: unknown = {}, previous?: unknown): WSEvent["event"] =>
    toWSEvent(
      {
        id: 1,
        type,
        channels: ["a"],
        payload,
        ...(previous !== undefined && { previous }),
        createdAt: "2026-01-01T00:00:00Z",
      },
      "a",
    ).event;
  expect(named("gift.created")).toBe("ADDED");
  expect(named("gift:deleted")).toBe("DELETED");
  expect(named("gift.updated")).toBe("UPDATED");
  expect(named("gift.updated", { status: "done" })).toBe("UPDATED");
  expect(named("gift.updated", { status: "done" }, { status: "done", name: "x" })).toBe("UPDATED");
  expect(named("gift.updated", { status: "done" }, { status: "open" })).toBe("STATUS_CHANGED");
  expect(named("gift.updated", { status: "done" }, {})).toBe("STATUS_CHANGED");
  expect(named("gift.updated", "text", null)).toBe("UPDATED");
  expect(named("gift.created", { status: "done" }, { status: "open" })).toBe("ADDED");
  expect(named("gift.member-added")).toBe("MEMBER_ADDED");
  expect(named("ping")).toBe("PING");
});

test("what is missing in the row is an empty text, and the payload's id is the entity's", () => {
  const base = { id: 1, type: "gift.updated", channels: ["gift:1"], createdAt: "2026-01-01T00:00:00Z" };
  expect(toWSEvent({ ...base, payload: { id: 9 } }, "gift").data).toEqual({
    entity_id: "9",
    payload: { id: 9 },
    user_id: "",
    timestamp: base.createdAt,
  });
  expect(toWSEvent({ ...base, payload: null }, "gift")).not.toHaveProperty("trace_id");
  expect(toWSEvent({ ...base, payload: null }, "gift").data.entity_id).toBe("");
  expect(toWSEvent({ ...base, payload: null }, "gift").topic).toBe("gift:1");
  expect(toWSEvent({ ...base, payload: null }, "gift:1").topic).toBe("gift:1");
});

test("each undo ends its own handler, and unsubscribe those of the topic in this component only", async () => {
  const { server, hook } = stage();
  const heard: string[] = [];
  const one = hook(() => useWebSocket()).result;
  const other = hook(() => useWebSocket()).result;
  const undo = one.current.subscribe("a", () => heard.push("first"));
  one.current.subscribe("a", () => heard.push("second"));
  one.current.subscribe("b", () => heard.push("b"));
  other.current.subscribe("a", () => heard.push("other"));
  await pass();
  undo();
  undo();
  server.emit("a", "x.created");
  await pass();
  expect(heard).toEqual(["second", "other"]);
  one.current.unsubscribe("a");
  server.emit("a", "x.created");
  server.emit("b", "x.created");
  await pass();
  expect(heard).toEqual(["second", "other", "other", "b"]);
});

test("functions stay the same, and what a component subscribed to ends with it", async () => {
  const { server, hook } = stage();
  const heard = vi.fn();
  const { result, rerender, unmount } = hook(() => {
    const socket = useWebSocket();
    const { subscribe } = socket;
    useEffect(() => void subscribe("a", heard), [subscribe]); // Forgets the undo.
    return socket;
  });
  await pass();
  const before = result.current;
  rerender(undefined);
  expect(result.current.subscribe).toBe(before.subscribe);
  expect(result.current.connect).toBe(before.connect);
  server.emit("a", "x.created");
  await pass();
  expect(heard).toHaveBeenCalledTimes(1);
  unmount();
  await pass(60_000);
  expect(server.connections).toHaveLength(0);
});

test("disconnect stays away, and connect comes back with what was missed", async () => {
  const { server, hook } = stage();
  const heard = vi.fn();
  const { result } = hook(() => useWebSocket());
  result.current.subscribe("a", heard);
  await pass();
  act(() => result.current.disconnect());
  await pass(120_000);
  expect(result.current.state).toBe("disconnected");
  expect(server.connections).toHaveLength(0);
  server.emit("a", "x.created");
  act(() => result.current.connect());
  await pass();
  expect(result.current.state).toBe("connected");
  expect(heard).toHaveBeenCalledTimes(1);
});
