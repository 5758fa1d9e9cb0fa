// Queries kept fresh by the events of a channel.

import type { FeedEvent } from "@rowcast/client";
import { hashKey, type QueryClient, type QueryKey, useQueryClient } from "@tanstack/react-query";
import { useEffect } from "react";
import { useClient, useLatest } from "../client-context.js";
import { isUnsettled, OWN_MS, RESET_MS, refreshQueries } from "../refresh.js";
import { type TopicEvent, toWSEvent, type WSEventType } from "../ws-event.js";

/** Options of `useRealtimeSync`. Handlers may be written in place: those of the last render are called. */
export type UseRealtimeSyncOptions<Payload = unknown> = {
  /** Queries to keep fresh: all whose key begins so. */
  readonly queryKey: QueryKey;
  /** Other events are ignored. Types (`task.created`) or names (`ADDED`, `STATUS_CHANGED`). Default: all. */
  readonly events?: readonly WSEventType[] | undefined;
  /** Updates the cache by itself, instead of the invalidation. A fetch that runs meanwhile is followed by another one. */
  readonly onEvent?: ((event: TopicEvent<Payload>, queryClient: QueryClient) => void) | undefined;
  /** Collect events for so many milliseconds, and invalidate then. Default: at once, then at most every 150 ms. */
  readonly debounceMs?: number | undefined;
  /** Default true. */
  readonly enabled?: boolean | undefined;
  /** The server has confirmed the channel; again after each reconnect. */
  readonly onSubscribed?: (() => void) | undefined;
  /** The channel, once confirmed, is not listened to any more by this component. */
  readonly onUnsubscribed?: (() => void) | undefined;
  /**
   * Events of this origin are the echo of mutations whose result is in the cache already: they fetch nothing at once, but once
   * when there has been none for 2 s, as a fetch that ran meanwhile may have taken it away. See `useMutationOrigin`.
   */
  readonly ignoreOrigin?: string | undefined;
  /** A cursor that was read before the state, or with it. Saves the refetch on the first connection. */
  readonly since?: string | undefined;
} & (
  | { readonly topic: string; readonly channel?: undefined }
  | { readonly channel: string; readonly topic?: undefined }
);

/**
 * Keeps queries as fresh as the feed. Each event of the channel invalidates them, or goes to `onEvent`. What was missed
 * during a cut comes as events; where it cannot, everything is refetched within 2 s.
 *
 * A state that may have been read before the channel was live is fetched once more when it is.
 */
export function useRealtimeSync<Payload = unknown>(options: UseRealtimeSyncOptions<Payload>): void {
  const client = useClient();
  const queryClient = useQueryClient();
  const latest = useLatest(options);
  const { enabled = true, since, queryKey } = options;
  const channel = options.channel ?? options.topic;
  const keyHash = hashKey(queryKey);
  const which = { queryKey };
  const wasFetching = queryClient.isFetching(which);

  // biome-ignore lint/correctness/useExhaustiveDependencies: keyHash stands for the key; the rest is as it was when they changed.
  useEffect(() => {
    if (!enabled) return;
    const cached = queryClient.getQueryCache().findAll(which);
    // From the cursor on nothing is missed, and what is fetched because of this very render is read after it.
    const isUnsure = !since && (!client.cursor || wasFetching || cached.length > queryClient.isFetching(which));
    let isSubscribed = false;
    let echo: ReturnType<typeof setTimeout> | undefined;

    const receive = (feedEvent: FeedEvent): void => {
      const { events, onEvent, debounceMs, ignoreOrigin } = latest.current;
      const event = toWSEvent(feedEvent as FeedEvent<Record<string, Payload>>, channel);
      if (events && !events.includes(event.type) && !events.includes(event.event)) return;
      if (ignoreOrigin && event.origin === ignoreOrigin) {
        clearTimeout(echo);
        echo = setTimeout(() => refreshQueries(queryClient, which), OWN_MS);
        return;
      }
      // The cache may be behind for other reasons, and must not look fresh because of this event.
      const isDue = !onEvent || isUnsettled(queryClient, which);
      onEvent?.(event, queryClient);
      if (isDue) refreshQueries(queryClient, which, debounceMs);
    };

    const undo = client.subscribe(channel, receive, {
      ...(since && { since }),
      onSubscribed() {
        if (isUnsure && !isSubscribed) refreshQueries(queryClient, which);
        isSubscribed = true;
        latest.current.onSubscribed?.();
      },
      onReset: () => refreshQueries(queryClient, which, RESET_MS),
    });
    return () => {
      undo();
      // From now on nobody tells when it changes: whoever shows it next fetches it.
      void queryClient.invalidateQueries({ ...which, refetchType: "none" });
      if (isSubscribed) latest.current.onUnsubscribed?.();
    };
  }, [client, queryClient, channel, keyHash, since, enabled, latest]);
}
