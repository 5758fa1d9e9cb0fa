// useRealtimeEvents: which events reach which handlers, and how often.

import { createRealtimeEventsHook, refreshQueries, useRealtimeEvents } from "@rowcast/react";
import { expect, test, vi } from "vitest";
import { pass, stage } from "./harness.js";

const types = (events: { type: string }[]): string[] => events.map(({ type }) => type);

test("an event of a channel reaches the handler once, in StrictMode and on one connection", async () => {
  const { server, hook } = stage();
  const onEvent = vi.fn();
  hook(() => useRealtimeEvents({ channels: ["tasks"], onEvent }));
  await pass();
  server.emit("tasks", "task.created", { title: "Coffee" });
  server.emit("messages:1", "message.created");
  await pass();
  expect(onEvent).toHaveBeenCalledTimes(1);
  expect(onEvent.mock.calls[0]?.[0]).toMatchObject({ type: "task.created", payload: { title: "Coffee" } });
  expect(server.attempts).toBe(1);
});

test("without channels all events come", async () => {
  const { server, hook } = stage();
  const seen: { type: string }[] = [];
  hook(() => useRealtimeEvents({ onEvent: (event) => seen.push(event) }));
  await pass();
  server.emit("tasks", "task.created");
  server.emit("messages:1", "message.created");
  await pass();
  expect(types(seen)).toEqual(["task.created", "message.created"]);
});

test("an event that several of the channels have comes once", async () => {
  const { server, hook } = stage();
  const seen: { type: string }[] = [];
  const channels = ["tasks", "project:7", "project", "*"];
  hook(() => useRealtimeEvents({ channels, onEvent: (event) => seen.push(event) }));
  await pass();
  server.emit({ channel: ["tasks", "project:7"], type: "task.created" });
  server.emit({ channel: ["tasks", "project:7"], type: "task.updated" });
  await pass();
  expect(types(seen)).toEqual(["task.created", "task.updated"]);
});

test("the handler of the last render is called, and nothing subscribes anew", async () => {
  const { server, hook, sent } = stage();
  const seen: string[] = [];
  const { rerender } = hook(
    ({ name }: { name: string }) => useRealtimeEvents({ channels: ["b", "a"], onEvent: () => seen.push(name) }),
    { name: "first" },
  );
  await pass();
  rerender({ name: "second" });
  await pass();
  server.emit("a", "task.created");
  await pass();
  expect(seen).toEqual(["second"]);
  expect(sent("hello")).toHaveLength(1);
  expect(sent("subscribe")).toHaveLength(0);
  expect(sent("unsubscribe")).toHaveLength(0);
});

test("other channels are subscribed to when they change, and the old ones given up", async () => {
  const { server, hook } = stage();
  const seen: { type: string }[] = [];
  const { rerender } = hook(
    ({ room }: { room: number }) =>
      useRealtimeEvents({ channels: [`messages:${room}`], onEvent: (event) => seen.push(event) }),
    { room: 1 },
  );
  await pass();
  rerender({ room: 2 });
  await pass();
  server.emit("messages:1", "message.created");
  server.emit("messages:2", "message.updated");
  await pass();
  expect(types(seen)).toEqual(["message.updated"]);
  expect(server.connections[0]?.channels).toEqual(["messages:2"]);
});

test("elements have the kind of the type, the entity's id and the members of the payload", async () => {
  const { server, hook } = stage();
  const onElementCreated = vi.fn();
  const onElementUpdated = vi.fn();
  const onElementDeleted = vi.fn();
  hook(() => useRealtimeEvents({ onElementCreated, onElementUpdated, onElementDeleted }));
  await pass();
  server.emit({ channel: "tasks", type: "task.created", entityId: "t1", payload: { title: "Coffee", type: "chore" } });
  server.emit({ channel: "tasks", type: "task:updated", payload: { id: 7 } });
  server.emit({ channel: "tasks", type: "task.deleted", entityId: "t1", payload: null, previous: { title: "Coffee" } });
  server.emit("tasks", "task.archived");
  server.emit("tasks", "created", "no object");
  await pass();
  expect(onElementCreated.mock.calls.map(([element]) => element)).toEqual([
    { type: "task", id: "t1", title: "Coffee" },
    { type: "", id: "" },
  ]);
  expect(onElementUpdated.mock.calls.map(([element]) => element)).toEqual([{ type: "task", id: "7" }]);
  expect(onElementDeleted.mock.calls.map(([element]) => element)).toEqual([
    { type: "task", id: "t1", title: "Coffee" },
  ]);
  expect(onElementCreated.mock.calls[0]?.[1].payload.type).toBe("chore");
});

test("state is told by value and by handler", async () => {
  const { server, hook } = stage();
  const onStateChange = vi.fn();
  const { result } = hook(() => useRealtimeEvents({ channels: ["tasks"], onStateChange }));
  await pass();
  expect(result.current).toMatchObject({ connectionState: "connected", isConnected: true });
  const undo = server.refuse();
  server.cut();
  await pass();
  expect(result.current).toMatchObject({ connectionState: "reconnecting", isConnected: false });
  undo();
  await pass(60_000);
  expect(result.current.isConnected).toBe(true);
  expect(onStateChange.mock.calls.flat()).toEqual(["connecting", "connected", "reconnecting", "connected"]);
});

test("a component renders for each event only if it reads lastEvent", async () => {
  const { server, hook } = stage();
  const count = { reads: 0, ignores: 0 };
  const reads = hook(() => {
    count.reads += 1;
    return useRealtimeEvents({ channels: ["tasks"] }).lastEvent;
  });
  hook(() => {
    count.ignores += 1;
    return useRealtimeEvents({ channels: ["tasks"] }).isConnected;
  });
  await pass();
  const before = { ...count };
  server.emit("tasks", "task.created");
  await pass();
  server.emit("tasks", "task.updated");
  await pass();
  expect(reads.result.current?.type).toBe("task.updated");
  expect(count.reads).toBeGreaterThan(before.reads);
  expect(count.ignores).toBe(before.ignores);
});

test("nothing is opened while it is not enabled, and what is disabled hears nothing", async () => {
  const { server, hook } = stage();
  const onEvent = vi.fn();
  const { rerender } = hook(({ enabled }: { enabled: boolean }) => useRealtimeEvents({ enabled, onEvent }), {
    enabled: false,
  });
  await pass();
  expect(server.attempts).toBe(0);
  rerender({ enabled: true });
  await pass();
  server.emit("tasks", "task.created");
  await pass();
  rerender({ enabled: false });
  await pass();
  server.emit("tasks", "task.updated");
  await pass();
  expect(onEvent).toHaveBeenCalledTimes(1);
});

test("what came after `since` comes first, and what was missed during a cut comes once", async () => {
  const { server, hook } = stage();
  const seen: { type: string }[] = [];
  const since = server.cursor;
  server.emit("tasks", "task.one");
  hook(() => useRealtimeEvents({ channels: ["tasks"], since, onEvent: (event) => seen.push(event) }));
  await pass();
  server.emit("tasks", "task.two");
  await pass();
  server.cut();
  server.emit("tasks", "task.three");
  await pass(60_000);
  expect(types(seen)).toEqual(["task.one", "task.two", "task.three"]);
});

test("a reset is told", async () => {
  const { server, hook } = stage();
  const onReset = vi.fn();
  hook(() => useRealtimeEvents({ channels: ["tasks"], onReset }));
  await pass();
  server.reset("retention");
  await pass();
  expect(onReset).toHaveBeenCalledExactlyOnceWith({ reason: "retention" });
});

test("a handler may refresh the queries of a kind, once for a burst", async () => {
  const { server, hook, queryClient } = stage();
  const isStale = (key: string): boolean | undefined => queryClient.getQueryState([key])?.isInvalidated;
  const invalidate = vi.spyOn(queryClient, "invalidateQueries");
  hook(() =>
    useRealtimeEvents({
      channels: ["tasks"],
      onEvent: ({ type }) => refreshQueries(queryClient, { queryKey: [type.split(".")[0]] }),
    }),
  );
  for (const key of ["task", "plan"]) queryClient.setQueryData([key], []);
  await pass();
  for (let n = 0; n < 10; n += 1) server.emit("tasks", "task.created");
  await pass(1_000);
  expect([isStale("task"), isStale("plan")]).toEqual([true, false]);
  expect(invalidate).toHaveBeenCalledTimes(2);
});

test("a handler that throws keeps neither other components nor later events from being told", async () => {
  const { server, client, hook } = stage();
  const errors = vi.fn();
  client.on("error", errors);
  const seen: { type: string }[] = [];
  hook(() =>
    useRealtimeEvents({
      channels: ["tasks"],
      onEvent: () => {
        throw new Error("mine");
      },
    }),
  );
  hook(() => useRealtimeEvents({ channels: ["tasks"], onEvent: (event) => seen.push(event) }));
  await pass();
  server.emit("tasks", "task.created");
  server.emit("tasks", "task.updated");
  await pass();
  expect(types(seen)).toEqual(["task.created", "task.updated"]);
  expect(errors).toHaveBeenCalledTimes(2);
});

test("a component that goes gives its channels up", async () => {
  const { server, hook } = stage();
  const stays = hook(() => useRealtimeEvents({ channels: ["tasks"] }));
  const goes = hook(() => useRealtimeEvents({ channels: ["messages:1", "tasks"] }));
  await pass();
  goes.unmount();
  await pass();
  expect(server.connections[0]?.channels).toEqual(["tasks"]);
  stays.unmount();
  await pass(60_000);
  expect(server.connections).toHaveLength(0);
});

test("a hook of one's own has defaults that a component overrides", async () => {
  const { server, hook } = stage();
  const seen: string[] = [];
  const useTasks = createRealtimeEventsHook({ channels: ["tasks"], onEvent: () => seen.push("default") });
  hook(() => useTasks());
  hook(() => useTasks({ onEvent: () => seen.push("own") }));
  await pass();
  server.emit("tasks", "task.created");
  server.emit("plans", "plan.created");
  await pass();
  expect(seen.sort()).toEqual(["default", "own"]);
});
