// One connection of the fake server: what the client says, and what it is answered (docs/PROTOCOL.md).

import type { ServerFrame } from "../transport.js";
import { channelError, matches, narrow } from "./channels.js";
import type { Batch, Feed, Row } from "./feed.js";
import { Reader } from "./reader.js";
import type { FakeSocket } from "./socket.js";

/** Whom a token names, and what it grants. */
export interface TestUser {
  readonly userId?: string;
  /** Channels and patterns. Default: `["*"]`. `inbox:<userId>` and `user:<userId>` are always granted. */
  readonly channels?: readonly string[];
  /** Milliseconds until the token expires. Default: never. */
  readonly expiresInMs?: number;
}

/** What a connection needs of its server. */
export interface Host {
  readonly feed: Feed;
  readonly refused: ReadonlySet<string>;
  readonly pingIntervalMs: number;
  readonly messagesPerMinute: number;
  readonly authenticate: ((token: string) => TestUser | undefined) | undefined;
  readonly permit: ((token: string) => string | undefined) | undefined;
}

type Said = Readonly<Record<string, unknown>>;
/** What is wrong with a request. */
class Refusal extends Error {
  readonly code: string;
  readonly more: object;
  constructor(code: string, message: string, more: object = {}) {
    super(message);
    this.code = code;
    this.more = more;
  }
}

const CHANNELS_MAX = 1_000;
const MINUTE_MS = 60_000;
/** How long before its end the bearer of a token is told. */
const WARNING_MS = 60_000;
/** Longer waits overflow setTimeout. */
const TIMER_MAX_MS = 2 ** 31 - 1;
const NOT_GRANTED = "your token does not grant this channel";

export class Session {
  readonly id: string;
  /** What the client has said, in order. */
  readonly frames: Said[] = [];
  user: TestUser | undefined;

  private readonly socket: FakeSocket;
  private readonly host: Host;
  /** What was asked for and not wholly refused, and what of it is received. */
  private readonly asked = new Map<string, readonly string[]>();
  private permits: string[] = [];
  private readonly reader: Reader;
  private readonly timers = new Set<ReturnType<typeof setTimeout>>();
  private expiry: ReturnType<typeof setTimeout>[] = [];
  private minuteBegan = Number.NEGATIVE_INFINITY;
  private messages = 0;

  constructor(id: string, socket: FakeSocket, host: Host) {
    this.id = id;
    this.socket = socket;
    this.host = host;
    this.reader = new Reader(host.feed, {
      send: (batch, patterns) =>
        this.sendBatch(
          batch,
          this.parts().filter((part) => patterns.includes(part)),
        ),
      caughtUp: (requests) => {
        for (const withId of requests) this.send({ type: "caught_up", ...withId, cursor: host.feed.cursor });
      },
    });
    if (host.authenticate === undefined) this.user = {};
    const token = new URL(socket.url, "ws://test").searchParams.get("token");
    if (token !== null) this.handle(undefined, () => this.identify(token, undefined, false));
  }

  /** What it is subscribed to, as it asked. */
  get channels(): readonly string[] {
    return [...this.asked.keys()];
  }

  send(frame: ServerFrame): void {
    this.socket.push(JSON.stringify(frame));
  }

  close(code: number, reason: string): void {
    this.socket.finish(code, reason);
  }

  hear(text: string): void {
    if (!this.isWithinLimit()) return;
    let said: Said;
    try {
      said = JSON.parse(text);
    } catch {
      this.send({ type: "error", code: "INVALID_MESSAGE", message: "not JSON" });
      return;
    }
    this.frames.push(said);
    const id = said.id as string | number | undefined;
    this.handle(id, () => this.answer(said, id));
  }

  /** Sends what of a commit belongs to it. Who is behind comes to it. */
  deliver(batch: Batch): void {
    if (!this.reader.isBehind) this.sendBatch(batch, this.parts());
  }

  /** Sends what is no row. */
  broadcast(channels: readonly string[], event: unknown): void {
    if (this.isWanted({ channels }, this.parts())) this.send({ type: "event", channels, event });
  }

  /** Takes away what is no longer granted, and tells the client. */
  regrant(message: string): void {
    const before = [...this.asked];
    for (const [pattern] of before) this.admit(pattern);
    const kept = this.parts();
    const gone = before.filter(([pattern]) => !this.asked.has(pattern)).map(([pattern]) => pattern);
    const lost = new Set([...gone, ...before.flatMap(([, parts]) => parts)]);
    // What it still gets by a wider pattern is not lost.
    const channels = [...lost].filter((pattern) => narrow(pattern, kept)[0] !== pattern).sort();
    if (channels.length > 0) this.send({ type: "unsubscribed", channels, code: "FORBIDDEN", message });
  }

  expiring(inMs: number): void {
    this.send({ type: "auth_expiring", inMs });
  }

  expire(): void {
    this.send({ type: "disconnect", code: "TOKEN_EXPIRED", reconnect: false, ...this.position() });
    this.close(4001, "the token has expired");
  }

  /** Its position, where it has one: not while it is sent what it missed. */
  position(): { cursor?: string } {
    return this.asked.size > 0 && !this.reader.isBehind ? { cursor: this.host.feed.cursor } : {};
  }

  /** What it has missed cannot be told: it goes on from the present. */
  reset(reason: string): void {
    this.reader.stop();
    if (this.asked.size > 0) this.send({ type: "reset", reason, cursor: this.host.feed.cursor });
  }

  /** It has gone. */
  end(): void {
    this.reader.stop();
    for (const timer of [...this.timers, ...this.expiry]) clearTimeout(timer);
  }

  private handle(id: string | number | undefined, work: () => void): void {
    try {
      work();
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      const { code, message, more } = error;
      this.send({ type: "error", ...(id === undefined ? {} : { id }), code, message, ...more });
      if (this.user === undefined) this.close(4001, message);
    }
  }

  private answer(said: Said, id: string | number | undefined): void {
    const withId = id === undefined ? {} : { id };
    const type = said.type;
    if (type === "hello") this.checkSubscribe(said);
    if (type === "hello" && typeof said.token === "string" && this.host.authenticate !== undefined) {
      this.identify(said.token, id, false);
    }
    if (type === "auth") this.identify(text(said, "token"), id, true);
    else if (this.user === undefined) throw new Refusal("UNAUTHORIZED", "a token is needed: send it in hello");
    else if (type === "hello") {
      this.welcome(withId);
      if (list(said, "channels").length > 0) this.subscribe(said, withId);
    } else if (type === "subscribe") this.subscribe(said, withId);
    else if (type === "unsubscribe") {
      const channels = list(said, "channels", true);
      for (const channel of channels) this.asked.delete(channel);
      this.send({ type: "unsubscribed", ...withId, channels });
    } else if (type === "ping") this.send({ type: "pong", ...withId, ...this.position() });
    else throw new Refusal("INVALID_MESSAGE", `unknown type ${JSON.stringify(type)}`);
  }

  private welcome(withId: object): void {
    const { pingIntervalMs, messagesPerMinute } = this.host;
    const limits = { channels: CHANNELS_MAX, messageBytes: 65_536, messagesPerMinute };
    const who = this.who();
    const rest = { connectionId: this.id, ...who, ...this.position(), limits, pingIntervalMs, server: "rowcast/test" };
    this.send({ type: "welcome", ...withId, protocol: 1, ...rest });
    if (this.timers.size === 0) this.beat();
  }

  private who(): object {
    const { userId, expiresInMs } = this.user ?? {};
    const expiresAt = expiresInMs === undefined ? undefined : new Date(Date.now() + expiresInMs).toISOString();
    return { ...(userId === undefined ? {} : { userId }), ...(expiresAt === undefined ? {} : { expiresAt }) };
  }

  private beat(): void {
    const timer = setTimeout(() => {
      this.timers.delete(timer);
      this.send({ type: "heartbeat", ...this.position() });
      this.beat();
    }, this.host.pingIntervalMs);
    this.timers.add(timer);
  }

  private identify(token: string, id: string | number | undefined, isAnswered: boolean): void {
    const user = this.host.authenticate === undefined ? {} : this.host.authenticate(token);
    if (user === undefined) throw new Refusal("UNAUTHORIZED", "the token is not accepted");
    if (this.user !== undefined && this.user.userId !== user.userId) {
      throw new Refusal("FORBIDDEN", "the token is another user's; open a new connection for it");
    }
    this.user = user;
    this.regrant("your token no longer grants this");
    this.awaitExpiry(user.expiresInMs);
    if (isAnswered) this.send({ type: "auth_ok", ...(id === undefined ? {} : { id }), ...this.who() });
  }

  private awaitExpiry(inMs: number | undefined): void {
    for (const timer of this.expiry) clearTimeout(timer);
    this.expiry = [];
    if (inMs === undefined || inMs > TIMER_MAX_MS) return;
    const warn = () => this.expiring(Math.min(inMs, WARNING_MS));
    this.expiry = [setTimeout(warn, Math.max(0, inMs - WARNING_MS)), setTimeout(() => this.expire(), inMs)];
  }

  private checkSubscribe(said: Said): void {
    for (const channel of list(said, "channels")) {
      const wrong = channelError(channel);
      if (wrong !== undefined) throw new Refusal("INVALID_CHANNEL", `${JSON.stringify(channel)}: ${wrong}`);
    }
    const since = said.since === undefined ? "now" : text(said, "since");
    if (!this.host.feed.isCursor(since)) {
      throw new Refusal("CURSOR_INVALID", '"since" is "now", "earliest" or a cursor of this server');
    }
    list(said, "tokens");
  }

  private subscribe(said: Said, withId: object): void {
    this.checkSubscribe(said);
    const channels = [...new Set(list(said, "channels", true))];
    const since = (said.since as string | undefined) ?? "now";
    this.permit(list(said, "tokens"));
    const fresh = channels.filter((channel) => !this.asked.has(channel));
    if (this.asked.size + fresh.length > CHANNELS_MAX) {
      throw new Refusal("CHANNEL_LIMIT", `at most ${CHANNELS_MAX} channels`, { limit: CHANNELS_MAX });
    }
    for (const channel of channels) this.admit(channel);
    const admitted = channels.filter((channel) => this.asked.has(channel));
    const parts = [...new Set(admitted.flatMap((channel) => this.asked.get(channel) ?? []))].sort();
    const isNarrowed = admitted.some((channel) => this.asked.get(channel)?.[0] !== channel);
    const rejected = channels
      .filter((channel) => !this.asked.has(channel))
      .map((channel) => ({ channel, code: "FORBIDDEN", message: NOT_GRANTED }));
    const recovered = admitted.length > 0 && since !== "now";
    this.send({
      type: "subscribed",
      ...withId,
      channels: admitted,
      ...(rejected.length > 0 ? { rejected } : {}),
      ...(isNarrowed ? { granted: parts } : {}),
      ...(recovered ? this.reader.earlierThan(since) : this.position()),
      recovered,
    });
    if (recovered) this.catchUp(since, parts, withId);
    else for (const part of parts) this.reader.join(part);
  }

  private catchUp(since: string, patterns: readonly string[], withId: object): void {
    const found = this.host.feed.after(since);
    if ("reset" in found) this.reset(found.reset);
    else {
      const others = this.parts().filter((part) => !patterns.includes(part));
      this.reader.goBack(found.next, patterns, others, withId);
    }
  }

  /** What is received of all that was asked for. */
  private parts(): readonly string[] {
    return [...this.asked.values()].flat();
  }

  private sendBatch({ rows, cursor }: Batch, patterns: readonly string[]): void {
    const wanted = rows.filter((row) => this.isWanted(row, patterns));
    for (const row of wanted) this.send({ type: "event", ...row, ...(row === rows.at(-1) ? { cursor } : {}) });
    if (wanted.length > 0 && wanted.at(-1) !== rows.at(-1)) this.send({ type: "cursor", cursor });
  }

  private isWanted({ channels }: Pick<Row, "channels">, patterns: readonly string[]): boolean {
    return channels.some((channel) => patterns.some((pattern) => matches(pattern, channel)));
  }

  private permit(tokens: readonly string[]): void {
    for (const token of tokens) {
      const channel = this.host.permit?.(token);
      if (channel === undefined) throw new Refusal("FORBIDDEN", `"tokens": one of them is not accepted`);
      this.permits.push(channel);
    }
  }

  private admit(pattern: string): void {
    const parts = this.host.refused.has(pattern) ? [] : narrow(pattern, this.grants());
    if (parts.length > 0) this.asked.set(pattern, parts);
    else this.asked.delete(pattern);
  }

  private grants(): readonly string[] {
    const { userId, channels = ["*"] } = this.user ?? { channels: [] };
    const own = userId === undefined ? [] : [`inbox:${userId}`, `user:${userId}`];
    return [...channels, ...own, ...this.permits];
  }

  /** Counts a message. One beyond the limit is answered with an error, and not looked at. */
  private isWithinLimit(): boolean {
    const limit = this.host.messagesPerMinute;
    if (Date.now() - this.minuteBegan >= MINUTE_MS) {
      this.minuteBegan = Date.now();
      this.messages = 0;
    }
    this.messages += 1;
    if (this.messages <= limit) return true;
    const retryAfterMs = this.minuteBegan + MINUTE_MS - Date.now() + 1;
    const message = `at most ${limit} messages a minute; this one was not looked at`;
    this.send({ type: "error", code: "RATE_LIMIT_EXCEEDED", message, limit, retryAfterMs });
    if (this.messages > 10 * limit) this.close(4429, `at most ${limit} messages a minute`);
    return false;
  }
}

function text(said: Said, member: string): string {
  const value = said[member];
  if (typeof value !== "string") throw new Refusal("INVALID_MESSAGE", `"${member}" is missing, or no text`);
  return value;
}

function list(said: Said, member: string, isRequired = false): readonly string[] {
  const value = said[member] ?? (isRequired ? undefined : []);
  if (!Array.isArray(value) || (isRequired && value.length === 0) || value.some((item) => typeof item !== "string")) {
    throw new Refusal("INVALID_MESSAGE", `"${member}" is missing, or no list of texts`);
  }
  return value;
}
