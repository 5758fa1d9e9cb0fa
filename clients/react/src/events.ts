// Events of channels, and of the elements that they are about.

import type {
  AnyChannels,
  AnyEvents,
  ChannelMap,
  ChannelOf,
  Client,
  ConnectionState,
  EventMap,
  EventOn,
  FeedEvent,
  Reset,
} from "@rowcast/client";
import { useEffect, useReducer, useRef } from "react";
import { useClient, useLatest } from "./client-context.js";
import { useWebSocketState } from "./status.js";
import { entityIdOf, partsOf } from "./ws-event.js";

/**
 * What an event is about: the members of its payload (of its `previous` where the payload is no object), the kind of its
 * type as `type` (`task` of `task.created`), and its entity id as `id` (else the payload's own).
 */
export interface FeedElement {
  readonly type: string;
  readonly id: string;
  readonly [member: string]: unknown;
}

/** Options of `useRealtimeEvents`. Handlers may be written in place: those of the last render are called. */
export interface UseRealtimeEventsOptions<
  Events extends EventMap = AnyEvents,
  Channels extends ChannelMap = AnyChannels,
  Channel extends ChannelOf<Channels> | "*" = ChannelOf<Channels> | "*",
> {
  /** Compared by content. Default `["*"]`, all. */
  readonly channels?: readonly Channel[] | undefined;
  /** Every event, once, even if several of the channels have it. */
  readonly onEvent?: ((event: EventOn<Events, Channels, Channel>) => void) | undefined;
  readonly onStateChange?: ((state: ConnectionState) => void) | undefined;
  /** After each event whose type ends in `created`. */
  readonly onElementCreated?: ((element: FeedElement, event: EventOn<Events, Channels, Channel>) => void) | undefined;
  /** After each event whose type ends in `updated`. */
  readonly onElementUpdated?: ((element: FeedElement, event: EventOn<Events, Channels, Channel>) => void) | undefined;
  /** After each event whose type ends in `deleted`. */
  readonly onElementDeleted?: ((element: FeedElement, event: EventOn<Events, Channels, Channel>) => void) | undefined;
  /** Something was missed that cannot be told: fetch your state anew. */
  readonly onReset?: ((reset: Reset) => void) | undefined;
  /** Default true. */
  readonly enabled?: boolean | undefined;
  /** A cursor to begin at, or "earliest"; by default now. When it or the channels change, the hook begins there anew. */
  readonly since?: string | undefined;
  /** Default: that of the provider. */
  readonly client?: Client<Events, Channels> | undefined;
}

/** What `useRealtimeEvents` returns. */
export interface RealtimeEvents<Event> {
  readonly connectionState: ConnectionState;
  readonly isConnected: boolean;
  /** The component renders again for each event only if it reads this. */
  readonly lastEvent: Event | undefined;
}

/** Receives the events of channels for as long as the component is mounted. */
export const useRealtimeEvents = useEvents as <
  Events extends EventMap = AnyEvents,
  Channels extends ChannelMap = AnyChannels,
  Channel extends ChannelOf<Channels> | "*" = ChannelOf<Channels> | "*",
>(
  options?: UseRealtimeEventsOptions<Events, Channels, Channel>,
) => RealtimeEvents<EventOn<Events, Channels, Channel>>;

/** `useRealtimeEvents` for the types of one feed, with options that hold unless a component gives others. */
export function createRealtimeEventsHook<
  Events extends EventMap = AnyEvents,
  Channels extends ChannelMap = AnyChannels,
>(
  defaults?: UseRealtimeEventsOptions<Events, Channels>,
): <Channel extends ChannelOf<Channels> | "*" = ChannelOf<Channels> | "*">(
  options?: UseRealtimeEventsOptions<Events, Channels, Channel>,
) => RealtimeEvents<EventOn<Events, Channels, Channel>> {
  return (options) => useRealtimeEvents({ ...defaults, ...options } as typeof options);
}

/** As for any feed; the types of one are put on it above. */
function useEvents(options: UseRealtimeEventsOptions = {}): RealtimeEvents<FeedEvent> {
  const { enabled = true, since, channels = ["*"] } = options;
  const client = useClient(options.client);
  const latest = useLatest(options);
  const memory = useRef<{ event?: FeedEvent; isRead?: boolean }>({});
  const [, render] = useReducer((count: number) => count + 1, 0);
  const connectionState = useWebSocketState(client);
  const wanted = [...channels].sort().join(" ");

  useEffect(() => {
    if (!enabled || !wanted) return;
    const receive = (event: FeedEvent): void => {
      // An event of several channels comes by each of them, in a row.
      if (memory.current.event === event) return;
      memory.current.event = event;
      if (memory.current.isRead) render();
      tell(latest.current, event);
    };
    let { state } = client.status;
    const undos = [
      client.on("reset", (reset) => latest.current.onReset?.(reset)),
      client.on("status", (status) => {
        if (status.state === state) return;
        state = status.state;
        latest.current.onStateChange?.(state);
      }),
      ...wanted.split(" ").map((channel) => client.subscribe(channel, receive, since ? { since } : {})),
    ];
    return () => {
      for (const undo of undos) undo();
    };
  }, [client, wanted, since, enabled, latest]);

  return {
    connectionState,
    isConnected: connectionState === "connected",
    get lastEvent() {
      memory.current.isRead = true;
      return memory.current.event;
    },
  };
}

/** Hands an event to the handlers. */
function tell(options: UseRealtimeEventsOptions, event: FeedEvent): void {
  options.onEvent?.(event);
  const [, type = "", verb] = partsOf(event.type);
  const members = event.payload ?? event.previous;
  const element = { ...(typeof members === "object" && members), type, id: entityIdOf(event) };
  if (verb === "created") options.onElementCreated?.(element, event);
  if (verb === "updated") options.onElementUpdated?.(element, event);
  if (verb === "deleted") options.onElementDeleted?.(element, event);
}
