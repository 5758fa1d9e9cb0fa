// A link made of requests: channels and positions are in the address, and whatever is asked for opens the next request.

import type { Heard, Link, LinkEnd, LinkListener, LinkTarget, ServerFrame } from "../transport.js";
import type { Rejection } from "../types.js";

/** What becomes of an HTTP status; others are as if the line were cut. */
const CODES: Record<number, number> = { 400: 4400, 401: 4001, 403: 4003, 429: 4429, 503: 1013 };
/** There is no such service here, or somebody between does not let it through. */
const ABSENT = [404, 405, 414, 426, 501];

/** Channels that were asked for and are not confirmed. */
interface Ask {
  readonly type: string;
  readonly id?: number;
  readonly channels?: readonly string[];
  readonly since?: string;
}

/** What a way of listening does with its link. */
export interface Listening {
  /** How many positions are asked for, at least one: each of them is answered. */
  readonly positions: number;
  /** Asks the server; undefined where it has refused, which is told. */
  request(path: string, position: string, more?: Record<string, string>): Promise<Response | undefined>;
  /** What was asked for is there, but for what is rejected; `cursor` is where it begins. */
  confirm(cursor: string | undefined, rejected?: readonly Rejection[]): void;
  caughtUp(cursor: string | undefined): void;
  /** Passes a frame on. */
  tell(frame: Heard): void;
  alive(): void;
  end(end: LinkEnd): void;
  /** Another request listens now, or none. */
  readonly isOver: () => boolean;
}

/** `listen` runs until the server ends it; it is called anew whenever something else is asked for. */
export function openHttpLink(
  { url, environment: { fetch = globalThis.fetch } }: LinkTarget,
  { opened, frame: pass, alive, closed }: LinkListener,
  listen: (listening: Listening) => Promise<void>,
): Link {
  const confirmed = new Set<string>();
  const tokens = new Set<string>();
  /** They are asked one after the other, so that an answer is to one of them. */
  const asks: Ask[] = [];
  /** Who waits to be told that it has caught up. */
  let behind: Ask[] = [];
  let token: string | undefined;
  let cursor: string | undefined;
  let current = new AbortController();
  let soon = setTimeout(opened, 0);

  /** From where on to ask. The server goes back to the earliest: what is known already comes again, and is dropped. */
  function positions(): Set<string> {
    return new Set([cursor, asks[0]?.since].filter((since) => since !== undefined));
  }

  function tell(frame: Heard): void {
    cursor = frame.cursor ?? cursor;
    // Nobody is told any more that it has caught up.
    if (frame.type === "reset") behind = [];
    pass(frame as ServerFrame);
  }

  function close(): void {
    clearTimeout(soon);
    current.abort();
  }

  /** What is asked for in one go is one request. */
  function restart(): void {
    close();
    soon = setTimeout(start, 0);
  }

  async function start(): Promise<void> {
    current = new AbortController();
    const { signal } = current;
    const isStale = (): boolean => signal.aborted;
    const end = (end: LinkEnd): void => {
      if (isStale()) return;
      close();
      closed(end);
    };
    const [ask] = asks;
    const channels = [...confirmed, ...(ask?.channels ?? [])];
    const request: Listening["request"] = async (path, position, more) => {
      const query = new URLSearchParams({ ...more, channels: channels.join() });
      for (const since of positions()) query.append(position, since);
      for (const permit of tokens) query.append("channel_token", permit);
      const headers: Record<string, string> = token === undefined ? {} : { authorization: `Bearer ${token}` };
      const address = new URL(`${path}?${query}`, url.replace("ws", "http"));
      const response = await fetch(address.href, { headers, signal, cache: "no-store" });
      if (response.ok) return response;
      const { status } = response;
      const { error = "", message = `answered with ${status}` } = await response.json().catch(() => ({}));
      if (isStale()) return;
      if (error === "forbidden")
        confirm(
          cursor,
          channels.map((channel) => ({ channel, code: "FORBIDDEN", message })),
        );
      else if (status === 400 && ask) {
        asks.shift();
        tell({ type: "error", id: ask.id, code: error.toUpperCase(), message });
        restart();
      } else {
        const retryAfterMs = Number(response.headers.get("retry-after")) * 1000 || undefined;
        end({ code: CODES[status] ?? 1006, reason: message, isUnusable: ABSENT.includes(status), retryAfterMs });
      }
    };
    try {
      if (channels.length)
        await listen({
          positions: positions().size || 1,
          request,
          confirm,
          caughtUp,
          tell,
          alive,
          end,
          isOver: isStale,
        });
      else confirm(undefined);
      if (confirmed.size) end({ code: 1006, reason: "the answer ended" });
    } catch (thrown) {
      end({ code: 1006, reason: `${thrown}` });
    }
  }

  function confirm(position: string | undefined, rejected: readonly Rejection[] = []): void {
    const ask = asks.shift();
    const refused = new Set(rejected.map(({ channel }) => channel));
    const lost = [...confirmed].filter((name) => refused.has(name));
    for (const name of lost) confirmed.delete(name);
    if (lost.length)
      tell({ type: "unsubscribed", channels: lost, code: "FORBIDDEN", message: rejected[0]?.message ?? "" });
    if (!ask) return;
    const { type, id, channels: names, since } = ask;
    if (type === "hello") tell({ type: "welcome", id });
    if (names) {
      const channels = names.filter((name) => !refused.has(name));
      for (const name of channels) confirmed.add(name);
      const recovered = since !== undefined && channels.length > 0;
      if (recovered) behind.push(ask);
      // The beginning has no other name.
      cursor = position ?? (recovered ? since : cursor);
      const mine = rejected.filter(({ channel }) => names.includes(channel));
      tell({ type: "subscribed", id, channels, rejected: mine, cursor: position, recovered });
    }
    if (asks.length) restart();
  }

  function caughtUp(cursor: string | undefined): void {
    for (const { id } of behind.splice(0)) tell({ type: "caught_up", id, cursor });
  }

  return {
    send(frame) {
      const { type } = frame;
      if ("token" in frame) token = frame.token;
      if (type === "auth") tell({ type: "auth_ok", id: frame.id });
      else if (type === "unsubscribe") for (const name of frame.channels) confirmed.delete(name);
      else if (type !== "ping") {
        asks.push(frame);
        for (const permit of frame.tokens ?? []) tokens.add(permit);
      }
      // Whether the line is alive shows the next answer.
      restart();
    },
    close,
  };
}
