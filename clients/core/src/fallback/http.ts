// A link made of requests: channels and positions are in the address, and whatever is asked for opens the next request.
// It is one long answer, or answers one after the other.

import type { Heard, Link, LinkListener, LinkTarget, ServerFrame } from "../transport.js";
import { eventStreamParser } from "./event-stream.js";

/** What becomes of an HTTP status; others are as if the line were cut. */
const CODES: Record<number, number> = { 400: 4400, 401: 4001, 403: 4003, 429: 4429, 503: 1013 };

/** How long the server may wait until it answers. Below the interval of heartbeats, and what proxies cut. */
const WAIT = "25s";
/** Pause where the server does not wait, as while it stops, in milliseconds. */
const PAUSE_MS = 1_000;

/** Told of every channel that is refused; there is no other reason. */
const DENIAL = { code: "FORBIDDEN", message: "not granted by your token" };

/** Channels that were asked for and are not confirmed. */
interface Ask {
  readonly type: string;
  readonly id?: number;
  readonly channels?: readonly string[];
  readonly since?: string;
}

/** What `GET /events` answers. */
interface Answer {
  readonly events: readonly Heard[];
  readonly cursor: string;
  readonly more: boolean;
  readonly reset?: string;
  readonly rejected?: readonly string[];
}

/** Opens nothing before there is a channel. */
export function openHttpLink(
  { url, environment: { fetch } }: LinkTarget,
  { opened, frame: pass, alive, closed }: LinkListener,
  isStream: boolean,
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
    const [ask] = asks;
    const channels = [...confirmed, ...(ask?.channels ?? [])];
    /** When the server wants to see the client again. */
    let retryAfterMs: number | undefined;

    function end(reason: string, code = 1006, isUnusable?: boolean): void {
      if (signal.aborted) return;
      close();
      closed({ code, reason, isUnusable, retryAfterMs });
    }

    /** Asks the server; undefined where it has refused, which is told. */
    async function request(path: string, name: string, more?: Record<string, string>): Promise<Response | undefined> {
      const query = new URLSearchParams({ ...more, channels: channels.join() });
      // The server goes back to the earliest: what is known already comes again, and is dropped.
      for (const since of new Set([cursor, asks[0]?.since])) if (since) query.append(name, since);
      for (const permit of tokens) query.append("channel_token", permit);
      const headers: Record<string, string> = token ? { authorization: `Bearer ${token}` } : {};
      const address = new URL(`${path}?${query}`, url.replace("ws", "http"));
      const response = await (fetch as typeof globalThis.fetch)(address.href, { headers, signal, cache: "no-store" });
      if (response.ok) return response;
      const { status } = response;
      const { error = "", message = `HTTP ${status}` } = await response.json().catch(() => ({}));
      if (signal.aborted) return;
      if (error === "forbidden") confirm(cursor, channels);
      else if (status === 400 && ask) {
        asks.shift();
        tell({ type: "error", id: ask.id, code: error.toUpperCase(), message });
        restart();
      } else {
        retryAfterMs = Number(response.headers.get("retry-after")) * 1000 || undefined;
        const code = CODES[status];
        // With another 4xx there is no such service here, or somebody between does not let it through.
        end(message, code, !code && status < 500);
      }
    }

    async function stream(): Promise<void> {
      const response = await request("sse", "since");
      if (!response) return;
      const reader = response.body?.getReader();
      if (!reader || !response.headers.get("content-type")?.includes("event-stream")) {
        end("no event stream", 1006, true);
        return;
      }
      // Each position is answered.
      let confirmations = cursor && ask?.since && ask.since !== cursor ? 2 : 1;
      let endings = confirmations;
      const read = eventStreamParser(({ data, id, retry }) => {
        // What came with the same piece is heard by nobody any more.
        if (signal.aborted) return;
        retryAfterMs = Number(retry) || retryAfterMs;
        const frame: Heard = { cursor: id, ...(data ? JSON.parse(data) : { type: "cursor" }) };
        const { type, rejected = [] } = frame;
        if (type === "subscribed") {
          if (!--confirmations)
            confirm(
              frame.cursor,
              rejected.map(({ channel }) => channel),
            );
        } else if (type === "caught_up") {
          if (!--endings) caughtUp(frame.cursor);
        } else tell(frame);
      });
      const decoder = new TextDecoder();
      for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
        alive();
        read(decoder.decode(piece.value, { stream: true }));
      }
    }

    async function poll(): Promise<void> {
      // The first is answered at once: what was asked for is to be confirmed.
      for (let wait = "0"; ; ) {
        const startedAt = Date.now();
        const response = await request("events", "after", { wait });
        if (!response) return;
        const { events, cursor, more, reset, rejected }: Answer = await response.json();
        if (signal.aborted) return;
        alive();
        confirm(undefined, rejected);
        if (reset) tell({ type: "reset", reason: reset, cursor });
        events.forEach(tell);
        tell({ type: "cursor", cursor });
        if (!more) caughtUp(cursor);
        if (wait === WAIT && !events[0] && Date.now() - startedAt < PAUSE_MS) {
          await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
        }
        wait = more ? "0" : WAIT;
      }
    }

    try {
      if (channels[0]) await (isStream ? stream() : poll());
      else confirm();
      if (confirmed.size) end("ended");
    } catch (thrown) {
      end(`${thrown}`);
    }
  }

  /** What was asked for is there, but for what is rejected; `position` is where it begins. */
  function confirm(position?: string, rejected: readonly string[] = []): void {
    const ask = asks.shift();
    const lost = rejected.filter((name) => confirmed.delete(name));
    if (lost[0]) tell({ type: "unsubscribed", channels: lost, ...DENIAL });
    if (!ask) return;
    const { type, id, channels: names, since } = ask;
    if (type === "hello") tell({ type: "welcome", id });
    if (names) {
      const channels = names.filter((name) => !rejected.includes(name));
      for (const name of channels) confirmed.add(name);
      const recovered = !!since && !!channels[0];
      if (recovered) behind.push(ask);
      // The beginning has no other name.
      cursor = position ?? ((recovered && since) || cursor);
      const mine = names.filter((name) => rejected.includes(name)).map((channel) => ({ channel, ...DENIAL }));
      tell({ type: "subscribed", id, channels, rejected: mine, cursor: position, recovered });
    }
    if (asks[0]) restart();
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
