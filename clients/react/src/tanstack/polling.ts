// Polling for as long as there is no connection.

import { focusManager, hashKey, type QueryKey, useQueryClient } from "@tanstack/react-query";
import { useEffect } from "react";
import { refreshQueries } from "../refresh.js";
import { useWebSocketState } from "../status.js";

/** Options of `usePollingFallback`. */
export interface UsePollingFallbackOptions {
  /** Queries to refetch: all whose key begins so. */
  readonly queryKey: QueryKey;
  /** Default 10,000. */
  readonly intervalMs?: number | undefined;
  /** Default true. */
  readonly enabled?: boolean | undefined;
}

/**
 * Refetches at intervals while there is no connection and the page is visible. Once there is one nothing has to be caught
 * up: what was missed comes as events.
 */
export function usePollingFallback({ queryKey, intervalMs = 10_000, enabled = true }: UsePollingFallbackOptions): void {
  const queryClient = useQueryClient();
  const keyHash = hashKey(queryKey);
  const isWanted = useWebSocketState() !== "connected" && enabled;
  // biome-ignore lint/correctness/useExhaustiveDependencies: keyHash stands for the key, which is another object at each render.
  useEffect(() => {
    if (!isWanted) return;
    const timer = setInterval(() => {
      if (focusManager.isFocused()) refreshQueries(queryClient, { queryKey });
    }, intervalMs);
    return () => clearInterval(timer);
  }, [queryClient, isWanted, intervalMs, keyHash]);
}
