// Refetches what events have made stale: seldom enough, and never too early. No React, and nothing of TanStack but its shape.

/** Names queries: those whose key begins so, or that one; or all. */
export interface Which {
  readonly queryKey?: readonly unknown[];
  readonly exact?: boolean;
}

/** The part of a query of TanStack Query that is used. */
export interface QueryLike {
  readonly queryKey: readonly unknown[];
  readonly state: { readonly data: unknown; readonly fetchStatus: string; readonly isInvalidated: boolean };
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
/** A reset reaches all pages at once; each waits for a random part of this, in milliseconds, before it refetches. */
const RESET_JITTER_MS = 2_000;

/** By client and key: whether something happened since the last time. */
const windows = new WeakMap<QueryClientLike, Map<string, boolean>>();
/** Queries whose running fetch is being waited for. */
const awaited = new WeakSet<QueryLike>();

/**
 * Invalidates, and so refetches what is on the screen. A fetch that runs already may have read the state before the event:
 * it is let finish, so that a stream of events cannot starve it, and another one follows.
 */
export function refresh(client: QueryClientLike, which: Which, isReset = false): void {
  const keys = windows.get(client) ?? new Map<string, boolean>();
  const key = JSON.stringify(which);
  const isOpen = keys.has(key);
  windows.set(client, keys);
  keys.set(key, isOpen || isReset);
  if (isOpen) return;
  setTimeout(
    () => {
      const again = keys.get(key);
      keys.delete(key);
      if (again) refresh(client, which);
    },
    isReset ? 1 + Math.random() * RESET_JITTER_MS : THROTTLE_MS,
  );
  if (!isReset) invalidate(client, which);
}

/** Whether a refetch is due anyway, or one runs that may have read the state too early. */
export function isUnsettled(client: QueryClientLike, which: Which): boolean {
  const all = client.getQueryCache().findAll(which);
  return all.some(({ state }) => state.isInvalidated || state.fetchStatus === "fetching");
}

function invalidate(client: QueryClientLike, which: Which): void {
  for (const query of client.getQueryCache().findAll(which)) {
    if (query.state.fetchStatus === "fetching" && !awaited.has(query)) follow(client, query);
  }
  void client.invalidateQueries(which, { cancelRefetch: false });
}

/** Refetches once the running fetch has succeeded; if it does not, the query stays marked as invalid. */
function follow(client: QueryClientLike, query: QueryLike): void {
  const ended = (): void => {
    awaited.delete(query);
    if (!query.state.isInvalidated) refresh(client, { queryKey: query.queryKey, exact: true });
  };
  awaited.add(query);
  query.fetch().then(ended, ended);
}
