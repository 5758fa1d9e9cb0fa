// How the server did, from one look at its counters to the next.

import type { Status } from "../server/api.js";
import { SPAN_S } from "./meter.js";

/** What happened between two looks. */
export interface Stretch {
  /** When it ended, in seconds since 1970. */
  readonly at: number;
  /** How late batches were written, on average; undefined where none was. */
  readonly lagMs: number | undefined;
}

/** Remembers five minutes. */
export class History {
  #stretches: Stretch[] = [];
  #last: Status["lag"] | undefined;

  add({ lag }: Status, nowMs: number): void {
    const last = this.#last;
    this.#last = lag;
    // A server that has restarted counts anew.
    if (!last || lag.batches < last.batches) return;
    const batches = lag.batches - last.batches;
    const at = Math.floor(nowMs / 1_000);
    const lagMs = batches > 0 ? (lag.totalMs - last.totalMs) / batches : undefined;
    this.#stretches = [...this.#stretches.filter((old) => old.at > at - SPAN_S), { at, lagMs }];
  }

  /** For each of the last so many whole seconds what is known of it. */
  last(seconds: number, nowMs: number): (number | undefined)[] {
    const start = Math.floor(nowMs / 1_000) - seconds;
    const values = new Array<number | undefined>(seconds).fill(undefined);
    for (const { at, lagMs } of this.#stretches) if (at >= start && at < start + seconds) values[at - start] = lagMs;
    return values;
  }
}
