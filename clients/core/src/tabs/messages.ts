// What tabs and their hub tell each other.

import type { ClientFrame, LinkEnd, ServerFrame } from "../transport.js";

/** What tabs need of the browser. */
export interface TabsScope {
  readonly navigator?: { readonly locks?: Pick<LockManager, "request"> };
  readonly BroadcastChannel?: new (name: string) => Channel;
}

/** The part of a BroadcastChannel that is used. */
export type Channel = Pick<BroadcastChannel, "onmessage" | "postMessage" | "close">;

/** The answer to a tab that joins; its value says whether the line is open. */
export const HI = 0;
/** The line is open. */
export const OPENED = 1;
/** A frame of the server. */
export const FRAME = 2;
/** Something came that is no frame; or the hub is new. */
export const ALIVE = 3;
/** It is over. Without a value: this tab is better alone. */
export const END = 4;

export type Told =
  | readonly [what: typeof HI, isOpen: boolean]
  | readonly [what: typeof OPENED, nothing?: undefined]
  | readonly [what: typeof FRAME, frame: ServerFrame]
  | readonly [what: typeof ALIVE, nothing?: undefined]
  | readonly [what: typeof END, end?: LinkEnd];

/**
 * Of a hub: which it is, the how manieth it is, for which tab (empty: for all), what it is. Each tab sees all of them, and
 * so knows when it has missed one.
 */
export type HubMessage = readonly [generation: number, number: number, to: string, ...Told];
/** Of a tab: which it is, to which hub. Without a frame it joins whichever there is. */
export type TabMessage = readonly [
  tab: string,
  generation: number,
  frame?: ClientFrame | "dead",
  nothing?: undefined,
  none?: undefined,
];
export type Message = HubMessage | TabMessage;

/** Come back at once: the hub has changed, or something got lost. */
export const HANDED_OVER: LinkEnd = { code: 1012, reason: "", handedOver: true };
