// What tabs and their hub tell each other. Constants are here, as bundlers put those of other files in their places.

import type { ClientFrame, LinkEnd, ServerFrame } from "../transport.js";

/** What a hub tells: a frame, how the link has ended, or one of the below; nothing where something came that is no frame. */
export type Told = ServerFrame | End | typeof OPENING | typeof OPEN | typeof HANDED_OVER | typeof ALONE | undefined;
export type End = LinkEnd & { readonly type?: undefined };

/** The answer to a tab that joins, before the line is open. */
export const OPENING = 0;
/** The same, once it is; and to all, when it is. */
export const OPEN = 1;
/** Come back at once: something got lost, or it was the affair of another tab. */
export const HANDED_OVER = 2;
/** Come back at once, with a connection of your own. */
export const ALONE = 3;

/** A leader that has not answered for so long, or twice as long, hangs: another tab takes its place. */
export const PATIENCE_MS = 3_000;

/**
 * Of a hub: which it is, the how manieth it is, for which tab (empty: for all), what it is. Each tab sees all of them, and so
 * knows when it has missed one.
 */
export type HubMessage = readonly [generation: number, number: number, to: string, what: Told];

/** Of a tab: which it is (no number), to which hub. Without a frame it joins whichever there is; 0: the line is dead. */
export type TabMessage = readonly [tab: string, generation: number, frame?: ClientFrame | 0];
