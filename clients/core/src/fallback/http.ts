// A link made of requests: channels and positions are in the address, and whatever is asked for opens the next request.

import type { ClientFrame, Heard, Link, LinkEnd, LinkListener, LinkTarget } from "../transport.js";
import type { Rejection } from "../types.js";

/** What becomes of an HTTP status that is not 200. Others are as if the line were cut. */
const CODES: Record<number, number> = { 401: 4001, 403: 4003, 429: 4429, 503: 1013 };
/** There is no such service here, or somebody between does not let it through. */
const ABSENT = [404, 405, 414, 426, 501];

/** Channels that were asked for and are not confirmed. */
interface Ask {
  readonly id: number | undefined;
  readonly channels: readonly string[];
  readonly since: string | undefined;
}

/** The body of an answer that is none. */
interface Problem {
  readonly error?: string;
  readonly message?: string;
}

/** What a way of listening does with its link. */
export interface Listening {
  /** Asks the server; undefined when nothing of what was asked for is granted. */
  request(path: string, position: string, parameters?: Record<string, string>): Promise<Response | undefined>;
  /** What was asked for is there, but for what is rejected; `cursor` is where it begins. */
  confirm(rejected: readonly Rejection[], cursor: string | undefined): void;
  caughtUp(cursor: string): void;
  /** Passes a frame on. */
  tell(frame: Heard): void;
  alive(): void;
  /** Whether this one was stopped: another request listens now, or none. */
  readonly isOver: () => boolean;
}

/** Why a request failed. */
export class Failure extends Error {
  readonly end: LinkEnd;

  constructor(end: LinkEnd) {
    super(end.reason);
    this.end = end;
  }
}

/** `listen` runs until the server ends it; it is called anew whenever something else is asked for. */
export function openHttpLink(
  { url, environment: { fetch } }: LinkTarget,
  listener: LinkListener,
  listen: (listening: Listening) => Promise<void>,
): Link {
  if (!fetch) throw new Error("there is no fetch here; pass `environment: { fetch }`");
  const channels = new Set<string>();
  const tokens = new Set<string>();
  let asks: Ask[] = [];
  /** Who waits to be told that it has caught up. */
  let behind: (number | undefined)[] = [];
  let token: string | undefined;
  let cursor: string | undefined;
  let isWelcome = false;
  let isOver = false;
  let current = new AbortController();
  let soon: ReturnType<typeof setTimeout> | undefined;

  function tell(frame: Heard): void {
    cursor = frame.cursor ?? cursor;
    if (!isOver) listener.frame(frame);
  }

  function welcome(): void {
    if (!isWelcome) tell({ type: "welcome" });
    isWelcome = true;
  }

  function close(): void {
    isOver = true;
    clearTimeout(soon);
    current.abort();
  }

  function end(end: LinkEnd): void {
    if (isOver) return;
    close();
    listener.closed(end);
  }

  /** What is asked for in one go is one request. */
  function restart(): void {
    current.abort();
    clearTimeout(soon);
    soon = setTimeout(start, 0);
  }

  async function start(): Promise<void> {
    if (!channels.size) return welcome();
    current = new AbortController();
    const { signal } = current;
    try {
      await listen({
        request: (...asked) => request(signal, ...asked),
        confirm,
        caughtUp,
        tell,
        alive: listener.alive,
        isOver: () => signal.aborted,
      });
      if (!signal.aborted && channels.size) end({ code: 1006, reason: "the server ended the answer" });
    } catch (thrown) {
      if (!signal.aborted) end(thrown instanceof Failure ? thrown.end : { code: 1006, reason: String(thrown) });
    }
  }

  async function request(
    signal: AbortSignal,
    path: string,
    position: string,
    parameters = {},
  ): Promise<Response | undefined> {
    const address = new URL(path, url.replace(/^ws/, "http"));
    const query = new URLSearchParams({ channels: [...channels].join(), ...parameters });
    // The server begins at the earliest of them: what is known already comes again, and is dropped.
    for (const since of new Set([...asks.map(({ since }) => since), cursor])) if (since) query.append(position, since);
    for (const permit of tokens) query.append("channel_token", permit);
    address.search = `${query}`;
    const headers: Record<string, string> = token === undefined ? {} : { authorization: `Bearer ${token}` };
    const response = await (fetch as typeof globalThis.fetch)(address.href, { headers, signal, cache: "no-store" });
    listener.alive();
    if (response.ok) return response;
    const problem: Problem = await response.json().catch(() => ({}));
    if (!signal.aborted) refused(response, problem);
    return undefined;
  }

  function refused({ status, headers }: Response, { error = "", message = `answered with ${status}` }: Problem): void {
    if (status === 403 && error === "forbidden") {
      confirm(
        [...channels].map((channel) => ({ channel, code: "FORBIDDEN", message })),
        cursor,
      );
      return;
    }
    if (status === 400 && asks.length) {
      const failed = asks;
      asks = [];
      for (const { id, channels: names } of failed) {
        for (const name of names) channels.delete(name);
        tell({ type: "error", ...(id === undefined ? {} : { id }), code: error.toUpperCase(), message });
      }
      restart();
      return;
    }
    const retryAfterMs = Number(headers.get("retry-after")) * 1000;
    throw new Failure({
      code: status === 400 ? 4400 : (CODES[status] ?? 1006),
      reason: message,
      ...(retryAfterMs ? { retryAfterMs } : {}),
      ...(ABSENT.includes(status) ? { isUnusable: true } : {}),
    });
  }

  function confirm(rejected: readonly Rejection[], position: string | undefined): void {
    const isRejected = (channel: string): boolean => rejected.some((one) => one.channel === channel);
    const asked = asks;
    asks = [];
    const lost = [...channels].filter(
      (name) => isRejected(name) && !asked.some(({ channels }) => channels.includes(name)),
    );
    for (const { channel } of rejected) channels.delete(channel);
    welcome();
    for (const { id, channels: names, since } of asked) {
      const own = names.filter((name) => !isRejected(name));
      const recovered = since !== undefined && own.length > 0;
      if (recovered) behind.push(id);
      // The beginning has no other name.
      cursor = position ?? (recovered ? since : cursor);
      tell({
        type: "subscribed",
        ...(id === undefined ? {} : { id }),
        channels: own,
        rejected: rejected.filter(({ channel }) => names.includes(channel)),
        ...(position === undefined ? {} : { cursor: position }),
        recovered,
      });
    }
    if (lost.length)
      tell({ type: "unsubscribed", channels: lost, code: "FORBIDDEN", message: rejected[0]?.message ?? "" });
  }

  function caughtUp(position: string): void {
    const ids = behind;
    behind = [];
    for (const id of ids) tell({ type: "caught_up", ...(id === undefined ? {} : { id }), cursor: position });
  }

  function subscribe(frame: ClientFrame & { type: "hello" | "subscribe" }): void {
    const { id, channels: names = [], since } = frame;
    asks.push({ id, channels: names, since });
    for (const name of names) channels.add(name);
    for (const permit of frame.tokens ?? []) tokens.add(permit);
  }

  soon = setTimeout(listener.opened, 0);
  return {
    send(frame) {
      if (frame.type === "hello") {
        token = frame.token;
        isWelcome = false;
      }
      if (frame.type === "hello" || frame.type === "subscribe") subscribe(frame);
      else if (frame.type === "unsubscribe") for (const name of frame.channels) channels.delete(name);
      else if (frame.type === "auth") {
        token = frame.token;
        setTimeout(() => tell({ type: "auth_ok", id: frame.id }), 0);
      }
      // Whether the line is alive shows the next answer.
      restart();
    },
    close,
  };
}
