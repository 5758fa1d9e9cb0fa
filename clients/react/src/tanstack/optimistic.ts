// Showing a change before the server has it.

import type { QueryClient, QueryKey, QueryState } from "@tanstack/react-query";
import { isUnsettled, OWN_MS, refreshQueries } from "../refresh.js";

/**
 * Shows `updater(old)` at once, and gives the function that takes it back, for `onError` of a mutation. A fetch that runs is
 * cancelled, as it would overwrite the change, and follows 2 s later. Where the cache has nothing, nothing is shown and
 * no fetch is cancelled.
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
  const state = (): QueryState<Data> | undefined => queryClient.getQueryState<Data>(queryKey);
  const wasUnsettled = isUnsettled(queryClient, which);
  if (state()?.data !== undefined) await queryClient.cancelQueries(which);
  const old = state();
  if (old?.data === undefined) return () => {};
  queryClient.setQueryData<Data>(queryKey, updater(old.data));
  if (wasUnsettled) refreshQueries(queryClient, which, OWN_MS);
  const writes = state()?.dataUpdateCount;
  return () => {
    const isLast = state()?.dataUpdateCount === writes;
    if (isLast) queryClient.setQueryData<Data>(queryKey, old.data, { updatedAt: old.dataUpdatedAt });
    if (wasUnsettled || !isLast) void queryClient.invalidateQueries(which);
  };
}
