// One call of `subscribe`, and the channel that it shares with others.

import type { FeedEvent, SubscribeOptions } from "./types.js";

/** One call of `subscribe`. */
export interface Entry {
  readonly channel: Channel;
  readonly handler: (event: FeedEvent) => void;
  readonly options: SubscribeOptions;
  /** From where on it has to be asked for. Undefined: from where the link is. */
  since: string | undefined;
  /** It asked for a position of its own, and has not caught up with the others. */
  isBehind: boolean;
  /** It is given what comes. */
  isLive: boolean;
  /** The request that asked for it on this link. */
  request: number | undefined;
  /** A token of its own; a promise while it is waited for. */
  token: string | Promise<void> | undefined;
  /**
   * The times, counted in events, in which it was given nothing though it should have been: what was handed out to others
   * meanwhile is new to it when it comes again.
   */
  gaps: [after: number, upto: number][];
}

export interface Channel {
  readonly name: string;
  readonly entries: Set<Entry>;
  /** What it is on this link. A refused one is not asked for again before there is a fresh token. */
  state: "unknown" | "asked" | "confirmed" | "refused";
}

/** It is given what comes from now on. */
export function begin(entry: Entry, now: number): void {
  const gap = entry.gaps.at(-1);
  if (gap) gap[1] = Math.min(gap[1], now);
  entry.isLive = true;
  entry.since = undefined;
}

/** It is given nothing until it is confirmed again, and asked for from `cursor` on, unless it was further. */
export function rest(entry: Entry, now: number, cursor: string | undefined): void {
  entry.request = undefined;
  if (!entry.isLive) return;
  entry.isLive = false;
  entry.since ??= cursor;
  entry.gaps.push([now, Infinity]);
}

/** It has what others have. */
export function catchUp(entry: Entry): void {
  entry.isBehind = false;
  entry.since = undefined;
  entry.gaps = [];
}
