// The state of the connection, for what shows it.

import type {
  AnyChannels,
  AnyEvents,
  ChannelMap,
  Client,
  ConnectionState,
  EventMap,
  Status,
  Undo,
} from "@rowcast/client";
import { useCallback, useEffect, useRef, useState, useSyncExternalStore } from "react";
import { useClient, useLatest } from "./client-context.js";

/** What is rendered on a server, and first in the browser. */
const BEFORE: Status = {
  state: "disconnected",
  attempt: 0,
  retryInMs: undefined,
  transport: undefined,
  isOnline: true,
  error: undefined,
};

/** How long a connection may be away, in milliseconds, before it is worth telling. */
const GRACE_MS = 5_000;

/** The whole status of the connection: state, attempt, retryInMs, transport, isOnline and error. */
export function useConnectionStatus<Events extends EventMap = AnyEvents, Channels extends ChannelMap = AnyChannels>(
  client?: Client<Events, Channels>,
): Status {
  const found = useClient(client);
  return useSyncExternalStore(
    useCallback((changed: () => void): Undo => found.on("status", changed), [found]),
    () => found.status,
    () => BEFORE,
  );
}

/** The state of the connection: of the client that is given, or of the provider's. */
export function useWebSocketState<Events extends EventMap = AnyEvents, Channels extends ChannelMap = AnyChannels>(
  client?: Client<Events, Channels>,
): ConnectionState {
  const found = useClient(client);
  return useSyncExternalStore(
    useCallback((changed: () => void): Undo => found.on("status", changed), [found]),
    () => found.status.state,
    () => BEFORE.state,
  );
}

/**
 * The last position in the feed, to be kept with state of yours or shown; undefined before the first. The component renders
 * again with it when an event comes, a channel is confirmed, or the status changes.
 */
export function useLastCursor<Events extends EventMap = AnyEvents, Channels extends ChannelMap = AnyChannels>(
  client?: Client<Events, Channels>,
): string | undefined {
  const found = useClient(client);
  return useSyncExternalStore(
    useCallback(
      (changed: () => void): Undo => {
        const undos = (["event", "subscribed", "status", "reset"] as const).map((name) => found.on(name, changed));
        return () => {
          for (const undo of undos) undo();
        };
      },
      [found],
    ),
    () => found.cursor,
    () => undefined,
  );
}

/** What becomes of a connection that was away for longer than the grace. */
export type LostConnectionChange = "lost" | "restored" | "failed";

/** Options of `useLostConnection`. */
export interface UseLostConnectionOptions {
  /** How long the connection may be away without a word, in milliseconds. Default 5,000. */
  readonly graceMs?: number | undefined;
  /** `failed`: the client has given up, as with a token that is refused. Told of at once. */
  readonly onChange?: ((change: LostConnectionChange) => void) | undefined;
}

/** Whether the connection has been away for longer than the grace, against the will of the app. For a banner or a toast. */
export function useLostConnection({ graceMs = GRACE_MS, onChange }: UseLostConnectionOptions = {}): boolean {
  const state = useWebSocketState();
  const isLate = useIsLate(graceMs);
  const change = state === "error" ? "failed" : isLate && state !== "disconnected" ? "lost" : undefined;
  const latest = useLatest(onChange);
  const before = useRef(change);
  useEffect(() => {
    const news = change ?? (state === "connected" && before.current ? "restored" : undefined);
    if (change !== before.current && news) latest.current?.(news);
    before.current = change;
  }, [change, state, latest]);
  return change !== undefined;
}

/** Whether there has been no connection for longer than the grace, for whatever reason. */
export function useIsLate(graceMs: number = GRACE_MS): boolean {
  const isAway = useWebSocketState() !== "connected";
  const [isLate, setIsLate] = useState(false);
  useEffect(() => {
    if (!isAway) return;
    const timer = setTimeout(setIsLate, graceMs, true);
    return () => {
      clearTimeout(timer);
      setIsLate(false);
    };
  }, [isAway, graceMs]);
  return isAway && isLate;
}
