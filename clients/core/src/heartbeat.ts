// Whether anybody is still there. Pages do not see the pings of the protocol, and a dead line looks like a quiet one.

import { createTimer } from "./timer.js";

/** Wait for an answer to the ping of a quiet line, in milliseconds. */
const PONG_MS = 10_000;
/** The same when the device slept or changed its network, which is when lines die. */
const PROBE_MS = 5_000;
/** A timer that is later than this slept with the device, and says nothing about the line. In milliseconds. */
const LATE_MS = 2_000;

export interface Heartbeat {
  start(): void;
  /** Something came. */
  heard(): void;
  /** Asks now. */
  probe(): void;
  clear(): void;
}

/** Calls `ping` when nothing was heard for `intervalMs`, and `dead` when it is not answered. */
export function createHeartbeat(intervalMs: number, ping: () => void, dead: () => void): Heartbeat {
  const { set, clear } = createTimer();
  let heardAt = 0;
  let isAnswered = false;

  function check(): void {
    const quietMs = Date.now() - heardAt;
    // Set anew only here: a timer for every event would cost more than the event.
    if (quietMs < intervalMs) set(check, intervalMs - quietMs);
    else ask(PONG_MS);
  }

  function ask(patienceMs: number): void {
    const until = Date.now() + patienceMs;
    isAnswered = false;
    set(() => {
      if (isAnswered) check();
      else if (Date.now() - until > LATE_MS) ask(PROBE_MS);
      else dead();
    }, patienceMs);
    ping();
  }

  function heard(): void {
    heardAt = Date.now();
    isAnswered = true;
  }

  return {
    start() {
      heard();
      check();
    },
    heard,
    probe: () => ask(PROBE_MS),
    clear,
  };
}
