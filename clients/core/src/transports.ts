// Which way to take: the first that works, what worked before, and the best again from time to time.

import type { Transport } from "./transport.js";
import type { Environment } from "./types.js";

/** How often a better way is tried again than the one that is taken, in milliseconds. */
export const BETTER_MS = 300_000;
/** Failures in a row until the next way is tried; more where it worked before, and the server may be restarting. */
const FAILURES_MAX = 2;
const FAILURES_MAX_WORKED = 4;

export interface Transports {
  /** The one to take now. Undefined when none can be used here. */
  next(): Transport | undefined;
  /** It was connected. */
  worked(): void;
  /** It ended before it was connected; `isUnusable`: and will again. */
  failed(isUnusable: boolean): void;
  /** It does not work where the client runs. */
  drop(transport: Transport): void;
  /** The best, where another one is taken. */
  better(): Transport | undefined;
}

export function createTransports(list: Transport[], url: string, storage: Environment["storage"]): Transports {
  const key = `rowcast:transport:${url}`;
  let index = Math.max(
    0,
    list.findIndex(({ name }) => name === stored()),
  );
  let failures = 0;
  let hasWorked = false;
  let chosenAt = Date.now();

  function stored(): string | null | undefined {
    try {
      return storage?.getItem(key);
    } catch {
      return undefined;
    }
  }

  function choose(next: number): void {
    index = next % list.length || 0;
    failures = 0;
    hasWorked = false;
    chosenAt = Date.now();
  }

  return {
    next() {
      if (index > 0 && Date.now() - chosenAt >= BETTER_MS) {
        choose(0);
        // One failure is enough to come back.
        failures = FAILURES_MAX - 1;
      }
      return list[index];
    },
    worked() {
      failures = 0;
      hasWorked = true;
      try {
        storage?.setItem(key, list[index]?.name ?? "");
      } catch {
        // It is full, or forbidden.
      }
    },
    failed(isUnusable) {
      failures += 1;
      if (isUnusable || failures >= (hasWorked ? FAILURES_MAX_WORKED : FAILURES_MAX)) choose(index + 1);
    },
    drop(transport) {
      list.splice(list.indexOf(transport), 1);
      choose(index);
    },
    better: () => (index > 0 ? list[0] : undefined),
  };
}
