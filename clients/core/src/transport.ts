// What lies between a client and a way of reaching the server. Frames are those of docs/PROTOCOL.md, parsed. No code.

import type { Environment, Rejection, TransportName } from "./types.js";

/** A frame as the server sends it. Unknown types and members are ignored. */
export interface ServerFrame {
  readonly type: string;
  readonly id?: number | string;
  readonly cursor?: string;
  readonly [member: string]: unknown;
}

/** The same, with the members that the client looks at. What a server sends is taken to be as documented. */
export interface Heard extends Omit<ServerFrame, "id" | "cursor"> {
  readonly type: string;
  readonly id?: number | string | undefined;
  readonly cursor?: string | undefined;
  readonly code?: string;
  readonly message?: string;
  readonly channels?: readonly string[];
  readonly rejected?: readonly Rejection[];
  readonly recovered?: boolean;
  readonly reason?: string;
  readonly event?: object;
  readonly userId?: string;
  readonly expiresAt?: string;
  readonly reconnect?: boolean;
  readonly retryAfterMs?: number;
}

/** A frame of the client. The first one on a link is `hello`, with the token. */
export type ClientFrame =
  | { type: "hello"; id?: number; token?: string | undefined; channels?: string[]; since?: string; tokens?: string[] }
  | { type: "subscribe"; id: number; channels: string[]; since?: string; tokens?: string[] }
  | { type: "unsubscribe"; id: number; channels: string[] }
  | { type: "auth"; id: number; token: string }
  | { type: "ping"; id?: number };

/** How a link ended, or why it did not begin. Codes are those of WebSockets; HTTP statuses are translated (401 → 4001, 403 → 4003, 429 → 4429). */
export interface LinkEnd {
  readonly code: number;
  readonly reason: string;
  /** Where the server said when to come back. */
  readonly retryAfterMs?: number | undefined;
  /** Come back at once, it was nobody's fault: another tab took over. */
  readonly handedOver?: boolean;
  /** This way is none here, and would not be the next time: another is to be tried. */
  readonly isUnusable?: boolean | undefined;
}

/** What a link tells its client. Nothing is told before `open` has returned, nor after `closed` or the client's own `close()`. */
export interface LinkListener {
  /** The link is there and takes frames. */
  opened(): void;
  frame(frame: ServerFrame): void;
  /** Something came that is no frame: the line is alive. */
  alive(): void;
  closed(end: LinkEnd): void;
}

/** One connection to the server, of whatever kind. Not used again after it ended. */
export interface Link {
  send(frame: ClientFrame): void;
  /** With a code: nothing was heard on it. Who shares it with others need not wait for them to find out. */
  close(code?: number, reason?: string): void;
}

/** What a transport is opened with. */
export interface LinkTarget {
  /** Absolute `ws:` or `wss:` URL of the WebSocket; `/sse` and `/events` are its neighbours. */
  readonly url: string;
  readonly environment: Environment;
  readonly debug: (message: string, details?: unknown) => void;
}

/** A way to reach the server. */
export interface Transport {
  readonly name: TransportName;
  /** @throws where it cannot work at all, as without a WebSocket. */
  open(target: LinkTarget, listener: LinkListener): Link;
  /** Makes one of several, the best first: the one that works. Those of `@rowcast/client/fallback` know how. */
  readonly among?: (ways: readonly Transport[]) => Transport;
  /** It adds something to this one. */
  readonly inner?: Transport;
  /** Adds the same to another, as to one that tabs share: each tab has its own of what is added. */
  readonly around?: (way: Transport) => Transport;
}
