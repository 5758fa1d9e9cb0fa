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
import { useCallback, useEffect, useState, useSyncExternalStore } from "react";
import { useClient } from "./client-context.js";

/** What is rendered on a server, and first in the browser. */
const BEFORE = { state: "disconnected", attempt: 0, isOnline: true } as Status;

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
  return useConnectionStatus(client).state;
}

/** Options of `useLostConnection`. */
export interface UseLostConnectionOptions {
  /** How long the connection may be away without a word, in milliseconds. Default 5,000. */
  readonly graceMs?: number | undefined;
}

/** Whether a connection that is wanted has been away for longer than the grace. For a banner. */
export function useLostConnection({ graceMs = GRACE_MS }: UseLostConnectionOptions = {}): boolean {
  // All but "connected" and "disconnected", which is as somebody wants it, or nobody needs it.
  const isAway = !useWebSocketState().endsWith("connected");
  const [isLate, setIsLate] = useState(false);
  useEffect(() => {
    const timer = setTimeout(setIsLate, graceMs, isAway);
    return () => {
      clearTimeout(timer);
      setIsLate(false);
    };
  }, [isAway, graceMs]);
  return isAway && isLate;
}
