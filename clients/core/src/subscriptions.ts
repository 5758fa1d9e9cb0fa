// Who wants what, from where on, and who gets an event. Knows frames, and neither links nor time.

import { overlap, patternsOf } from "./channels.js";
import { rowcastError, wordsOf } from "./error.js";
import { createSeen } from "./seen.js";
import type { ClientFrame, ServerFrame } from "./transport.js";
import type { ClientEvents, FeedEvent, Rejection, Reset, SubscribeOptions, Undo } from "./types.js";

/** One call of `subscribe`. */
interface Entry {
  readonly channel: Channel;
  readonly handler: (event: FeedEvent) => void;
  readonly options: SubscribeOptions;
  /** From where it is to be asked for. Undefined: from where the link is. */
  since: string | undefined;
  /** It asked for a position of its own, and has not caught up with the others. */
  isBehind: boolean;
  /** It is given what comes. */
  isLive: boolean;
  /** The request that asks for it, on this link. */
  request: number | undefined;
  /** A token of its own: undefined before it is asked for, a promise meanwhile. */
  token: string | Promise<void> | undefined;
  /**
   * The times, counted in events, in which it was not given what came though it should: what was handed out to others
   * meanwhile is new to it when it comes again.
   */
  gaps: [from: number, to: number][];
}

interface Channel {
  readonly name: string;
  readonly entries: Set<Entry>;
  /** On this link: asked for, and confirmed by the server. */
  isAsked: boolean;
  isConfirmed: boolean;
  /** It is not asked for again before there is a fresh token. */
  rejection?: Rejection | undefined;
}

/** What was asked of the server and is not answered yet. */
interface Request {
  readonly frame: ClientFrame & { id: number; channels?: string[]; since?: string; tokens?: string[] };
  readonly entries: readonly Entry[];
}

/** A request for the past, until the link is at the present again. */
interface LookBack extends Request {
  /** The server goes back: what comes is older than what others were given. */
  isBack: boolean;
  /** Where the link was before that. */
  before: string | undefined;
}

/** What subscriptions need of the rest of the client. */
export interface SubscriptionsPort {
  /** Says something, where there is a link. */
  readonly send: (frame: ClientFrame) => void;
  readonly emit: <Name extends keyof ClientEvents<object>>(name: Name, value: ClientEvents<object>[Name]) => void;
  /** A handler of the user has thrown. */
  readonly failed: (thrown: unknown) => void;
  /** Something is to be sent, or to be left, once the present task is done. */
  readonly changed: () => void;
  /** Runs something later, if the link is the same. */
  readonly later: (run: () => void, inMs: number) => void;
}

export interface Subscriptions {
  readonly size: () => number;
  readonly cursor: () => string | undefined;
  subscribe(channel: string, handler: (event: FeedEvent) => void, options?: SubscribeOptions): Undo;
  /** A new link is there: what to say on it first. */
  hello(token: string | undefined): ClientFrame;
  /** The server has welcomed the client: the rest may be asked for. */
  welcomed(): void;
  /** Asks for what is wanted and not asked for, and leaves what is not wanted any more. */
  flush(): void;
  /** Sends a fresh token; gives the id of the request. */
  authenticate(token: string): number;
  frame(frame: ServerFrame): void;
  /** The link has ended. */
  lost(): void;
  /** There is another token, or another user: what was refused may be granted now. */
  forgive(): void;
}

/** Frames that say no more than a position, or what the connection knows what to do with. */
const SILENT = ["pong", "cursor", "heartbeat", "auth_expiring", "disconnect"];

/** Characters of the names in one request, so that it stays below the 64 KiB of a message. */
const NAMES_CHARS_MAX = 32_000;

/** Wait before a request is repeated that the server could not look at, unless it says when. In milliseconds. */
const REPEAT_MS = 5_000;

export function createSubscriptions(port: SubscriptionsPort): Subscriptions {
  const channels = new Map<string, Channel>();
  const seen = createSeen();
  let requests = new Map<unknown, Request>();
  let cursor: string | undefined;
  let lastId = 0;
  let isOpen = false;
  /** The request for the past that has not caught up. There is one at a time, so that one cursor is right for all. */
  let lookBack: LookBack | undefined;
  /** Channels in one request: fewer while one of them is sought that the server does not take. */
  let channelsMax = Infinity;
  let isRepeating = false;

  const entries = (): Entry[] => [...channels.values()].flatMap((channel) => [...channel.entries]);

  /** Calls functions of the user, of which none may stop the others. */
  function tell(all: readonly Entry[], call: (options: SubscribeOptions, entry: Entry) => void): void {
    for (const entry of all) {
      try {
        // An earlier one may have undone it.
        if (entry.channel.entries.has(entry)) call(entry.options, entry);
      } catch (thrown) {
        port.failed(thrown);
      }
    }
  }

  function begin(entry: Entry): void {
    entry.isLive = true;
    const gap = entry.gaps.at(-1);
    if (gap) gap[1] = Math.min(gap[1], seen.now());
  }

  /** Gives it nothing until it is confirmed again, from `since` on. */
  function rest(entry: Entry, since: string | undefined): void {
    entry.request = undefined;
    if (!entry.isLive) return;
    entry.isLive = false;
    entry.since = since;
    entry.gaps.push([seen.now(), Infinity]);
  }

  /** What it asked for has come: it is like all others. */
  function caughtUp(entry: Entry): void {
    entry.isBehind = false;
    entry.since = undefined;
    entry.gaps = [];
  }

  /** The position from which on the entry has missed what comes. */
  function placeOf(entry: Entry): string | undefined {
    return lookBack?.isBack && !lookBack.entries.includes(entry) ? lookBack.before : cursor;
  }

  /** Whether somebody asks for history that this one has not asked for. */
  function isOvertaken(entry: Entry): boolean {
    return (
      lookBack !== undefined &&
      !lookBack.entries.includes(entry) &&
      lookBack.entries.some(({ isBehind, channel: { name } }) => isBehind && overlap(name, entry.channel.name))
    );
  }

  function askForToken(entry: Entry): void {
    const asked = Promise.resolve(entry.options.getToken?.()).then(
      (token) => {
        if (entry.token !== asked) return;
        entry.token = token;
        port.changed();
      },
      (thrown) => {
        if (entry.token === asked) reject(entry.channel, "TOKEN", `its getToken failed: ${wordsOf(thrown)}`);
      },
    );
    entry.token = asked;
  }

  /** Whether it is to be asked for now. Where that needs no request, it begins. */
  function isReady(entry: Entry): boolean {
    const { channel, options } = entry;
    if (entry.isLive || entry.request || channel.rejection) return false;
    if (entry.since === undefined && isOvertaken(entry)) {
      entry.since = lookBack?.before;
      return false;
    }
    if (entry.since === undefined && channel.isConfirmed) {
      begin(entry);
      queueMicrotask(() => tell([entry], ({ onSubscribed }) => onSubscribed?.()));
    }
    // Otherwise it comes with the answer that is waited for.
    if (entry.since === undefined && channel.isAsked) return false;
    if (options.getToken && typeof entry.token !== "string") {
      if (!entry.token) askForToken(entry);
      return false;
    }
    return true;
  }

  /** The entries to ask for next, all from the same position. */
  function waiting(): Entry[] {
    const all = entries().filter(isReady);
    const first = all.find(({ since }) => since === undefined) ?? (lookBack ? undefined : all[0]);
    return all.filter(({ since }) => first && since === first.since);
  }

  /** The next request: as many of the channels that wait for the same as go into one. */
  function next(type: "hello" | "subscribe"): Request["frame"] | undefined {
    const names = new Set<string>();
    const tokens = new Set<string>();
    let chars = 0;
    const asked = waiting().filter(({ channel: { name }, token }) => {
      if (!names.has(name)) {
        if (names.size >= channelsMax || chars > NAMES_CHARS_MAX) return false;
        names.add(name);
        chars += name.length;
      }
      if (typeof token === "string") {
        tokens.add(token);
        chars += token.length;
      }
      return true;
    });
    const [first] = asked;
    if (!first && type === "subscribe") return;
    lastId += 1;
    const frame: Request["frame"] = { type, id: lastId, channels: [...names] };
    if (tokens.size) frame.tokens = [...tokens];
    if (first?.since !== undefined) {
      frame.since = first.since;
      lookBack = { frame, entries: asked, isBack: false, before: cursor };
    }
    for (const entry of asked) {
      entry.request = lastId;
      entry.channel.isAsked = true;
    }
    requests.set(lastId, { frame, entries: asked });
    return frame;
  }

  function request(frame: Request["frame"]): void {
    requests.set(frame.id, { frame, entries: [] });
    port.send(frame);
  }

  function flush(): void {
    if (!isOpen) return;
    const left = [...channels.values()].filter((channel) => !channel.entries.size);
    const asked = left.filter((channel) => channel.isAsked).map(({ name }) => name);
    for (const { name } of left) channels.delete(name);
    lastId += 1;
    if (asked.length) request({ type: "unsubscribe", id: lastId, channels: asked });
    for (let frame = next("subscribe"); frame; frame = next("subscribe")) port.send(frame);
  }

  function reject(channel: Channel, code: string, message: string): void {
    const rejection = { channel: channel.name, code, message };
    channel.rejection = rejection;
    renew(channel);
    tell([...channel.entries], ({ onRejected }) => onRejected?.(rejection));
    port.emit("rejected", rejection);
  }

  function subscribed(frame: ServerFrame): void {
    const { id } = frame;
    const asked = requests.get(id);
    requests.delete(id);
    if (channelsMax === 1) channelsMax = Infinity;
    const since = asked?.frame.since;
    const isBack = frame.recovered === true && since !== undefined;
    if (isBack && lookBack) {
      // What comes now is older than what these were given. They go on from where they are, later.
      for (const entry of entries()) if (entry.isLive && isOvertaken(entry)) rest(entry, cursor);
      lookBack.isBack = true;
      lookBack.before = cursor;
      // Before its first event `earliest` has no other name.
      cursor = frame.cursor ?? since;
    } else if (since === undefined) {
      cursor = frame.cursor ?? cursor;
    }
    confirm(listOf(frame.channels), id);
    for (const { channel: name, code, message } of listOf<Rejection>(frame.rejected)) {
      const channel = channels.get(name);
      if (channel) reject(channel, code, message);
    }
    if (since !== undefined && !isBack) endLookBack();
  }

  function confirm(names: readonly string[], id: unknown): void {
    const begun: Entry[] = [];
    for (const name of names) {
      const channel = channels.get(name);
      if (!channel) continue;
      channel.isConfirmed = channel.isAsked = true;
      for (const entry of channel.entries) {
        const isMeant = id === undefined || entry.request === id || (entry.since === undefined && !isOvertaken(entry));
        if (entry.isLive || !isMeant) continue;
        begin(entry);
        begun.push(entry);
      }
    }
    tell(begun, ({ onSubscribed }) => onSubscribed?.());
    if (names.length) port.emit("subscribed", { channels: names });
  }

  function endLookBack(): void {
    const { entries = [] } = lookBack ?? {};
    lookBack = undefined;
    entries.forEach(caughtUp);
    flush();
  }

  /** The server takes channels away by itself. */
  function taken(names: readonly string[], code: string, message: string): void {
    for (const name of names) {
      const channel = channels.get(name);
      if (!channel) port.emit("rejected", { channel: name, code, message });
      else if (code === "TOKEN_EXPIRED" && [...channel.entries].some(({ options }) => options.getToken)) renew(channel);
      else reject(channel, code, message);
    }
    flush();
  }

  /** Asks for a channel once more, with a fresh token of its own. */
  function renew(channel: Channel): void {
    channel.isAsked = channel.isConfirmed = false;
    for (const entry of channel.entries) {
      rest(entry, placeOf(entry));
      entry.token = undefined;
    }
  }

  function reset(reset: Reset, all: readonly Entry[]): void {
    for (const entry of all) {
      // Whoever waits to ask for the past still does.
      if (entry.isBehind && !entry.isLive) continue;
      caughtUp(entry);
      if (entry.channel.isConfirmed) begin(entry);
    }
    tell(all, ({ onReset }) => onReset?.(reset));
    port.emit("reset", reset);
    flush();
  }

  function event(frame: ServerFrame): void {
    const names = listOf(frame.channels);
    const event = { ...(frame.event as object), channels: names } as unknown as FeedEvent;
    const found = new Set<Entry>();
    for (const pattern of names.flatMap(patternsOf)) {
      for (const entry of channels.get(pattern)?.entries ?? []) if (entry.isLive) found.add(entry);
    }
    const last = seen.last(event);
    const owed = [...found].filter(
      ({ gaps }) => last === undefined || gaps.some(([from, to]) => last > from && last <= to),
    );
    if (!owed.length) return;
    seen.note(event);
    tell(owed, (_, { handler }) => handler(event));
  }

  /** The server has refused a request, and nothing was changed by it. */
  function refused(frame: ServerFrame): void {
    const { id, retryAfterMs } = frame;
    const code = String(frame.code);
    const message = String(frame.message);
    const isLater = code === "RATE_LIMIT_EXCEEDED" || code === "UNAVAILABLE";
    const asked = requests.get(id);
    if (isLater) repeat(typeof retryAfterMs === "number" ? retryAfterMs : REPEAT_MS);
    if (isLater || !asked) return void port.emit("error", rowcastError(code, message, { retryable: isLater }));
    requests.delete(id);
    if (lookBack?.frame === asked.frame) lookBack = undefined;
    for (const entry of asked.entries) {
      entry.request = undefined;
      entry.channel.isAsked = entry.channel.isConfirmed;
    }
    const names = asked.frame.channels ?? [];
    if (code === "CURSOR_INVALID") {
      if (asked.frame.since === cursor) cursor = undefined;
      asked.entries.forEach(caughtUp);
      reset({ reason: "cursor_invalid" }, asked.entries);
    } else if (names.length > 1) {
      // One of them may be the reason: it is found by halves.
      channelsMax = Math.ceil(names.length / 2);
    } else {
      channelsMax = Infinity;
      port.emit("error", rowcastError(code, message));
      const channel = channels.get(names[0] ?? "");
      if (channel) reject(channel, code, message);
    }
    if (asked.frame.type === "hello") {
      const { channels: _channels, since: _since, ...rest } = asked.frame;
      lastId += 1;
      request({ ...rest, id: lastId });
    }
    flush();
  }

  /** Asks once more, later, for all that is not answered by then: the server may not say what it did not look at. */
  function repeat(inMs: number): void {
    if (isRepeating) return;
    const mine = requests;
    isRepeating = true;
    port.later(() => {
      isRepeating = false;
      if (mine === requests) for (const { frame } of mine.values()) port.send(frame);
    }, inMs);
  }

  return {
    size: () => entries().length,
    cursor: () => cursor,
    subscribe(name, handler, options = {}) {
      const channel = channels.get(name) ?? { name, entries: new Set(), isAsked: false, isConfirmed: false };
      channels.set(name, channel);
      const { since } = options;
      const isBehind = since !== undefined;
      const entry: Entry = {
        channel,
        handler,
        options,
        since,
        isBehind,
        isLive: false,
        request: undefined,
        token: undefined,
        gaps: [[isBehind ? 0 : seen.now(), Infinity]],
      };
      channel.entries.add(entry);
      port.changed();
      return () => {
        if (channel.entries.delete(entry)) port.changed();
      };
    },
    hello(token) {
      requests = new Map();
      isRepeating = false;
      for (const channel of channels.values()) {
        channel.isAsked = channel.isConfirmed = false;
        // Its token may be got now.
        if (channel.rejection?.code === "TOKEN") channel.rejection = undefined;
      }
      for (const entry of entries()) {
        entry.request = entry.token = undefined;
        entry.since ??= cursor;
      }
      const frame = next("hello") as Request["frame"];
      if (!frame.channels?.length) delete frame.channels;
      return token === undefined ? frame : Object.assign(frame, { token });
    },
    welcomed() {
      isOpen = true;
      flush();
    },
    flush,
    authenticate(token) {
      lastId += 1;
      request({ type: "auth", id: lastId, token });
      return lastId;
    },
    frame(frame) {
      const { id, type } = frame;
      // Of what asks for the past it depends on what was asked.
      if (type === "subscribed") return subscribed(frame);
      if (typeof frame.cursor === "string") cursor = frame.cursor;
      switch (type) {
        case "event":
          return event(frame);
        case "caught_up":
          if (lookBack && (id === undefined || id === lookBack.frame.id)) endLookBack();
          return;
        case "reset":
          lookBack = undefined;
          return reset({ reason: String(frame.reason) }, entries());
        case "welcome":
          if (!requests.get(id)?.frame.channels) requests.delete(id);
          return;
        case "unsubscribed":
          requests.delete(id);
          if (frame.code) taken(listOf(frame.channels), String(frame.code), String(frame.message));
          return;
        case "auth_ok":
          requests.delete(id);
          return;
        case "error":
          return refused(frame);
        default:
          if (!SILENT.includes(type)) port.emit("message", frame);
      }
    },
    lost() {
      isOpen = false;
      for (const entry of entries()) rest(entry, placeOf(entry));
      lookBack = undefined;
    },
    forgive() {
      for (const channel of channels.values()) channel.rejection = undefined;
      port.changed();
    },
  };
}

/** A list of a frame, where there is one. */
function listOf<Item = string>(value: unknown): readonly Item[] {
  return Array.isArray(value) ? value : [];
}
