// What tabs and their hub tell each other.

import type { ClientFrame, LinkEnd, ServerFrame } from "../transport.js";

/** What a hub tells: a frame; an end; a number; or that something came which is no frame. */
export type Told = ServerFrame | LinkEnd | typeof HI | typeof OPENED | undefined;

/** The answer to a tab that joins, while the line is not open. */
export const HI = 0;
/** The same where it is; and to all, once it is. */
export const OPENED = 1;

/**
 * Of a hub: which it is, the how manieth it is, for which tab (empty: for all), what it is. Each tab sees all of them, and so
 * knows when it has missed one.
 */
export type HubMessage = readonly [generation: number, number: number, to: string, what: Told];

/** Of a tab: which it is, to which hub. Without a frame it joins whichever there is; 0: the line is dead. */
export type TabMessage = readonly [tab: string, generation: number, frame?: ClientFrame | 0, nothing?: undefined];
export type Message = HubMessage | TabMessage;

/** Come back at once: the hub has changed, or something got lost. */
export const HANDED_OVER: LinkEnd = { code: 1012, reason: "", handedOver: true };
/** Come back at once, with a connection of your own. */
export const ALONE: LinkEnd = { ...HANDED_OVER, code: 1 };
