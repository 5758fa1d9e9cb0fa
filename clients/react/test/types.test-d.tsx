// What the types of a feed do for those who use them. Checked by the compiler, not run.

import { type Client, type ConnectionState, createClient, type FeedEvent } from "@rowcast/client";
import {
  createRealtimeEventsHook,
  type QueryClientLike,
  RowcastProvider,
  refreshQueries,
  useClient,
  useRealtimeEvents,
  useWebSocket,
  useWebSocketState,
  type WSConnectionState,
  type WSEvent,
} from "@rowcast/react";
import { optimisticUpdate, useMutationOrigin, useRealtimeSync } from "@rowcast/react/tanstack";
import type { QueryClient } from "@tanstack/react-query";
import { expectTypeOf, test } from "vitest";

interface Task {
  title: string;
  status: "open" | "done";
}
interface Events {
  "task.created": Task;
  "task.updated": Task;
  "task.deleted": null;
  "message.created": { text: string };
}
interface Channels {
  tasks: "task.created" | "task.updated" | "task.deleted";
  [room: `messages:${string}`]: "message.created";
}

declare const client: Client<Events, Channels>;
declare const queryClient: QueryClient;

test("createClient narrows by channel and by type", () => {
  const feed = createClient<Events, Channels>({ url: "https://feed.example.com" });
  expectTypeOf(feed).toEqualTypeOf(client);
  feed.subscribe("tasks", (event) => {
    expectTypeOf(event.type).toEqualTypeOf<"task.created" | "task.updated" | "task.deleted">();
    if (event.type === "task.created") expectTypeOf(event.payload).toEqualTypeOf<Task>();
    if (event.type === "task.deleted") expectTypeOf(event.payload).toEqualTypeOf<null>();
  });
  feed.subscribe("messages:42", (event) => expectTypeOf(event.payload.text).toEqualTypeOf<string>());
  // @ts-expect-error There is no such channel.
  feed.subscribe("taks", () => {});
  // @ts-expect-error No such event is on this channel.
  feed.subscribe("tasks", (event) => event.type === "message.created");
  // @ts-expect-error Nor has it such a payload.
  feed.subscribe("messages:42", (event) => event.payload.title);
});

test("without types everything is unknown, and nothing is any", () => {
  createClient().subscribe("whatever", (event) => {
    expectTypeOf(event).toEqualTypeOf<FeedEvent>();
    expectTypeOf(event.payload).toEqualTypeOf<unknown>();
  });
  useRealtimeEvents({
    channels: ["whatever"],
    onEvent: (event) => expectTypeOf(event).toEqualTypeOf<FeedEvent>(),
    onElementCreated: (element, event) => {
      expectTypeOf(element.title).toEqualTypeOf<unknown>();
      expectTypeOf(element.type).toEqualTypeOf<string>();
      expectTypeOf(event).toEqualTypeOf<FeedEvent>();
    },
  });
  expectTypeOf(useRealtimeEvents().lastEvent).toEqualTypeOf<FeedEvent | undefined>();
});

test("a hook of one's own infers from channels", () => {
  const useEvents = createRealtimeEventsHook<Events, Channels>();
  const { lastEvent, connectionState } = useEvents({
    channels: ["tasks"],
    onEvent(event) {
      if (event.type === "task.updated") expectTypeOf(event.payload.status).toEqualTypeOf<"open" | "done">();
    },
  });
  expectTypeOf(connectionState).toEqualTypeOf<ConnectionState>();
  expectTypeOf(lastEvent?.type).toEqualTypeOf<"task.created" | "task.updated" | "task.deleted" | undefined>();
  useEvents({
    channels: ["messages:42"],
    onEvent: ({ payload }) => expectTypeOf(payload.text).toEqualTypeOf<string>(),
  });
  useEvents({
    channels: ["tasks", "messages:42"],
    onEvent: ({ type }) => expectTypeOf(type).toEqualTypeOf<keyof Events>(),
  });
  useEvents({ onEvent: ({ type }) => expectTypeOf(type).toEqualTypeOf<keyof Events>() });
  useEvents({ channels: ["*"], onEvent: ({ type }) => expectTypeOf(type).toEqualTypeOf<keyof Events>() });
  // @ts-expect-error There is no such channel.
  useEvents({ channels: ["taks"] });
  // @ts-expect-error No such event is on this channel.
  useEvents({ channels: ["tasks"], onEvent: (event) => event.type === "message.created" });
});

test("a client with types goes where a client goes", () => {
  const element = <RowcastProvider client={client} />;
  expectTypeOf(element).not.toBeAny();
  expectTypeOf(useWebSocketState(client)).toEqualTypeOf<WSConnectionState>();
  expectTypeOf(useClient<Events, Channels>()).toEqualTypeOf<Client<Events, Channels>>();
  useRealtimeEvents({ client, channels: ["tasks"], onEvent: ({ payload }) => expectTypeOf(payload).not.toBeUnknown() });
});

test("events of topics have the payload that is named", () => {
  const { subscribe } = useWebSocket();
  subscribe<Task>("tasks", (event) => {
    expectTypeOf(event.data.payload).toEqualTypeOf<Task>();
    expectTypeOf(event.payload).toEqualTypeOf<Task>();
    expectTypeOf(event).toExtend<WSEvent<Task>>();
  });
  subscribe("tasks", (event) => expectTypeOf(event.data.payload).toEqualTypeOf<unknown>());
  useRealtimeSync<Task>({
    channel: "tasks",
    queryKey: ["tasks"],
    events: ["task.created", "STATUS_CHANGED"],
    ignoreOrigin: useMutationOrigin().origin,
    onEvent(event, cache) {
      expectTypeOf(event.data.payload.title).toEqualTypeOf<string>();
      expectTypeOf(cache).toEqualTypeOf<QueryClient>();
    },
  });
  // @ts-expect-error Neither a channel nor a topic.
  useRealtimeSync({ queryKey: ["tasks"] });
  // @ts-expect-error Both.
  useRealtimeSync({ queryKey: ["tasks"], channel: "tasks", topic: "tasks" });
});

test("an event as others have written it down is one of ours", () => {
  interface Theirs<T = unknown> {
    topic: string;
    event: "ADDED" | "UPDATED" | "DELETED" | "STATUS_CHANGED";
    data: { entity_id: string; payload: T; user_id: string; timestamp: string };
    trace_id?: string;
  }
  expectTypeOf<Theirs<Task>>().toExtend<WSEvent<Task>>();
});

test("the cache of TanStack Query fits", async () => {
  expectTypeOf(queryClient).toExtend<QueryClientLike>();
  expectTypeOf(refreshQueries(queryClient, { queryKey: ["tasks"] })).toEqualTypeOf<void>();
  const rollback = await optimisticUpdate(queryClient, ["tasks"], (old: Task[]) => old.slice(1));
  expectTypeOf(rollback).toEqualTypeOf<() => void>();
  // @ts-expect-error The updater changes the type of the data.
  await optimisticUpdate(queryClient, ["tasks"], (old: Task[]) => old.length);
});
