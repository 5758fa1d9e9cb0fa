// All of both packages in one page, as a page imports it: for its size only (`npm run size`).

import { longPoll, sse } from "./core/dist/fallback.mjs";
import { createClient, webSocket } from "./core/dist/index.mjs";
import { tabs } from "./core/dist/tabs.mjs";
import {
  createRealtimeEventsHook,
  RowcastProvider,
  refreshQueries,
  toWSEvent,
  useClient,
  useConnectionStatus,
  useLostConnection,
  useRealtimeEvents,
  useWebSocket,
  useWebSocketState,
} from "./react/dist/index.mjs";
import { ConnectionIndicator, ConnectionIndicatorCompact } from "./react/dist/indicator.mjs";
import { optimisticUpdate, useMutationOrigin, usePollingFallback, useRealtimeSync } from "./react/dist/tanstack.mjs";

globalThis.everything = [
  [createClient, webSocket, sse, longPoll, tabs],
  [RowcastProvider, useClient, useRealtimeEvents, createRealtimeEventsHook],
  [useWebSocket, toWSEvent, useWebSocketState, useConnectionStatus, useLostConnection],
  [ConnectionIndicator, ConnectionIndicatorCompact],
  [useRealtimeSync, usePollingFallback, optimisticUpdate, useMutationOrigin, refreshQueries],
];
