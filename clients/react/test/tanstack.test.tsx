// Polling without a connection, and changes that are shown before the server has them.

import { useRealtimeEvents } from "@rowcast/react";
import { optimisticUpdate, useMutationOrigin, usePollingFallback, useRealtimeSync } from "@rowcast/react/tanstack";
import { useQuery } from "@tanstack/react-query";
import { act } from "@testing-library/react";
import { expect, test, vi } from "vitest";
import { pass, type Stage, stage } from "./harness.js";

/** A component that polls, and shows a query. */
function polled({ hook }: Stage, options: { intervalMs?: number; enabled?: boolean } = {}) {
  const queryFn = vi.fn(async () => "state");
  const rendered = hook(() => {
    useRealtimeEvents({ channels: ["tasks"] });
    useQuery({ queryKey: ["gifts", "123"], queryFn });
    usePollingFallback({ queryKey: ["gifts"], ...options });
  });
  return { queryFn, ...rendered };
}

test("there is no polling while there is a connection", async () => {
  const all = stage();
  const { queryFn } = polled(all);
  await pass(100_000);
  expect(queryFn).toHaveBeenCalledTimes(1);
});

test("without a connection it polls every ten seconds, and stops at once when there is one", async () => {
  const all = stage();
  const { queryFn } = polled(all);
  await pass();
  const undo = all.server.refuse();
  all.server.cut();
  await pass(30_500);
  expect(queryFn).toHaveBeenCalledTimes(4);
  undo();
  act(() => all.client.connect());
  await pass(100_000);
  expect(queryFn).toHaveBeenCalledTimes(4);
});

test("the interval is as it is said, and none where it is not enabled or the component has gone", async () => {
  const all = stage();
  all.server.refuse();
  const fast = polled(all, { intervalMs: 1_000 });
  await pass(3_100);
  expect(fast.queryFn).toHaveBeenCalledTimes(4);
  fast.unmount();
  await pass(10_000);
  expect(fast.queryFn).toHaveBeenCalledTimes(4);
  const off = polled(stage(), { intervalMs: 1_000, enabled: false });
  await pass(10_000);
  expect(off.queryFn).toHaveBeenCalledTimes(1);
});

test("a hidden page does not poll", async () => {
  const all = stage();
  all.server.refuse();
  const visibility = vi.spyOn(document, "visibilityState", "get").mockReturnValue("hidden");
  const { queryFn } = polled(all);
  await pass(60_000);
  expect(queryFn).toHaveBeenCalledTimes(1);
  visibility.mockReturnValue("visible");
  await pass(20_000);
  expect(queryFn).toHaveBeenCalledTimes(3);
});

test("a change is shown at once, and taken back", async () => {
  const { queryClient } = stage();
  queryClient.setQueryData(["tasks"], ["a"], { updatedAt: 1 });
  const rollback = await optimisticUpdate(queryClient, ["tasks"], (old: string[]) => [...old, "b"]);
  expect(queryClient.getQueryData(["tasks"])).toEqual(["a", "b"]);
  rollback();
  expect(queryClient.getQueryState(["tasks"])).toMatchObject({ data: ["a"], dataUpdatedAt: 1, isInvalidated: false });
});

test("where the cache has nothing the updater is not called, and the first fetch goes on", async () => {
  const { queryClient } = stage();
  const updater = vi.fn((old: string[]) => old);
  (await optimisticUpdate(queryClient, ["tasks"], updater))();
  const fetched = queryClient.fetchQuery({
    queryKey: ["tasks"],
    queryFn: () => new Promise((resolve) => setTimeout(resolve, 100, ["a"])),
  });
  const rollback = await optimisticUpdate(queryClient, ["tasks"], updater);
  await pass(100);
  expect(await fetched).toEqual(["a"]);
  rollback();
  expect(queryClient.getQueryData(["tasks"])).toEqual(["a"]);
  expect(updater).not.toHaveBeenCalled();
});

test("taking back does not undo what came meanwhile, even if it looks the same", async () => {
  const { queryClient } = stage();
  for (const meanwhile of [
    ["a", "b", "c"],
    ["a", "b"],
  ]) {
    queryClient.setQueryData(["tasks"], ["a"]);
    const rollback = await optimisticUpdate(queryClient, ["tasks"], (old: string[]) => [...old, "b"]);
    queryClient.setQueryData(["tasks"], meanwhile);
    rollback();
    expect(queryClient.getQueryState(["tasks"])).toMatchObject({ data: meanwhile, isInvalidated: true });
  }
});

test("a running fetch does not overwrite the change, and what it would have brought is fetched with the next echo", async () => {
  const all = stage();
  const rows = ["a"];
  let takesMs = 10;
  const queryFn = async ({ signal }: { signal: AbortSignal }): Promise<string[]> => {
    const read = [...rows];
    await new Promise((resolve) => setTimeout(resolve, takesMs));
    signal.throwIfAborted();
    return read;
  };
  const { result } = all.hook(() => {
    useRealtimeSync({ channel: "tasks", queryKey: ["tasks"], ignoreOrigin: "me" });
    return useQuery({ queryKey: ["tasks"], queryFn }).data;
  });
  await pass(1_000);
  takesMs = 500;
  rows.push("b");
  all.server.emit({ channel: "tasks", type: "task.created", origin: "somebody" });
  await pass(100);
  const rollback = optimisticUpdate(all.queryClient, ["tasks"], (old: string[]) => [...old, "mine"]);
  await pass(1_000);
  await rollback;
  expect(result.current).toEqual(["a", "mine"]);
  rows.push("mine");
  all.server.emit({ channel: "tasks", type: "task.created", origin: "me" });
  await pass(2_000);
  expect(result.current).toEqual(["a", "b", "mine"]);
});

test("an origin stays the same, and is nobody else's", () => {
  const { hook } = stage();
  const { result, rerender } = hook(() => useMutationOrigin().origin);
  const first = result.current;
  rerender(undefined);
  expect(result.current).toBe(first);
  expect(hook(() => useMutationOrigin().origin).result.current).not.toBe(first);
});
