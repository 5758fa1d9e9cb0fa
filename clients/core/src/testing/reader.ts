// What a connection missed, one commit after the other, while the feed goes on. As the real server: it is one feed in one
// order, so who asks for the past holds the connection back until it is at the present again.

import type { Batch, Feed } from "./feed.js";

/** What a reader tells its connection. */
export interface ReaderPort {
  send(batch: Batch, patterns: readonly string[]): void;
  /** These requests have caught up. */
  caughtUp(requests: readonly object[]): void;
}

export class Reader {
  private readonly feed: Feed;
  private readonly port: ReaderPort;
  /** The next commit to be read; undefined: it is at the present. */
  private next: number | undefined;
  /** From which commit on each pattern is wanted, where that is not all. */
  private readonly from = new Map<string, number>();
  private requests: object[] = [];

  constructor(feed: Feed, port: ReaderPort) {
    this.feed = feed;
    this.port = port;
  }

  get isBehind(): boolean {
    return this.next !== undefined;
  }

  /** Goes back to a commit with some patterns; the others are wanted from where they are. */
  goBack(to: number, patterns: readonly string[], others: readonly string[], request: object): void {
    const present = this.next ?? this.feed.length;
    for (const pattern of others) this.from.set(pattern, Math.max(present, this.from.get(pattern) ?? 0));
    for (const pattern of patterns) this.from.set(pattern, to);
    this.requests.push(request);
    const isRunning = this.isBehind;
    this.next = Math.min(to, present);
    if (!isRunning) void this.run();
  }

  /** The position to come back with, for who asks for the past while it is behind already: the earlier one. */
  earlierThan(since: string): { cursor?: string } {
    const found = this.feed.after(since);
    if (since === "earliest" || "reset" in found) return since === "earliest" ? {} : { cursor: since };
    return { cursor: this.feed.cursorAt(Math.min(found.next, this.next ?? found.next)) };
  }

  /** A pattern is wanted from now on. */
  join(pattern: string): void {
    if (this.isBehind && !this.from.has(pattern)) this.from.set(pattern, this.feed.length);
  }

  /** It is at the present, whatever there was. */
  stop(): void {
    this.next = undefined;
    this.requests = [];
    this.from.clear();
  }

  private async run(): Promise<void> {
    // Events may be committed between any two.
    for (let turn = Promise.resolve(); this.next !== undefined; turn = Promise.resolve()) {
      await turn;
      if (this.next === undefined) return;
      const batch = this.feed.batch(this.next);
      if (batch === undefined) {
        const { requests } = this;
        this.stop();
        this.port.caughtUp(requests);
        return;
      }
      const at = this.next;
      this.next += 1;
      const wanted = [...this.from].filter(([, from]) => from <= at).map(([pattern]) => pattern);
      this.port.send(batch, wanted);
    }
  }
}
