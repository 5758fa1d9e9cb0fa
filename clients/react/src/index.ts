// What users import. No code of its own.

export type { RowcastProviderProps } from "./client-context.js";
export { RowcastProvider, RowcastProvider as WebSocketProvider, useClient } from "./client-context.js";
export type { FeedElement, QueryKeyMapper, RealtimeEvents, UseRealtimeEventsOptions } from "./events.js";
export { createRealtimeEventsHook, defaultQueryKeyMapper, useRealtimeEvents } from "./events.js";
export type { ConnectionIndicatorProps, IndicatorKind } from "./indicator.js";
export { ConnectionIndicator, ConnectionIndicatorCompact } from "./indicator.js";
export type { QueryClientLike } from "./refresh.js";
export type { UseLostConnectionOptions } from "./status.js";
export { useConnectionStatus, useLastCursor, useLostConnection, useWebSocketState } from "./status.js";
export type { UseWebSocket } from "./websocket.js";
export { useWebSocket } from "./websocket.js";
export type { TopicEvent, WSConnectionState, WSEvent, WSEventType } from "./ws-event.js";
export { toWSEvent } from "./ws-event.js";
