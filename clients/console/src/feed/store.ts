// The events of this page, outside of React: taken in as they come, filtered in slices, shown at most once a frame, and not oftener than is read.

import type { FeedEvent } from "@rowcast/client";
import { type Entry, entryOf } from "./entry.js";
import { type Filter, NO_FILTER, type Predicate, predicateOf } from "./filter.js";
import { Meter } from "./meter.js";
import { Ring } from "./ring.js";
import { Tally } from "./tally.js";

/** Events that are kept. */
export const EVENTS_MAX = 100_000;

/** How long events are searched before the browser gets its turn, in milliseconds: half a frame. */
const SLICE_MS = 8;

/** Events that come are shown at most this often, in milliseconds: quicker than anybody reads. What a person does, at once. */
const SHOWN_EVERY_MS = 50;

/** Events that are looked at between two looks at the clock. */
const EVENTS_PER_LOOK = 256;

/** What is shown, at one moment. Rows are counted from 0, the oldest, to `length`. */
export interface View {
  readonly filter: Filter;
  readonly length: number;
  /** How many rows have been before the first: they went as newer ones came. */
  readonly gone: number;
  /** Events in the buffer, shown or not. */
  readonly kept: number;
  /** All that came. */
  readonly received: number;
  readonly isPaused: boolean;
  /** What came since the pause. */
  readonly waiting: number;
  /** Events that have yet to be searched. */
  readonly unsearched: number;
  at(row: number): Entry | undefined;
  /** The row of an event; undefined where it is not shown. */
  rowOf(entry: Entry): number | undefined;
}

/** What a store needs of its surroundings. */
export interface StoreOptions {
  readonly capacity?: number;
  /** Calls once, before the next frame is drawn. */
  readonly nextFrame?: (run: () => void) => void;
  readonly later?: (run: () => void, milliseconds: number) => void;
  /** Milliseconds, for slices. */
  readonly clock?: () => number;
  /** Milliseconds since 1970. */
  readonly now?: () => number;
}

/** Everything that the page has received. */
export class Store {
  readonly tally: Tally = new Tally();
  readonly meter: Meter = new Meter();
  /** By how much the server's clock is ahead of the page's, in milliseconds. */
  skewMs = 0;
  readonly #capacity: number;
  readonly #nextFrame: (run: () => void) => void;
  readonly #later: (run: () => void, milliseconds: number) => void;
  readonly #clock: () => number;
  readonly #now: () => number;
  readonly #openedAt: number;
  readonly #ring: Ring<Entry>;
  /** What comes while the stream is paused. */
  #waiting: Ring<Entry> | undefined;
  readonly #listeners = new Set<() => void>();
  #filter = NO_FILTER;
  #predicate: Predicate | undefined;
  /** Numbers of events that are shown, from `#head` on, where not all are. */
  #matches: number[] = [];
  #head = 0;
  #goneMatches = 0;
  #searchedTo = 0;
  #received = 0;
  /** A frame is waited for; or the time until one may be. */
  #isScheduled = false;
  #isDelayed = false;
  #shownAt = -SHOWN_EVERY_MS;
  #view: View;

  constructor(options: StoreOptions = {}) {
    this.#capacity = options.capacity ?? EVENTS_MAX;
    this.#nextFrame = options.nextFrame ?? ((run) => requestAnimationFrame(run));
    this.#later = options.later ?? ((run, milliseconds) => setTimeout(run, milliseconds));
    this.#clock = options.clock ?? (() => performance.now());
    this.#now = options.now ?? Date.now;
    this.#openedAt = this.#now();
    this.#ring = new Ring(this.#capacity);
    this.#view = this.#look();
  }

  /** What is shown, as it was asked for last. */
  get filter(): Filter {
    return this.#filter;
  }

  /** Takes an event in. Does no more than it has to: thousands may come in a second. */
  push(event: FeedEvent): void {
    const receivedAt = this.#now() + this.skewMs;
    const entry = entryOf(event, this.#received, receivedAt);
    this.#received += 1;
    this.tally.add(entry);
    const isOfNow = entry.createdAt >= this.#openedAt + this.skewMs - 1_000;
    this.meter.add(this.#now(), isOfNow ? receivedAt - entry.createdAt : undefined);
    (this.#waiting ?? this.#ring).push(entry);
    this.#scheduleSoon();
  }

  /** Shows others. What is in the buffer is searched from its beginning, a slice in each frame. */
  show(filter: Filter): void {
    this.#filter = filter;
    this.#predicate = predicateOf(filter);
    this.#matches = [];
    this.#head = 0;
    this.#goneMatches = 0;
    this.#searchedTo = this.#ring.start;
    this.#schedule();
  }

  /** Keeps the stream as it is. What comes meanwhile waits. */
  pause(): void {
    this.#waiting ??= new Ring(this.#capacity);
    this.#schedule();
  }

  /** Goes on with what has waited. */
  resume(): void {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    for (let number = waiting?.start ?? 0; number < (waiting?.end ?? 0); number += 1) {
      const entry = waiting?.get(number);
      if (entry) this.#ring.push(entry);
    }
    this.#schedule();
  }

  /** Forgets the events. Counts per channel stay. */
  clear(): void {
    this.#ring.clear();
    if (this.#waiting) this.#waiting = new Ring(this.#capacity);
    this.show(this.#filter);
  }

  /** Calls after `view` has changed, at most once a frame. */
  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  };

  /** The same object until something changes. */
  readonly view = (): View => this.#view;

  /** Shows what has come, not at once if something was shown just now. */
  #scheduleSoon(): void {
    if (this.#isScheduled || this.#isDelayed) return;
    const wait = this.#shownAt + SHOWN_EVERY_MS - this.#clock();
    if (wait <= 0) {
      this.#schedule();
      return;
    }
    this.#isDelayed = true;
    this.#later(() => {
      this.#isDelayed = false;
      this.#schedule();
    }, wait);
  }

  #schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    this.#nextFrame(() => {
      this.#isScheduled = false;
      this.#shownAt = this.#clock();
      this.#search();
      this.#view = this.#look();
      if (this.#view.unsearched > 0) this.#schedule();
      for (const listener of this.#listeners) listener();
    });
  }

  /** Searches on, for a slice. */
  #search(): void {
    const { start, end } = this.#ring;
    const isShown = this.#predicate;
    if (!isShown) {
      this.#searchedTo = end;
      return;
    }
    this.#forget(start);
    const until = this.#clock() + SLICE_MS;
    let number = Math.max(this.#searchedTo, start);
    while (number < end) {
      const stop = Math.min(end, number + EVENTS_PER_LOOK);
      for (; number < stop; number += 1) {
        const entry = this.#ring.get(number);
        if (entry && isShown(entry)) this.#matches.push(number);
      }
      if (this.#clock() >= until) break;
    }
    this.#searchedTo = number;
  }

  /** Forgets matches that are not in the buffer any more. */
  #forget(start: number): void {
    const before = this.#head;
    while (this.#head < this.#matches.length && (this.#matches[this.#head] as number) < start) this.#head += 1;
    this.#goneMatches += this.#head - before;
    if (this.#head > this.#capacity) {
      this.#matches = this.#matches.slice(this.#head);
      this.#head = 0;
    }
  }

  #look(): View {
    const ring = this.#ring;
    const { start, end } = ring;
    const isAll = !this.#predicate;
    const matches = this.#matches;
    const head = this.#head;
    const length = isAll ? end - start : matches.length - head;
    const numberOf = (row: number): number => (isAll ? start + row : (matches[head + row] ?? -1));
    return {
      filter: this.#filter,
      length,
      gone: isAll ? start : this.#goneMatches,
      kept: end - start,
      received: this.#received,
      isPaused: this.#waiting !== undefined,
      waiting: this.#waiting?.end ?? 0,
      unsearched: end - Math.max(this.#searchedTo, start),
      at: (row) => (row >= 0 && row < length ? ring.get(numberOf(row)) : undefined),
      rowOf: (entry) => rowOf(entry, length, (row) => ring.get(numberOf(row))),
    };
  }
}

/** Rows are in the order in which their events came. */
function rowOf(entry: Entry, length: number, at: (row: number) => Entry | undefined): number | undefined {
  let low = 0;
  let high = length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((at(middle)?.number ?? -1) < entry.number) low = middle + 1;
    else high = middle;
  }
  return at(low) === entry ? low : undefined;
}
