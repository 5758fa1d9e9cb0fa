// Which events have come already, and who has had them: what makes "exactly once" of "at least once".

/** So many of the newest events are remembered. After a cut at most a batch of the server comes again, which is 1,000. */
const EVENTS_MAX = 10_000;

/** What tells events apart. What is no row has no id, and is never a repetition. */
interface Row {
  readonly id?: unknown;
  readonly createdAt?: unknown;
}

/** An event that has come. */
export interface Known {
  /** When it came first: numbers ascend. */
  readonly number: number;
  /** Numbers of those who have had it. No references to them: whoever has left is not kept. */
  readonly had: Set<number>;
}

/** Remembers the newest events. */
export interface Seen {
  /** A number higher than all before. */
  next(): number;
  /** What is known of an event that comes now. */
  look(event: Row): Known;
}

export function createSeen(): Seen {
  // Oldest first: a map keeps the order in which its keys came.
  const events = new Map<string, Known>();
  let number = 0;
  const next = (): number => ++number;
  return {
    next,
    look({ id, createdAt }) {
      const key = `${id} ${createdAt}`;
      const known = (id !== undefined && events.get(key)) || { number: next(), had: new Set() };
      if (id !== undefined) {
        events.delete(key);
        events.set(key, known);
      }
      if (events.size > EVENTS_MAX) events.delete(events.keys().next().value as string);
      return known;
    },
  };
}
