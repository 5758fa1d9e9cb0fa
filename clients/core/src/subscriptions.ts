// What is wanted, and what the server is asked for it: who asks when, from where on, and who gets an event. Knows frames,
// and neither links nor time.

import { patternsOf } from "./channels.js";
import type { Emitter } from "./emitter.js";
import { ASKED, type Channel, CONFIRMED, type Entry, REFUSED, UNKNOWN } from "./entry.js";
import { rowcastError } from "./error.js";
import type { Question } from "./request.js";
import { createSeen } from "./seen.js";
import { createTimer } from "./timer.js";
import type { ClientFrame, Heard } from "./transport.js";
import type { FeedEvent, Rejection, Reset, SubscribeOptions, Undo } from "./types.js";

/** Channels in one request: with the longest names, and a token for each, it is below the 64 KiB of a message. */
const CHANNELS_MAX = 100;

/** Wait before a request is repeated that the server could not look at, unless it says when. In milliseconds. */
const REPEAT_MS = 5_000;

/** Frames that have told all with their position, or are for others. What is none of ours is a message to the user. */
const IGNORED = /^(pong|cursor|heartbeat|auth_expiring|disconnect)$/;

/** What subscriptions need of the rest of the client. */
export interface SubscriptionsPort extends Pick<Emitter, "emit" | "guard"> {
  /** Says something, where there is a link. */
  readonly send: (frame: ClientFrame) => void;
  /** Something is to be sent, or to be left, once the present task is done. */
  readonly changed: () => void;
}

export interface Subscriptions {
  readonly size: () => number;
  readonly cursor: () => string | undefined;
  subscribe(channel: string, handler: (event: FeedEvent) => void, options?: SubscribeOptions): Undo;
  /** A new link is there: what to say on it first. */
  hello(token: string | undefined): ClientFrame;
  /** Asks for what is wanted and not asked for, and leaves what is not wanted any more. */
  flush(): void;
  /** Sends a fresh token; gives the id of the request. */
  auth(token: string): number;
  frame(frame: Heard): void;
  /** The link has ended. */
  lost(): void;
}

export function createSubscriptions({ send, changed, emit, guard }: SubscriptionsPort): Subscriptions {
  const channels = new Map<string, Channel>();
  const all = new Set<Entry>();
  const { next: number, look } = createSeen();
  const repetition = createTimer();
  let requests = new Map<unknown, Question>();
  /** The last position that was told. */
  let cursor: string | undefined;
  let lastId = 0;
  let isOpen = false;
  /** The request for the past, until it has caught up. There is one at a time. */
  let lookBack: number | undefined;
  /** It is of somebody who asks for more than others have. These rest meanwhile, and go on later from where they were. */
  let isOvertaken = false;
  /** Where the link was before it. */
  let before: string | undefined;
  /** Where it stayed when it was asked to begin elsewhere. If it is there once it has caught up, that is the place. */
  let early: string | undefined;
  /** Fewer while a channel is sought that the server does not take. */
  let channelsMax = CHANNELS_MAX;
  /** Who asks. */
  let lastToken: string | undefined;
  let userId: string | undefined;

  /** Calls functions of the user. */
  function tell(entries: Iterable<Entry>, call: (options: SubscribeOptions, entry: Entry) => void): void {
    // An earlier one may have undone a later one.
    for (const entry of [...entries]) if (all.has(entry)) guard(() => call(entry.options, entry));
  }

  /** It is given what comes from now on. */
  function begin(entry: Entry): void {
    entry.isLive = true;
    entry.since = undefined;
  }

  function start(entries: readonly Entry[]): void {
    entries.forEach(begin);
    tell(entries, ({ onSubscribed }) => onSubscribed?.());
  }

  /** It is given nothing until it is confirmed again, and goes on from here. */
  function rest(entry: Entry): void {
    if (!entry.isLive) return;
    entry.isLive = false;
    entry.request = undefined;
    entry.since = cursor;
  }

  /** It has what others have. */
  function catchUp(entry: Entry): void {
    entry.since = undefined;
    entry.after = number();
  }

  function askForToken(entry: Entry): void {
    const { channel, options } = entry;
    const mine = requests;
    entry.token = null;
    Promise.resolve(channel.name)
      .then(options.getToken)
      .then(
        (token) => {
          if (mine === requests) entry.token = token ?? "";
          changed();
        },
        // It is asked for again on the next link.
        (thrown) => deny({ channel: channel.name, code: "TOKEN", message: `getToken failed: ${thrown}` }),
      );
  }

  /** Whether it is to be asked for now. Where that needs no request, it begins. */
  function isReady(entry: Entry): boolean {
    const { channel, isLive, request, token } = entry;
    if (isLive || request || channel.state === REFUSED) return false;
    if (entry.since === undefined) {
      // The link tells of a time that this one has not asked for.
      if (isOvertaken) return false;
      if (channel.state === CONFIRMED) start([entry]);
      // If it is asked for, it comes with that answer.
      if (channel.state !== UNKNOWN) return false;
    } else if (lookBack) return false;
    if (entry.options.getToken && token === undefined) askForToken(entry);
    return entry.token !== null;
  }

  /** The next request: as many of the channels that wait for the same position as go into one. */
  function next(type: "hello" | "subscribe"): Question | undefined {
    const waiting = [...all].filter(isReady);
    const first = waiting.find(({ since }) => since === undefined) ?? waiting[0];
    if (!first && type === "subscribe") return;
    const names = new Set<string>();
    const tokens = new Set<string>();
    const entries = waiting.filter(({ since, token, channel: { name } }) => {
      if (since !== first?.since || (!names.has(name) && names.size >= channelsMax)) return false;
      names.add(name);
      if (token) tokens.add(token);
      return true;
    });
    const frame: Question = { type, id: ++lastId };
    if (first) frame.channels = [...names];
    if (tokens.size) frame.tokens = [...tokens];
    if (first?.since !== undefined) {
      frame.since = first.since;
      lookBack = lastId;
      isOvertaken = entries.some(({ after }) => !after);
    }
    for (const entry of entries) {
      entry.request = lastId;
      entry.channel.state = ASKED;
    }
    requests.set(lastId, frame);
    return frame;
  }

  function flush(): void {
    if (!isOpen) return;
    const left: string[] = [];
    for (const { name, entries, state } of channels.values()) {
      if (entries.size) continue;
      channels.delete(name);
      if (state > UNKNOWN) left.push(name);
    }
    if (left.length) send({ type: "unsubscribe", id: ++lastId, channels: left });
    for (let frame = next("subscribe"); frame; frame = next("subscribe")) send(frame as ClientFrame);
  }

  /** There is another token, or another user: what was refused may be granted now. */
  function forgive(): void {
    for (const channel of channels.values()) if (channel.state === REFUSED) channel.state = UNKNOWN;
    changed();
  }

  /** The server does not send it any more. */
  function leave(name: string, state: Channel["state"]): void {
    const channel = channels.get(name);
    if (!channel) return;
    channel.state = state;
    for (const entry of channel.entries) {
      rest(entry);
      entry.request = entry.token = undefined;
    }
  }

  function refuse(rejection: Rejection): void {
    leave(rejection.channel, REFUSED);
    deny(rejection);
  }

  function deny(rejection: Rejection): void {
    tell(channels.get(rejection.channel)?.entries ?? [], ({ onRejected }) => onRejected?.(rejection));
    emit("rejected", rejection);
  }

  /** The server takes channels away by itself. */
  function taken({ channels: names = [], message = "" }: Heard, code: string): void {
    for (const channel of names) {
      // The token of a channel is asked for anew.
      if (code === "TOKEN_EXPIRED") leave(channel, UNKNOWN);
      else refuse({ channel, code, message });
    }
    flush();
  }

  function subscribed({ id, channels: names = [], rejected = [], cursor: position, recovered }: Heard): void {
    let since = requests.get(id)?.since;
    requests.delete(id);
    if (channelsMax === 1) channelsMax = CHANNELS_MAX;
    const isPast = since !== undefined;
    const from = position ?? ((recovered && since) || cursor);
    if (recovered && since !== "earliest" && position && position === cursor && position !== since) {
      // The link has yet to come to where they begin, or is there: a database has other words for the same position.
      early = position;
      since = undefined;
      isOvertaken = false;
    } else if (recovered && isOvertaken) {
      before = cursor;
      all.forEach(rest);
    }
    cursor = from;
    const meant: Entry[] = [];
    for (const channel of names.map((name) => channels.get(name))) {
      if (!channel) continue;
      channel.state = CONFIRMED;
      for (const entry of channel.entries) {
        const isMeant = entry.since === since || (entry.since === undefined && !isOvertaken);
        if (isMeant && !entry.isLive) meant.push(entry);
      }
    }
    start(meant);
    emit("subscribed", { channels: names });
    rejected.forEach(refuse);
    if (isPast && !recovered) caughtUp();
  }

  function endLookBack(): void {
    lookBack = before = early = undefined;
    isOvertaken = false;
  }

  function caughtUp(): void {
    const here = [...all].filter(({ request, isLive }) => early && early === cursor && request === lookBack && !isLive);
    for (const entry of all) {
      if (entry.isLive || here.includes(entry)) catchUp(entry);
      else {
        if (entry.request === lookBack) entry.request = undefined;
        // It came while others went back.
        entry.since ??= before;
      }
    }
    endLookBack();
    start(here);
    flush();
  }

  function reset(reset: Reset, entries: Iterable<Entry>): void {
    for (const entry of entries) {
      // Whoever waits to ask for the past still does.
      if (!entry.after && !entry.isLive && entry.request !== lookBack) continue;
      catchUp(entry);
      if (entry.channel.state === CONFIRMED) begin(entry);
    }
    endLookBack();
    tell(entries, ({ onReset }) => onReset?.(reset));
    emit("reset", reset);
    flush();
  }

  function event({ event, channels: names = [] }: Heard): void {
    const told = { ...event, channels: names } as unknown as FeedEvent;
    const known = look(told);
    const owed = new Set<Entry>();
    for (const pattern of names.flatMap(patternsOf)) {
      for (const entry of channels.get(pattern)?.entries ?? []) {
        if (!entry.isLive || known.number < entry.after || known.had.has(entry.number)) continue;
        owed.add(entry);
      }
    }
    for (const entry of owed) known.had.add(entry.number);
    tell(owed, (_, { handler }) => handler(told));
  }

  /** The server has refused a request, and nothing was changed by it. */
  function failed({ id, code = "", message = "", retryAfterMs = REPEAT_MS }: Heard): void {
    const asked = requests.get(id);
    const { channels: names = [] } = asked ?? {};
    const isLater = code === "RATE_LIMIT_EXCEEDED" || code === "UNAVAILABLE";
    // It may not say what it did not look at: whatever is not answered by then.
    const repeat = (): void => {
      for (const frame of requests.values()) if (frame.type !== "hello") send(frame as ClientFrame);
    };
    if (isLater) repetition.set(repeat, retryAfterMs);
    if (isLater || !names[1]) emit("error", rowcastError(code, message, isLater));
    if (isLater || !asked) return;
    const entries = [...all].filter(({ request }) => request === id);
    requests.delete(id);
    if (lookBack === id) endLookBack();
    for (const entry of entries) {
      entry.request = undefined;
      entry.channel.state = UNKNOWN;
    }
    // Nobody knows yet who is asking.
    if (asked.type === "hello") send({ type: "hello", id: ++lastId, token: lastToken });
    if (code === "CURSOR_INVALID") {
      if (asked.since === cursor) cursor = undefined;
      entries.forEach(catchUp);
      reset({ reason: "cursor_invalid" }, entries);
    } else {
      // If they are several, one of them may be the reason: it is found by halves.
      channelsMax = names[1] ? Math.ceil(names.length / 2) : CHANNELS_MAX;
      if (!names[1]) for (const channel of names) refuse({ channel, code, message });
    }
    flush();
  }

  return {
    size: () => all.size,
    cursor: () => cursor,
    subscribe(name, handler, options = {}) {
      const channel = channels.get(name) ?? { name, entries: new Set(), state: UNKNOWN };
      channels.set(name, channel);
      const { since } = options;
      const made = number();
      const after = since === undefined ? made : 0;
      const blank = { isLive: false, request: undefined, token: undefined };
      const entry: Entry = { channel, handler, options, number: made, since, after, ...blank };
      all.add(entry);
      channel.entries.add(entry);
      changed();
      return () => {
        all.delete(entry);
        channel.entries.delete(entry);
        changed();
      };
    },
    hello(token) {
      requests = new Map();
      endLookBack();
      for (const channel of channels.values()) {
        if (channel.state !== REFUSED || token !== lastToken) channel.state = UNKNOWN;
      }
      for (const entry of all) {
        entry.request = entry.token = undefined;
        entry.since ??= cursor;
      }
      lastToken = token;
      // The server takes one request after the other: the rest may follow.
      isOpen = true;
      changed();
      return { ...next("hello"), token } as ClientFrame;
    },
    flush,
    auth(token) {
      lastToken = token;
      send({ type: "auth", id: ++lastId, token });
      return lastId;
    },
    frame(frame) {
      const { type, code } = frame;
      if (type === "subscribed") {
        // What its position means depends on what was asked.
        subscribed(frame);
        return;
      }
      cursor = frame.cursor ?? cursor;
      switch (type) {
        case "event":
          event(frame);
          break;
        case "error":
          failed(frame);
          break;
        case "reset":
          reset({ reason: frame.reason ?? "" }, all);
          break;
        case "caught_up":
          caughtUp();
          break;
        case "unsubscribed":
          if (code) taken(frame, code);
          break;
        case "auth_ok":
          forgive();
          break;
        case "welcome":
          if (userId && frame.userId !== userId) forgive();
          userId = frame.userId;
          break;
        default:
          if (!IGNORED.test(type)) emit("message", frame);
      }
    },
    lost() {
      isOpen = false;
      repetition.clear();
      all.forEach(rest);
    },
  };
}
