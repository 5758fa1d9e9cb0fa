// Showing a change before the server has it.

import type { QueryClient, QueryKey } from "@tanstack/react-query";
import { isUnsettled } from "../refresh.js";

/**
 * Shows `updater(old)` at once, and gives the function that takes it back, for `onError` of a mutation. A fetch that runs is
 * cancelled, as it would overwrite the change, and the query stays marked as stale. Where the cache has nothing, nothing is
 * shown and no fetch is cancelled.
 *
 * Taking back restores the old value only if nobody has written since: events and refetches that came meanwhile are not
 * undone. If somebody has, the query is invalidated instead.
 */
export async function optimisticUpdate<Data>(
  queryClient: QueryClient,
  queryKey: QueryKey,
  updater: (old: Data) => Data,
): Promise<() => void> {
  const which = { queryKey, exact: true };
  const wasUnsettled = isUnsettled(queryClient, which);
  if (queryClient.getQueryData(queryKey) !== undefined) await queryClient.cancelQueries(which);
  const old = queryClient.getQueryState<Data>(queryKey);
  if (old?.data === undefined) return () => {};
  queryClient.setQueryData<Data>(queryKey, updater(old.data));
  if (wasUnsettled) void queryClient.invalidateQueries({ ...which, refetchType: "none" });
  const writes = (): number | undefined => queryClient.getQueryState(queryKey)?.dataUpdateCount;
  const ours = writes();
  return () => {
    const isOurs = writes() === ours;
    if (isOurs) queryClient.setQueryData<Data>(queryKey, old.data, { updatedAt: old.dataUpdatedAt });
    if (!isOurs || wasUnsettled) void queryClient.invalidateQueries(which);
  };
}
