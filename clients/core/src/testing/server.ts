// A server for the tests of programs that use a client: in the same process, without network, clock or chance.

import type { ServerFrame } from "../transport.js";
import type { Environment, Undo, WebSocketConstructor } from "../types.js";
import { type Batch, Feed, type NewEvent, type ResetReason } from "./feed.js";
import { FakeLifecycle } from "./lifecycle.js";
import { type Host, Session, type TestUser } from "./session.js";
import { FakeSocket, Traffic, type Wire } from "./socket.js";

/** What a test server is like. Times are in milliseconds. */
export interface TestServerOptions {
  /** Whose a token is; undefined: it is not accepted. Without this nobody needs a token, and all is granted. */
  readonly authenticate?: (token: string) => TestUser | undefined;
  /** Which channel a token for a single channel permits (`getToken` of `subscribe`); undefined: it is not accepted. */
  readonly permit?: (token: string) => string | undefined;
  /** How often the server sends a heartbeat. Default 30,000. */
  readonly pingIntervalMs?: number;
  /** What a connection may send. Default 100, as the real one. */
  readonly messagesPerMinute?: number;
  /** Chance of the client, from 0 to 1: the part of each wait that it takes. Default 0.5; with 0 it comes back at once. */
  readonly random?: () => number;
}

/** One connection, seen from the server. */
export interface TestConnection {
  readonly id: string;
  readonly url: string;
  readonly userId: string | undefined;
  /** What it is subscribed to, as it asked. */
  readonly channels: readonly string[];
  /** What the client has said on it, parsed, in order. */
  readonly frames: readonly Readonly<Record<string, unknown>>[];
  /** Says anything at all to the client. */
  send(frame: ServerFrame): void;
  /** Closes it, after what was said. */
  close(code: number, reason?: string): void;
}

/**
 * A server that speaks the protocol of rowcast in the test's own process. Nothing happens by itself but heartbeats and the
 * expiry of tokens, which are timers of `setTimeout`: fake ones, where the test has installed them. Frames go in
 * microtasks: `await vi.advanceTimersByTimeAsync(0)` is enough for all of them.
 */
export interface TestServer {
  /** For `createClient({ url, environment: server.environment })`. */
  readonly environment: Partial<Environment>;
  /** Those that are open, the oldest first. */
  readonly connections: readonly TestConnection[];
  /** How often clients have tried to connect, with or without success. */
  readonly attempts: number;
  /** The position of now, as `GET /cursor` gives it. */
  readonly cursor: string;
  /** Inserts one event. Gives the cursor after it. */
  emit(event: NewEvent): string;
  emit(channel: string, type: string, payload?: unknown): string;
  /** Inserts events in one transaction: they share a cursor, which the last one has. */
  commit(events: readonly NewEvent[]): string;
  /** Tells those who are connected what is no row: it has no id and no cursor, and is not kept. */
  broadcast(channel: string, event: Readonly<Record<string, unknown>>): void;
  /** Breaks all lines, now or when each has received so many frames more: what is under way is lost. */
  cut(options?: { readonly afterFrames?: number; readonly code?: number }): void;
  /** Frames pass no more, in either direction, and no connection opens; nobody is told. The undo lets them arrive. */
  stall(): Undo;
  /** From now on connections are closed with this code as soon as they are open; 1006, the default: they do not open. */
  refuse(code?: number, reason?: string): Undo;
  /** Refuses a channel from now on, also to those who have it. */
  reject(channel: string): Undo;
  /** What happened before cannot be told any more: all are told so, also those who come back later. Default "epoch". */
  reset(reason?: ResetReason): void;
  /** Tells all that their tokens expire in so many milliseconds. Default 60,000. It does not end them. */
  expiring(inMs?: number): void;
  /** Ends all connections, as their tokens have expired. */
  expire(): void;
  /** Sends all away as a server that is stopped, and is there again at once. Nothing is lost. `retryAfterMs`: default 0. */
  restart(options?: { readonly retryAfterMs?: number }): void;
  /** The browser has no network: lines break, none opens. */
  goOffline(): void;
  goOnline(): void;
  /** The page goes into the background. */
  hide(): void;
  show(): void;
  /** The page is frozen, or goes into the back/forward cache. */
  suspend(): void;
  resume(): void;
  /** Ends everything, without a word. For `afterEach`. */
  close(): void;
}

/** Starts a server. It begins with an empty table. */
export function createTestServer(options: TestServerOptions = {}): TestServer {
  const feed = new Feed();
  const refused = new Set<string>();
  const sessions = new Map<FakeSocket, Session>();
  const traffic = new Traffic();
  const lifecycle = new FakeLifecycle();
  let attempts = 0;
  let isClosed = false;
  let refusal: { code: number; reason: string } | undefined;

  const host: Host = {
    feed,
    refused,
    pingIntervalMs: options.pingIntervalMs ?? 30_000,
    messagesPerMinute: options.messagesPerMinute ?? 100,
    authenticate: options.authenticate,
    permit: options.permit,
  };

  const wire: Wire = {
    accept(socket) {
      if (isClosed || !lifecycle.isOnline() || refusal?.code === 1006) return 1006;
      const session = new Session(`c${attempts}`, socket, host);
      sessions.set(socket, session);
      if (refusal !== undefined) session.close(refusal.code, refusal.reason);
      return undefined;
    },
    heard: (socket, text) => sessions.get(socket)?.hear(text),
    left(socket) {
      sessions.get(socket)?.end();
      sessions.delete(socket);
    },
  };

  class Socket extends FakeSocket {
    constructor(url: string) {
      attempts += 1;
      super(url, wire, traffic);
    }
  }

  const all = () => [...sessions.values()];
  const cutAll = (code?: number) => {
    for (const socket of [...sessions.keys()]) socket.cut(code);
  };
  const deliver = (batch: Batch) => {
    for (const session of all()) session.deliver(batch);
    return batch.cursor;
  };
  const commit = (events: readonly NewEvent[]) => (events.length === 0 ? feed.cursor : deliver(feed.commit(events)));

  return {
    environment: {
      WebSocket: Socket as WebSocketConstructor,
      fetch: undefined,
      storage: undefined,
      lifecycle,
      random: options.random ?? (() => 0.5),
    },
    get connections() {
      return [...sessions].map(([socket, session]) => connection(socket, session));
    },
    get attempts() {
      return attempts;
    },
    get cursor() {
      return feed.cursor;
    },
    emit(event: NewEvent | string, type?: string, payload?: unknown) {
      return commit([typeof event === "string" ? { channel: event, type: type ?? "", payload } : event]);
    },
    commit,
    broadcast(channel, event) {
      for (const session of all()) session.broadcast(channel.split(" "), { payload: {}, ...event });
    },
    cut({ afterFrames = 0, code = 1006 } = {}) {
      if (afterFrames === 0) cutAll(code);
      else for (const socket of sessions.keys()) socket.framesLeft = afterFrames;
    },
    stall() {
      traffic.stall();
      return () => traffic.flow();
    },
    refuse(code = 1006, reason = "") {
      const own = { code, reason };
      refusal = own;
      return () => {
        if (refusal === own) refusal = undefined;
      };
    },
    reject(channel) {
      refused.add(channel);
      for (const session of all()) session.regrant("your token no longer grants this");
      return () => void refused.delete(channel);
    },
    reset(reason = "epoch") {
      feed.lose(reason);
      for (const session of all()) session.reset(reason);
    },
    expiring(inMs = 60_000) {
      for (const session of all()) session.expiring(inMs);
    },
    expire() {
      for (const session of all()) session.expire();
    },
    restart({ retryAfterMs = 0 } = {}) {
      for (const session of all()) {
        const goodbye = { code: "SERVER_SHUTDOWN", reconnect: true, retryAfterMs, ...session.position() };
        session.send({ type: "disconnect", ...goodbye });
        session.close(1012, "the server is shutting down");
      }
    },
    goOffline() {
      lifecycle.tell("offline");
      cutAll();
    },
    goOnline: () => lifecycle.tell("online"),
    hide: () => lifecycle.tell("hidden"),
    show: () => lifecycle.tell("visible"),
    suspend: () => lifecycle.tell("suspend"),
    resume: () => lifecycle.tell("resume"),
    close() {
      isClosed = true;
      cutAll();
    },
  };
}

function connection(socket: FakeSocket, session: Session): TestConnection {
  return {
    id: session.id,
    url: socket.url,
    userId: session.user?.userId,
    channels: session.channels,
    frames: session.frames,
    send: (frame) => session.send(frame),
    close: (code, reason = "") => session.close(code, reason),
  };
}
