// Plain requests, one after the other, which the server answers when there is something.

import type { Heard, Transport } from "../transport.js";
import { among } from "./among.js";
import { type Listening, openHttpLink } from "./http.js";

/** How long the server may wait until it answers. Below the interval of heartbeats, and what proxies cut. */
const WAIT = "25s";
/** Pause where the server does not wait, as while it stops, in milliseconds. */
const PAUSE_MS = 1_000;

/** `GET /events`, again and again. */
export const longPoll: Transport = {
  name: "poll",
  open: (target, listener) => openHttpLink(target, listener, listen),
  among,
};

interface Answer {
  readonly events: readonly Heard[];
  readonly cursor: string;
  readonly more: boolean;
  readonly reset?: string;
  readonly rejected?: readonly string[];
}

async function listen({ request, confirm, caughtUp, tell, alive, isOver }: Listening): Promise<void> {
  // The first is answered at once: what was asked for is to be confirmed.
  for (let wait = "0"; ; ) {
    const startedAt = Date.now();
    const response = await request("events", "after", { wait });
    if (!response) return;
    const { events, cursor, more, reset, rejected = [] }: Answer = await response.json();
    if (isOver()) return;
    alive();
    const message = "your token does not grant this channel";
    confirm(
      undefined,
      rejected.map((channel) => ({ channel, code: "FORBIDDEN", message })),
    );
    if (reset) tell({ type: "reset", reason: reset, cursor });
    events.forEach(tell);
    tell({ type: "cursor", cursor });
    if (!more) caughtUp(cursor);
    if (wait === WAIT && !events[0] && Date.now() - startedAt < PAUSE_MS) {
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    }
    wait = more ? "0" : WAIT;
  }
}
