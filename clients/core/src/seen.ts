// Which events were handed out already, and when: what makes "exactly once" of "at least once".

/** So many of the newest events are remembered. After a cut at most a batch of the server comes again, which is 1,000. */
const EVENTS_MAX = 10_000;

/** What tells events apart. What is no row has no id, and is never a repetition. */
interface Row {
  readonly id?: unknown;
  readonly createdAt?: unknown;
}

/** Remembers the newest events by when they were handed out last, counted in events. */
export interface Seen {
  /** The number of the event that was handed out last. */
  now(): number;
  /** When it was handed out last; undefined where that is not known. */
  last(event: Row): number | undefined;
  /** It is handed out now. */
  note(event: Row): void;
}

export function createSeen(): Seen {
  // Oldest first: a map keeps the order in which its keys came.
  const numbers = new Map<string, number>();
  let number = 0;
  const key = ({ id, createdAt }: Row): string => `${id} ${createdAt}`;
  return {
    now: () => number,
    last: (event) => numbers.get(key(event)),
    note(event) {
      number += 1;
      if (event.id === undefined) return;
      numbers.delete(key(event));
      numbers.set(key(event), number);
      if (numbers.size > EVENTS_MAX) {
        const [oldest] = numbers.keys();
        numbers.delete(oldest as string);
      }
    },
  };
}
