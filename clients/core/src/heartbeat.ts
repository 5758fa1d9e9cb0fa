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
  /** Asks now, if nothing came a moment ago or it is doubted in any case. */
  probe(isDoubted: boolean): void;
  clear(): void;
}

/** Calls `ping` when nothing was heard for `intervalMs`, and `dead` when it is not answered. */
export function createHeartbeat(intervalMs: number, ping: () => void, dead: () => void): Heartbeat {
  const beat = createTimer();
  const silence = createTimer();
  let heardAt = 0;
  let isAsked = false;

  function check(): void {
    const quietMs = Date.now() - heardAt;
    // Set anew only here: a timer for every event would cost more than the event.
    if (quietMs < intervalMs) beat.set(check, intervalMs - Math.max(quietMs, 0));
    else ask(PONG_MS);
  }

  function ask(patienceMs: number): void {
    isAsked = true;
    const until = Date.now() + patienceMs;
    silence.set(() => (Date.now() - until > LATE_MS ? ask(PROBE_MS) : dead()), patienceMs);
    ping();
  }

  return {
    start() {
      isAsked = false;
      heardAt = Date.now();
      beat.set(check, intervalMs);
    },
    heard() {
      heardAt = Date.now();
      if (!isAsked) return;
      isAsked = false;
      silence.clear();
      beat.set(check, intervalMs);
    },
    probe(isDoubted) {
      if (isDoubted || Date.now() - heardAt >= PROBE_MS) ask(PROBE_MS);
    },
    clear() {
      beat.clear();
      silence.clear();
    },
  };
}
