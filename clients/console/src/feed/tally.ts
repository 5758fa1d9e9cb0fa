// How many events each channel had, as seen by this page.

import type { Entry } from "./entry.js";

/** Most channels that are told apart. A feed may have millions. */
export const CHANNELS_MAX = 10_000;

/** What is known of a channel. */
export interface ChannelTally {
  readonly name: string;
  count: number;
  /** When its last event came, in milliseconds since 1970. */
  lastAt: number;
  lastType: string;
}

/** Counts events by channel. */
export class Tally {
  readonly #channels = new Map<string, ChannelTally>();
  #untold = 0;

  /** Events on channels beyond those that are told apart. */
  get untold(): number {
    return this.#untold;
  }

  get size(): number {
    return this.#channels.size;
  }

  add(entry: Entry): void {
    for (const name of entry.channels.split(" ")) {
      if (!name) continue;
      const known = this.#channels.get(name);
      if (known) {
        known.count += 1;
        known.lastAt = entry.receivedAt;
        known.lastType = entry.type;
      } else if (this.#channels.size < CHANNELS_MAX) {
        this.#channels.set(name, { name, count: 1, lastAt: entry.receivedAt, lastType: entry.type });
      } else {
        this.#untold += 1;
      }
    }
  }

  /** Those with the most events first. */
  top(most: number): ChannelTally[] {
    return [...this.#channels.values()].sort((a, b) => b.count - a.count || (a.name < b.name ? -1 : 1)).slice(0, most);
  }

  clear(): void {
    this.#channels.clear();
    this.#untold = 0;
  }
}
