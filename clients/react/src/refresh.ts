// Refetches what events have made stale: seldom enough, and never too early. No React, and nothing of TanStack but its shape.

/** Names queries: those whose key begins so, or that one; or all. */
export interface Which {
  readonly queryKey?: readonly unknown[];
  readonly exact?: boolean;
}

/** The part of a query of TanStack Query that is used. */
export interface QueryLike {
  readonly queryKey: readonly unknown[];
  readonly state: { readonly fetchStatus: string; readonly isInvalidated: boolean };
  fetch(): Promise<unknown>;
}

/** The part of a `QueryClient` of TanStack Query v5 that is used. */
export interface QueryClientLike {
  getQueryCache(): { findAll(which: { queryKey?: readonly unknown[]; exact?: boolean }): readonly QueryLike[] };
  invalidateQueries(
    which?: { queryKey?: readonly unknown[]; exact?: boolean },
    options?: { cancelRefetch?: boolean },
  ): Promise<void>;
}

/** Queries of one key are invalidated at once, and then at most every so many milliseconds. */
const THROTTLE_MS = 150;
/** A reset reaches all pages at once: each waits for its own part of 2 s, in milliseconds, before it refetches. */
export const RESET_MS: number = 1 + 2_000 * Math.random();
/** When a change of this page's own is looked at again, in milliseconds. */
export const OWN_MS = 2_000;

/** By client, key and wait: whether to refetch when it is over. */
const windows = new WeakMap<QueryClientLike, Map<string, boolean>>();
/** Queries whose running fetch is being waited for. */
const awaited = new WeakSet<QueryLike>();

/**
 * Invalidates, and so refetches what is on the screen, now or once after a wait in milliseconds, however often it is asked
 * for meanwhile. A fetch that runs already may have read the state before the event: it is let finish, so that a stream of
 * events cannot starve it, and another one follows.
 */
export function refreshQueries(client: QueryClientLike, which: Which, waitMs = 0): void {
  const keys = windows.get(client) ?? new Map<string, boolean>();
  const key = JSON.stringify([which, waitMs]);
  const isOpen = keys.has(key);
  windows.set(client, keys);
  keys.set(key, isOpen || waitMs > 0);
  if (isOpen) return;
  setTimeout(() => {
    const isDue = keys.get(key);
    keys.delete(key);
    if (isDue) refreshQueries(client, which);
  }, waitMs || THROTTLE_MS);
  if (!waitMs) invalidate(client, which);
}

/** Whether a refetch is due anyway, or one runs that may have read the state too early. */
export function isUnsettled(client: QueryClientLike, which: Which): boolean {
  const isDue = (query: QueryLike): boolean => query.state.isInvalidated || isFetching(query);
  return client.getQueryCache().findAll(which).some(isDue);
}

function isFetching({ state }: QueryLike): boolean {
  return state.fetchStatus === "fetching";
}

function invalidate(client: QueryClientLike, which: Which): void {
  for (const query of client.getQueryCache().findAll(which)) {
    if (isFetching(query) && !awaited.has(query)) follow(client, query);
  }
  void client.invalidateQueries(which, { cancelRefetch: false });
}

/** Refetches once the running fetch has succeeded; if it does not, the query stays marked as invalid. */
function follow(client: QueryClientLike, query: QueryLike): void {
  const ended = (): void => {
    awaited.delete(query);
    if (!query.state.isInvalidated) refreshQueries(client, { queryKey: query.queryKey, exact: true });
  };
  awaited.add(query);
  query.fetch().then(ended, ended);
}
