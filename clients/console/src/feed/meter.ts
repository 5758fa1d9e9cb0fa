// Rate and lag of what this page receives, second by second.

/** How far the charts look back, in seconds. */
export const SPAN_S = 300;

/** One second. Lags are milliseconds; undefined where nothing came. */
export interface Second {
  readonly at: number;
  readonly events: number;
  readonly meanLagMs: number | undefined;
  readonly maxLagMs: number | undefined;
}

interface Bucket {
  /** Seconds since 1970. */
  at: number;
  events: number;
  lagged: number;
  lagMs: number;
  maxLagMs: number;
}

/** Counts events of the last five minutes. */
export class Meter {
  readonly #buckets: Bucket[] = Array.from({ length: SPAN_S }, () => ({
    at: -1,
    events: 0,
    lagged: 0,
    lagMs: 0,
    maxLagMs: 0,
  }));

  /** An event came now. `lagMs` is undefined where it tells nothing, as of history that was asked for. */
  add(nowMs: number, lagMs: number | undefined): void {
    const bucket = this.#bucket(Math.floor(nowMs / 1_000));
    bucket.events += 1;
    if (lagMs === undefined) return;
    // Clocks differ by a little; nothing arrives before it was.
    const lag = Math.max(0, lagMs);
    bucket.lagged += 1;
    bucket.lagMs += lag;
    bucket.maxLagMs = Math.max(bucket.maxLagMs, lag);
  }

  /** The last so many whole seconds, the oldest first. The present one is not over. */
  last(seconds: number, nowMs: number): Second[] {
    const end = Math.floor(nowMs / 1_000);
    return Array.from({ length: seconds }, (_, index) => this.#second(end - seconds + index));
  }

  #bucket(at: number): Bucket {
    const bucket = this.#buckets[at % SPAN_S] as Bucket;
    if (bucket.at !== at) Object.assign(bucket, { at, events: 0, lagged: 0, lagMs: 0, maxLagMs: 0 });
    return bucket;
  }

  #second(at: number): Second {
    const bucket = this.#buckets[((at % SPAN_S) + SPAN_S) % SPAN_S];
    if (bucket?.at !== at) return { at, events: 0, meanLagMs: undefined, maxLagMs: undefined };
    const { events, lagged, lagMs, maxLagMs } = bucket;
    const hasLag = lagged > 0;
    return {
      at,
      events,
      meanLagMs: hasLag ? lagMs / lagged : undefined,
      maxLagMs: hasLag ? maxLagMs : undefined,
    };
  }
}
