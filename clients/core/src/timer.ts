// One timer that is set anew, and never twice.

/** The longest that setTimeout can wait. Whoever waits longer is woken then, and looks again. */
const LONGEST_MS = 2 ** 31 - 1;

/** At most one thing that is to happen later. */
export interface Timer {
  /** Instead of what it was set to before. */
  set(run: () => void, inMs: number): void;
  clear(): void;
}

export function createTimer(): Timer {
  let id: ReturnType<typeof setTimeout> | undefined;
  const clear = (): void => clearTimeout(id);
  return {
    set(run, inMs) {
      clear();
      id = setTimeout(run, Math.min(inMs, LONGEST_MS));
    },
    clear,
  };
}
