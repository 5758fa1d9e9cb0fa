// One call of `subscribe`, and the channel that it shares with others.

import type { FeedEvent, SubscribeOptions } from "./types.js";

/** Not asked for again before there is a fresh token. */
export const REFUSED = -1;
export const UNKNOWN = 0;
export const ASKED = 1;
export const CONFIRMED = 2;

/** One call of `subscribe`. */
export interface Entry {
  readonly channel: Channel;
  readonly handler: (event: FeedEvent) => void;
  readonly options: SubscribeOptions;
  /** Tells it apart from others, and when it was made: of the numbers of events. */
  readonly number: number;
  /** From where on it has to be asked for. Undefined: from where the link is, or it is live. */
  since: string | undefined;
  /** It is given what comes. */
  isLive: boolean;
  /** The request that asked for it on this link. */
  request: number | undefined;
  /** A token of its own; null while it is waited for. */
  token: string | null | undefined;
  /**
   * Events up to this number are not new to it when they come again: they were before its time, or it has had them. 0: it
   * asked for a position of its own, and has not caught up with the others.
   */
  after: number;
}

export interface Channel {
  readonly name: string;
  readonly entries: Set<Entry>;
  /** What it is on this link. */
  state: typeof REFUSED | typeof UNKNOWN | typeof ASKED | typeof CONFIRMED;
}
