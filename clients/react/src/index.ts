// What users import. No code of its own.

export type { RowcastProviderProps } from "./client-context.js";
export { RowcastProvider, RowcastProvider as WebSocketProvider, useClient } from "./client-context.js";
export type { FeedElement, RealtimeEvents, UseRealtimeEventsOptions } from "./events.js";
export { createRealtimeEventsHook, useRealtimeEvents } from "./events.js";
export type { QueryClientLike, QueryLike, Which } from "./refresh.js";
export { refreshQueries } from "./refresh.js";
export type { UseLostConnectionOptions } from "./status.js";
export { useConnectionStatus, useLostConnection, useWebSocketState } from "./status.js";
export type { UseWebSocket } from "./websocket.js";
export { useWebSocket } from "./websocket.js";
export type { TopicEvent, WSConnectionState, WSEvent, WSEventType } from "./ws-event.js";
export { toWSEvent } from "./ws-event.js";
