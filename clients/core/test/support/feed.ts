// A server in memory, by the rules of docs/PROTOCOL.md, that does one thing at a time: whatever is under way can be cut.

import { patternsOf } from "../../src/channels.js";
import type { ClientFrame, Link, LinkEnd, LinkListener, ServerFrame, Transport } from "../../src/index.js";

export interface Row {
  /** Position after it: rows are numbered by their commits. */
  readonly position: number;
  readonly id: number;
  readonly channels: readonly string[];
  readonly createdAt: string;
}

/** What one link is subscribed to. */
interface Interest {
  /** Rows up to here are not wanted. */
  from: number;
}

export const cursorAt = (position: number): string => `c${position}`;
export const placeOf = (cursor: string): number => (cursor === "earliest" ? 0 : Number(cursor.slice(1)));

export class Feed {
  readonly rows: Row[] = [];
  readonly links: Session[] = [];
  /** Rows up to here were deleted. */
  retainedFrom = 0;
  /** Channels that nobody is granted. */
  readonly refused = new Set<string>();

  get end(): number {
    return this.rows.length;
  }

  /** The link that is there, if there is one. */
  get link(): Session | undefined {
    return this.links.find((link) => !link.isOver);
  }

  insert(...channels: string[]): Row {
    const position = this.end + 1;
    // Ids are given out before the commit: they are not in its order.
    const id = position % 2 ? position + 1 : position - 1;
    const row = { position, id, channels, createdAt: `t${position}` };
    this.rows.push(row);
    return row;
  }

  readonly transport: Transport = {
    name: "ws",
    open: (_target, listener) => {
      const session = new Session(this, listener);
      this.links.push(session);
      return session;
    },
  };
}

export class Session implements Link {
  /** What the client has said and the server has not read; what the server has said and the client has not heard. */
  readonly inbox: ClientFrame[] = [];
  readonly outbox: ServerFrame[] = [];
  /** All that was said. */
  readonly said: ClientFrame[] = [];
  isOver = false;
  isOpen = false;
  private readonly interests = new Map<string, Interest>();
  private asked: unknown[] = [];
  private position: number;
  private hasGreeted = false;

  private readonly feed: Feed;
  private readonly listener: LinkListener;

  constructor(feed: Feed, listener: LinkListener) {
    this.feed = feed;
    this.listener = listener;
    this.position = feed.end;
  }

  send(frame: ClientFrame): void {
    this.inbox.push(frame);
    this.said.push(frame);
  }

  close(): void {
    this.isOver = true;
  }

  open(): void {
    this.isOpen = true;
    this.listener.opened();
  }

  end(end: Partial<LinkEnd> = {}): void {
    if (this.isOver) return;
    this.isOver = true;
    this.listener.closed({ code: 1006, reason: "", ...end });
  }

  /** Reads what the client has said first. */
  read(): boolean {
    const frame = this.inbox.shift();
    if (frame === undefined) return false;
    this.answer(frame);
    return true;
  }

  /** Gives the client what waits first. */
  deliver(): boolean {
    const frame = this.outbox.shift();
    if (frame === undefined || this.isOver) return false;
    this.listener.frame(frame);
    return true;
  }

  /** Reads one batch of rows, of at most `size`, and says what of it is wanted. */
  work(size: number): boolean {
    if (this.position >= this.feed.end) return this.catchUp();
    const batch = this.feed.rows.slice(this.position, this.position + size);
    const wanted = batch.filter((row) => row.channels.some((channel) => this.wants(channel, row.position)));
    this.position += batch.length;
    const cursor = cursorAt(this.position);
    for (const row of wanted) {
      const isLast = row === batch.at(-1);
      const { id, channels, createdAt } = row;
      const event = { id, type: "row", payload: row.position, createdAt };
      this.outbox.push({ type: "event", channels, event, ...(isLast ? { cursor } : {}) });
    }
    if (wanted.length > 0 && wanted.at(-1) !== batch.at(-1)) this.outbox.push({ type: "cursor", cursor });
    this.catchUp();
    return true;
  }

  private catchUp(): boolean {
    if (this.position < this.feed.end || this.asked.length === 0) return false;
    for (const id of this.asked)
      this.outbox.push({ type: "caught_up", cursor: cursorAt(this.position), id: id as number });
    this.asked = [];
    return true;
  }

  private wants(channel: string, position: number): boolean {
    return patternsOf(channel).some((pattern) => {
      const interest = this.interests.get(pattern);
      return interest !== undefined && position > interest.from;
    });
  }

  private answer(frame: ClientFrame): void {
    switch (frame.type) {
      case "hello":
        this.hasGreeted = true;
        this.outbox.push({ type: "welcome", protocol: 1, ...(frame.id === undefined ? {} : { id: frame.id }) });
        if (frame.channels) this.subscribe(frame.id, frame.channels, frame.since);
        return;
      case "subscribe":
        if (!this.hasGreeted) throw new Error("subscribe before hello");
        this.subscribe(frame.id, frame.channels, frame.since);
        return;
      case "unsubscribe":
        for (const channel of frame.channels) this.interests.delete(channel);
        this.outbox.push({ type: "unsubscribed", id: frame.id, channels: frame.channels });
        return;
      case "ping":
        this.outbox.push({ type: "pong", ...this.present() });
        return;
      case "auth":
        this.outbox.push({ type: "auth_ok", id: frame.id });
    }
  }

  /** A position that is true for all, where there is one. */
  private present(): { cursor?: string } {
    const isPresent = this.asked.length === 0 && this.interests.size > 0;
    return isPresent ? { cursor: cursorAt(this.position) } : {};
  }

  private subscribe(id: number | undefined, all: readonly string[], since = "now"): void {
    const isRefused = (channel: string): boolean => this.feed.refused.has(channel);
    const channels = all.filter((channel) => !isRefused(channel));
    const message = "your token does not grant this channel";
    const rejected = all.filter(isRefused).map((channel) => ({ channel, code: "FORBIDDEN", message }));
    const isFirst = this.interests.size === 0;
    if (since === "now") this.subscribeNow(channels);
    if (isFirst) this.position = this.feed.end;
    // Good for all that the link has: the earlier of where it is and what is asked for.
    const earlier = isFirst ? placeOf(since) : Math.min(this.position, placeOf(since));
    const told = since === "now" ? this.present() : since === "earliest" ? {} : { cursor: cursorAt(earlier) };
    this.outbox.push({
      type: "subscribed",
      ...(id === undefined ? {} : { id }),
      channels,
      ...(rejected.length ? { rejected } : {}),
      ...told,
      recovered: since !== "now" && channels.length > 0,
    });
    if (since !== "now" && channels.length > 0) this.goBack(id, channels, since, isFirst);
  }

  private subscribeNow(channels: readonly string[]): void {
    if (this.interests.size === 0) this.position = this.feed.end;
    // Who is catching up is given what comes after the present; others what was not handed out yet.
    const from = this.asked.length ? this.feed.end : this.position;
    for (const channel of channels) this.interests.set(channel, this.interests.get(channel) ?? { from });
  }

  private goBack(id: number | undefined, channels: readonly string[], since: string, isFirst: boolean): void {
    const wanted = placeOf(since);
    const own = (from: number): void => {
      for (const channel of channels) this.interests.set(channel, this.interests.get(channel) ?? { from });
    };
    if (since !== "earliest" && wanted < this.feed.retainedFrom) {
      own(this.feed.end);
      this.asked = [];
      this.outbox.push({ type: "reset", reason: "retention", cursor: cursorAt(this.position) });
      return;
    }
    this.asked.push(id);
    if (isFirst) this.position = wanted;
    if (wanted >= this.position) {
      own(wanted);
      return;
    }
    for (const interest of this.interests.values()) interest.from = Math.max(interest.from, this.position);
    for (const channel of channels) this.interests.set(channel, { from: wanted });
    this.position = wanted;
  }
}
