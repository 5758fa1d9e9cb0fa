// The table of events of the fake server: what was committed, and positions in it.

/** An event to be inserted, as a backend would. */
export interface NewEvent {
  /** One or several channels. */
  readonly channel: string | readonly string[];
  /** As `task.created`. */
  readonly type: string;
  /** Default: `{}`. */
  readonly payload?: unknown;
  readonly previous?: unknown;
  readonly entityId?: string;
  readonly actor?: string;
  readonly traceId?: string;
  /** The mutation of a client that caused it. */
  readonly origin?: string;
  /** Default: now. */
  readonly createdAt?: string;
}

/** A row as frames have it. */
export interface Row {
  readonly channels: readonly string[];
  readonly event: { readonly id: number; readonly type: string; readonly [member: string]: unknown };
}

/** Why what was missed cannot be told. */
export type ResetReason = "epoch" | "retention" | "too_far" | (string & {});

/** What comes after a position: the number of the next commit; or it cannot be told. */
export type Found = { readonly next: number } | { readonly reset: ResetReason };

/** What one transaction has committed, and the position after it. */
export interface Batch {
  readonly rows: readonly Row[];
  readonly cursor: string;
}

/** Positions are text that says nothing to a client: the database's number, and how many transactions there were. */
export class Feed {
  private epoch = 1;
  private batches: Batch[] = [];
  private lastId = 0;
  private lost: { readonly before: number; readonly reason: ResetReason } | undefined;

  /** The position of now. */
  get cursor(): string {
    return this.cursorAt(this.length);
  }

  /** The position after so many commits. */
  cursorAt(length: number): string {
    return `fake-${this.epoch}-${length}`;
  }

  /** How many commits there were. */
  get length(): number {
    return this.batches.length;
  }

  /** A commit by its number, from 0. */
  batch(number: number): Batch | undefined {
    return this.batches[number];
  }

  commit(events: readonly NewEvent[]): Batch {
    const rows = events.map((event) => this.row(event));
    const cursor = this.cursorAt(this.length + 1);
    const batch = { rows, cursor };
    this.batches.push(batch);
    return batch;
  }

  /** Whether a text is a position, here or in a database of a real server. */
  isCursor(since: string): boolean {
    return /^(now|earliest|fake-\d+-\d+|A[\w-]{11,})$/.test(since);
  }

  /** What comes after a position. */
  after(since: string): Found {
    if (since === "earliest") return { next: this.lost?.before ?? 0 };
    const [epoch, position] = since.split("-").slice(1).map(Number) as [number, number];
    if (epoch !== this.epoch || position > this.batches.length) return { reset: "epoch" };
    if (this.lost !== undefined && position < this.lost.before) return { reset: this.lost.reason };
    return { next: position };
  }

  /** Forgets what there was: another database took its place, or its history was deleted. */
  lose(reason: ResetReason): void {
    if (reason === "epoch") {
      this.epoch += 1;
      this.batches = [];
      this.lost = undefined;
    } else this.lost = { before: this.batches.length, reason };
  }

  private row({ channel, type, payload = {}, previous, createdAt, ...rest }: NewEvent): Row {
    this.lastId += 1;
    const channels = typeof channel === "string" ? channel.split(" ") : channel;
    const before = previous === undefined ? {} : { previous };
    const time = createdAt ?? new Date().toISOString();
    // What goes over a wire is a copy.
    const event = JSON.parse(JSON.stringify({ id: this.lastId, type, ...rest, payload, ...before, createdAt: time }));
    return { channels, event };
  }
}
