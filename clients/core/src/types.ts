// What users of the client see: events, states, options, and the client itself. No code.

/** Payloads by event type. `rowcast gen types` writes one for a feed. */
export type EventMap = object;

/** Event types by channel; template literals describe dynamic ones: `` { [channel: `messages:${string}`]: "message.created" } ``. */
export type ChannelMap = object;

/** Any channel, any event. */
export type AnyEvents = Record<string, unknown>;
/** Any channel, any event. */
export type AnyChannels = Record<string, string>;

/** Event types of a feed. */
export type TypeOf<Events extends EventMap> = keyof Events & string;
/** Names of channels of a feed. */
export type ChannelOf<Channels extends ChannelMap> = keyof Channels & string;

/** A row of the events table, or what was broadcast without one. Narrowed by `type`. */
export type FeedEvent<
  Events extends EventMap = AnyEvents,
  Type extends TypeOf<Events> = TypeOf<Events>,
> = Type extends Type
  ? {
      /** Ascends, but for rows whose transactions committed late. Absent from what is no row. */
      readonly id: number;
      readonly type: Type;
      /** Channels that the row addresses. */
      readonly channels: readonly string[];
      readonly entityId?: string;
      readonly actor?: string;
      readonly payload: Events[Type];
      /** The value before, where the row has it. */
      readonly previous?: Events[Type];
      readonly traceId?: string;
      /** The mutation of a client that caused it: its own tab may ignore the echo. */
      readonly origin?: string;
      /** ISO 8601, UTC. */
      readonly createdAt: string;
    }
  : never;

/** Events of one channel. */
export type EventOn<
  Events extends EventMap,
  Channels extends ChannelMap,
  Channel extends string,
> = Channel extends keyof Channels
  ? Channels[Channel] extends TypeOf<Events>
    ? FeedEvent<Events, Channels[Channel]>
    : FeedEvent<Events>
  : FeedEvent<Events>;

/**
 * `connecting` the first time, `reconnecting` after a cut or a failure, `connected` while live; `disconnected` before the
 * first connect and after `disconnect()`; `error` when coming back by itself makes no sense, as with a token that is refused.
 */
export type ConnectionState = "connecting" | "connected" | "disconnected" | "reconnecting" | "error";

/** By what way frames come. */
export type TransportName = "ws" | "sse" | "poll";

/** The connection at one moment. A new object whenever anything in it changes, and only then. */
export interface Status {
  readonly state: ConnectionState;
  /** Failed attempts and lost connections in a row, those apart whose end was announced; 0 once a connection has lasted 5 s. */
  readonly attempt: number;
  /** Milliseconds until the next attempt, as of when this status began; undefined while none is planned. */
  readonly retryInMs: number | undefined;
  /** Undefined while there is no connection. */
  readonly transport: TransportName | undefined;
  /** What the browser or the app says of the network. */
  readonly isOnline: boolean;
  /** Why there is no connection, or why the last one ended. */
  readonly error: RowcastError | undefined;
}

/** What went wrong, and whether it makes sense to try again. */
export interface RowcastError extends Error {
  /**
   * A code of the server (`FORBIDDEN`, `CHANNEL_LIMIT`, …); `CLOSED` or `TIMEOUT` of a connection; `TOKEN`: it was refused, or
   * could not be got; `TRANSPORT`: nothing can be opened here; `HANDLER`: a function of yours has thrown.
   */
  readonly code: string;
  /** The WebSocket close code, where the connection was closed. */
  readonly closeCode: number | undefined;
  /** Whether the client tries again by itself. */
  readonly retryable: boolean;
}

/** Why a fresh token is asked for: the first one, the old one expires soon, or it was refused. */
export type TokenReason = "connect" | "expiring" | "refused";
/** Gives a token, or undefined where there is none. */
export type GetToken = (ask: { readonly reason: TokenReason }) => string | undefined | Promise<string | undefined>;

/** Something was missed that cannot be told: fetch your state anew. */
export interface Reset {
  readonly reason: "epoch" | "retention" | "too_far" | "cursor_invalid" | (string & {});
}

/** A channel that the server refused, or took away. */
export interface Rejection {
  readonly channel: string;
  readonly code: string;
  readonly message: string;
}

/** What `client.on` can tell of. */
export interface ClientEvents<Events extends EventMap> {
  /** Every event, once, whatever its channel: the same as `subscribe("*")`. */
  event: FeedEvent<Events>;
  status: Status;
  reset: Reset;
  /** Channels are live; the server confirmed them. */
  subscribed: { readonly channels: readonly string[] };
  rejected: Rejection;
  /** An error frame of the server, or a handler of yours that threw. */
  error: RowcastError;
  /** An administrator's message to all. */
  message: unknown;
}

/** Options of one subscription. */
export interface SubscribeOptions {
  /**
   * From where on: a cursor that your backend read together with its state, or "earliest". By default from now on, and
   * after a cut from where it was.
   */
  readonly since?: string;
  /** A token that permits this one channel. Called anew for every connection. */
  readonly getToken?: () => string | Promise<string>;
  /** The server has confirmed the channel: nothing is missed from now on. Called again after each reconnect. */
  readonly onSubscribed?: () => void;
  /** The server refused the channel or took it away. */
  readonly onRejected?: (rejection: Rejection) => void;
  /** Something on this channel was missed that cannot be told: refetch. */
  readonly onReset?: (reset: Reset) => void;
}

/** Undoes what it was given for. May be called more than once. */
export type Undo = () => void;

/** A client of one rowcast server. Nothing is opened before the first `subscribe`, `on("event")` or `connect`. */
export interface Client<Events extends EventMap = AnyEvents, Channels extends ChannelMap = AnyChannels> {
  /** The same object until something changes: fit for `useSyncExternalStore`. */
  readonly status: Status;
  /** The last position that is known; undefined before the first. Good as `since` on any server of the same database. */
  readonly cursor: string | undefined;
  /**
   * Receives the events of a channel, a parent of channels, a pattern (`messages:*`) or all (`*`), each exactly once and in
   * order. Several subscriptions of one channel share it; the last undo ends it.
   */
  subscribe<Channel extends ChannelOf<Channels>>(
    channel: Channel,
    handler: (event: EventOn<Events, Channels, Channel>) => void,
    options?: SubscribeOptions,
  ): Undo;
  on<Name extends keyof ClientEvents<Events>>(name: Name, handler: (value: ClientEvents<Events>[Name]) => void): Undo;
  /** Opens the connection, also after `disconnect()` or in state `error`; at once if an attempt is being waited for. */
  connect(): void;
  /** Closes the connection and stays away. Subscriptions and the position are kept for the next `connect()`. */
  disconnect(): void;
}

/** Options of `createClient`. Times are in milliseconds. */
export interface ClientOptions {
  /** The server (`https://feed.example.com`), or its WebSocket (`wss://feed.example.com/ws`). Default: `/ws` of the page's own server. */
  readonly url?: string | URL;
  /** Asked for a token before connecting, 60 s before one expires, and once when one is refused. One call at a time. */
  readonly getToken?: GetToken;
  /** Ways to connect, the best first. Default: `[webSocket]`. */
  readonly transports?: readonly Transport[];
  /** `tabs` of `@rowcast/client/tabs`: one connection for all tabs of a browser. */
  readonly tabs?: (transport: Transport, options: { readonly url: string }) => Transport;
  /** Come back after a cut. Default true. */
  readonly reconnect?: boolean;
  /** First and longest wait before an attempt; a random part of it is waited (full jitter). Default 1,000 and 30,000. */
  readonly reconnectInterval?: number;
  readonly reconnectMaxInterval?: number;
  /** Attempts to come back in a row, without success, until the state is `error`. Default: no limit. */
  readonly maxRetries?: number;
  /** How often the client pings a quiet server. Default 30,000. Nothing heard for this and 10 s more: the line is dead. */
  readonly heartbeatInterval?: number;
  /** How long an attempt may take. Default 10,000. */
  readonly connectTimeout?: number;
  /** Close the connection when the page has been hidden for so long, and come back with it. Default: stay. */
  readonly hiddenTimeout?: number;
  /** Tell what happens, by console.debug or a function of yours. No token is in it. Default false. */
  readonly debug?: boolean | ((message: string, details?: unknown) => void);
  /** What the client takes from its surroundings. Default: the globals. */
  readonly environment?: Partial<Environment>;
}

/** What a client needs of where it runs; in tests and in React Native some of it is yours. */
export interface Environment {
  readonly WebSocket: WebSocketConstructor | undefined;
  readonly fetch: typeof fetch | undefined;
  readonly lifecycle: Lifecycle;
  /** Remembers which transport worked. Default: sessionStorage where there is one. */
  readonly storage?: Pick<Storage, "getItem" | "setItem"> | undefined;
  readonly random: () => number;
}

/** The part of a WebSocket that is used; `ws` of npm has it. */
export interface WebSocketLike {
  readonly readyState: number;
  onopen: ((event: never) => void) | null;
  onmessage: ((event: { readonly data: unknown } & never) => void) | null;
  onclose: ((event: { readonly code: number; readonly reason: string } & never) => void) | null;
  onerror: ((event: never) => void) | null;
  send(data: string): void;
  close(code?: number, reason?: string): void;
}
export type WebSocketConstructor = new (url: string, protocols?: string | string[]) => WebSocketLike;

/** What the page or the app goes through. */
export interface Lifecycle {
  readonly isOnline: () => boolean;
  readonly isVisible: () => boolean;
  /**
   * Calls with `online`, `offline`, `visible`, `hidden`, `suspend` (the page is frozen or goes into the back/forward cache:
   * close now) and `resume` (it is back: look at the line at once). Returns its undo.
   */
  readonly listen: (handler: (change: LifecycleChange) => void) => Undo;
}
export type LifecycleChange = "online" | "offline" | "visible" | "hidden" | "suspend" | "resume";

import type { Transport } from "./transport.js";
