// useRealtimeSync: queries are as fresh as the feed, and are not fetched more often than that takes.

import { useMutationOrigin, useRealtimeSync } from "@rowcast/react/tanstack";
import { useQuery } from "@tanstack/react-query";
import { expect, test, vi } from "vitest";
import { pass, stage } from "./harness.js";
import { Backend, list } from "./list.js";

test("an event invalidates what its key begins", async () => {
  const all = stage();
  const { result, backend } = list(all);
  await pass(1_000);
  backend.insert("coffee");
  await pass(50);
  expect(result.current).toEqual(["coffee"]);
});

test("what is committed between the first fetch and the subscription is not missed", async () => {
  const all = stage();
  const { result, backend } = list(all, { staleTime: Number.POSITIVE_INFINITY });
  backend.rows.push("early"); // The fetch has begun, and nobody is subscribed yet: no event tells of it.
  await pass(1_000);
  expect(result.current).toEqual(["early"]);
  expect(backend.fetches).toBe(2);
});

test("with a cursor that came before the state, one fetch is enough", async () => {
  const all = stage();
  const { result, backend } = list(all, { since: all.server.cursor });
  backend.insert("coffee");
  await pass(1_000);
  expect(result.current).toEqual(["coffee"]);
  const fetched = backend.fetches;
  all.server.cut();
  await pass(60_000);
  expect(backend.fetches).toBe(fetched);
});

test("two hundred events in a second are eight fetches at most, and the last event is in the cache", async () => {
  const all = stage();
  const { result, backend } = list(all);
  await pass(1_000);
  const before = backend.fetches;
  for (let at = 0; at < 200; at += 1) {
    backend.insert(`${at}`);
    await pass(5);
  }
  await pass(300);
  expect(result.current).toHaveLength(200);
  expect(backend.fetches - before).toBeLessThanOrEqual(8);
});

test("two components with one key fetch once", async () => {
  const all = stage();
  const { backend } = list(all);
  all.hook(() => useRealtimeSync({ channel: "tasks", queryKey: ["tasks"] }));
  await pass(1_000);
  const before = backend.fetches;
  backend.insert("coffee");
  await pass(149);
  expect(backend.fetches - before).toBe(1);
});

test.each([1, 100, 149, 150, 151, 400, 3_000])(
  "an event during a fetch of %i ms is not lost, be it the first fetch or a later one",
  async (takesMs) => {
    const all = stage();
    const { result, backend } = list(all, { since: all.server.cursor, staleTime: Number.POSITIVE_INFINITY });
    backend.takesMs = takesMs;
    await pass(0);
    backend.insert("during the first");
    await pass(takesMs * 2 + 400);
    expect(result.current).toEqual(["during the first"]);
    backend.insert("starts a fetch");
    await pass(takesMs / 2);
    backend.insert("during the second");
    await pass(takesMs * 3 + 400);
    expect(result.current).toEqual(["during the first", "starts a fetch", "during the second"]);
  },
);

test("events that come faster than a fetch ends do not starve it", async () => {
  const all = stage();
  const { result, backend } = list(all);
  await pass(1_000);
  backend.takesMs = 1_000;
  for (let at = 0; at < 50; at += 1) {
    backend.insert(`${at}`);
    await pass(100);
  }
  expect(result.current?.length).toBeGreaterThanOrEqual(30);
  await pass(3_000);
  expect(result.current).toHaveLength(50);
});

test("a fetch that fails during an event is left to be fetched again", async () => {
  const all = stage();
  const { backend } = list(all);
  await pass(1_000);
  vi.spyOn(backend.rows, Symbol.iterator).mockImplementationOnce(() => {
    throw new Error("503");
  });
  backend.insert("coffee");
  await pass(1_000);
  const query = all.queryClient.getQueryCache().findAll({ queryKey: ["tasks"] })[0];
  expect(query?.state.isInvalidated).toBe(true);
});

test("events are chosen by our types and by the names of topics", async () => {
  const all = stage();
  const seen: string[] = [];
  const hear = (events: string[]) =>
    all.hook(() =>
      useRealtimeSync({ topic: "gift:456", queryKey: ["gift"], events, onEvent: ({ event }) => seen.push(event) }),
    );
  hear(["UPDATED", "STATUS_CHANGED"]);
  hear(["gift.created"]);
  await pass();
  const emit = (type: string, more = {}): string => all.server.emit({ channel: "gift:456", type, ...more });
  emit("gift.created");
  emit("gift.deleted");
  emit("gift.updated");
  emit("gift.updated", { payload: { status: 2 }, previous: { status: 1 } });
  await pass();
  expect(seen).toEqual(["ADDED", "UPDATED", "STATUS_CHANGED"]);
});

test("a handler of one's own updates the cache, and nothing is fetched", async () => {
  const all = stage();
  const { result, backend } = list(all, {
    since: all.server.cursor,
    onEvent: (event, queryClient) =>
      queryClient.setQueryData<string[]>(["tasks", { done: false }], (old = []) => [...old, `${event.data.payload}`]),
  });
  await pass(1_000);
  backend.insert("coffee");
  await pass(1_000);
  expect(result.current).toEqual(["coffee"]);
  expect(backend.fetches).toBe(1);
});

test("what a handler has put into the cache is not overwritten by a fetch that began before", async () => {
  const all = stage();
  const { result, backend } = list(all, {
    onEvent: (event, queryClient) =>
      queryClient.setQueryData<string[]>(["tasks", { done: false }], (old = []) => [...old, `${event.data.payload}`]),
  });
  await pass(1_000);
  backend.takesMs = 500;
  void all.queryClient.refetchQueries();
  await pass(10);
  backend.insert("coffee");
  await pass(10);
  expect(result.current).toEqual(["coffee"]);
  await pass(2_000);
  expect(result.current).toEqual(["coffee"]);
});

test("events are collected for the time of the debounce, however many come", async () => {
  const all = stage();
  const { backend } = list(all, { debounceMs: 500 });
  await pass(1_000);
  const before = backend.fetches;
  backend.insert("a");
  await pass(400);
  backend.insert("b");
  await pass(99);
  expect(backend.fetches - before).toBe(0);
  await pass(1);
  expect(backend.fetches - before).toBe(1);
  await pass(1_000);
  for (let at = 0; at < 60; at += 1) {
    backend.insert(`${at}`);
    await pass(50);
  }
  expect(backend.fetches - before).toBeLessThanOrEqual(1 + 3_000 / 500);
});

test("a component that goes during its debounce does not leave others with old data", async () => {
  const all = stage();
  const { backend } = list(all, { enabled: false });
  const debounced = all.hook(() => useRealtimeSync({ topic: "tasks", queryKey: ["tasks"], debounceMs: 500 }));
  await pass(1_000);
  const before = backend.fetches;
  backend.insert("coffee");
  await pass(10);
  debounced.unmount();
  await pass(500);
  expect(backend.fetches - before).toBe(1);
});

test("the echo of one's own mutation fetches nothing at once, that of others does", async () => {
  const all = stage();
  const { result: mine } = all.hook(() => useMutationOrigin());
  const { origin } = mine.current;
  expect(origin.length).toBeGreaterThan(8);
  const { backend } = list(all, { ignoreOrigin: origin });
  await pass(1_000);
  const before = backend.fetches;
  backend.insert("mine", { origin });
  await pass(1_900);
  expect(backend.fetches - before).toBe(0);
  backend.insert("other", { origin: "somebody" });
  backend.insert("none");
  await pass(1_000);
  expect(backend.fetches - before).toBeGreaterThan(0);
});

test("a fast typist fetches once, in the end", async () => {
  const all = stage();
  const { result, backend } = list(all, { ignoreOrigin: "me" });
  await pass(1_000);
  const before = backend.fetches;
  for (let at = 0; at < 50; at += 1) {
    backend.insert(`${at}`, { origin: "me" });
    await pass(100);
  }
  expect(backend.fetches - before).toBe(0);
  await pass(3_000);
  expect(backend.fetches - before).toBe(1);
  expect(result.current).toHaveLength(50);
});

test("an own echo during a fetch that may not have seen it is followed by another fetch", async () => {
  const all = stage();
  const { result, backend } = list(all, { ignoreOrigin: "me" });
  await pass(1_000);
  backend.takesMs = 500;
  void all.queryClient.refetchQueries();
  await pass(10);
  backend.insert("mine", { origin: "me" });
  await pass(3_000);
  expect(result.current).toEqual(["mine"]);
});

test("what happens while nobody listens is fetched when somebody shows it again, however fresh it should be", async () => {
  const all = stage();
  const first = list(all, { staleTime: Number.POSITIVE_INFINITY });
  await pass(1_000);
  first.unmount();
  await pass(1_000);
  first.backend.rows.push("meanwhile");
  const second = list(all, { staleTime: Number.POSITIVE_INFINITY }, first.backend);
  await pass(1_000);
  expect(second.result.current).toEqual(["meanwhile"]);
});

test("nor stays it fresh for components that show it and listen to nothing", async () => {
  const all = stage();
  const first = list(all, { staleTime: Number.POSITIVE_INFINITY });
  await pass(1_000);
  first.unmount();
  first.backend.rows.push("meanwhile");
  const { result } = all.hook(
    () =>
      useQuery({
        queryKey: ["tasks", { done: false }],
        queryFn: first.backend.fetch,
        staleTime: Number.POSITIVE_INFINITY,
      }).data,
  );
  await pass(1_000);
  expect(result.current).toEqual(["meanwhile"]);
});

test("what is committed after a prefetch has begun and before anybody listens is not missed", async () => {
  const all = stage();
  all.hook(() => useRealtimeSync({ channel: "other", queryKey: ["other"] }));
  await pass(1_000);
  const backend = new Backend(all.server);
  backend.takesMs = 100;
  void all.queryClient.prefetchQuery({ queryKey: ["tasks", { done: false }], queryFn: backend.fetch });
  await pass(10);
  backend.insert("early");
  await pass(10);
  const { result } = list(all, { staleTime: Number.POSITIVE_INFINITY }, backend);
  await pass(1_000);
  expect(result.current).toEqual(["early"]);
});

test("what happens while it is not enabled is fetched when it is again", async () => {
  const all = stage();
  const { result, rerender, backend } = list(all, {});
  await pass(1_000);
  rerender({ enabled: false });
  await pass(1_000);
  backend.insert("meanwhile");
  await pass(1_000);
  expect(result.current).toEqual([]);
  rerender({});
  await pass(1_000);
  expect(result.current).toEqual(["meanwhile"]);
});

test("a reset fetches once, within two seconds", async () => {
  const all = stage();
  const { result, backend } = list(all);
  all.hook(() => useRealtimeSync({ channel: "tasks", queryKey: ["tasks"] }));
  await pass(1_000);
  const before = backend.fetches;
  backend.rows.push("told by nobody");
  all.server.reset("retention");
  await pass(2_100);
  expect(backend.fetches - before).toBe(1);
  expect(result.current).toEqual(["told by nobody"]);
});

test("pages do not all refetch at the same moment after a reset", async () => {
  const waits = new Set<number>();
  for (let page = 0; page < 10; page += 1) {
    vi.resetModules();
    waits.add((await import("../src/refresh.js")).RESET_MS);
  }
  expect(waits.size).toBe(10);
  expect(Math.max(...waits)).toBeLessThanOrEqual(2_001);
  expect(Math.min(...waits)).toBeGreaterThan(0);
});

test("after a cut, what was missed comes as events", async () => {
  const all = stage();
  const seen: unknown[] = [];
  all.hook(() =>
    useRealtimeSync({ channel: "tasks", queryKey: ["tasks"], onEvent: ({ data }) => seen.push(data.payload) }),
  );
  await pass(1_000);
  all.server.cut();
  all.server.emit("tasks", "task.created", 1);
  all.server.emit("tasks", "task.created", 2);
  await pass(60_000);
  expect(seen).toEqual([1, 2]);
});

test("being subscribed and not any more is told", async () => {
  const all = stage();
  const onSubscribed = vi.fn();
  const onUnsubscribed = vi.fn();
  const { unmount } = all.hook(() =>
    useRealtimeSync({ channel: "tasks", queryKey: ["tasks"], onSubscribed, onUnsubscribed }),
  );
  expect(onSubscribed).not.toHaveBeenCalled();
  await pass();
  expect(onSubscribed).toHaveBeenCalledTimes(1);
  expect(onUnsubscribed).not.toHaveBeenCalled();
  unmount();
  expect(onUnsubscribed).toHaveBeenCalledTimes(1);
});

test("a key written in place is no other key, another key is", async () => {
  const all = stage();
  const { rerender } = all.hook(
    ({ id }: { id: number }) => useRealtimeSync({ topic: `list:${id}`, queryKey: ["lists", { id }] }),
    { id: 1 },
  );
  await pass();
  rerender({ id: 1 });
  await pass();
  expect(all.sent("subscribe")).toHaveLength(0);
  rerender({ id: 2 });
  await pass();
  expect(all.server.connections[0]?.channels).toEqual(["list:2"]);
});
