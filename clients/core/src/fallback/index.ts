// What users import from `@rowcast/client/fallback`.

import type { Transport } from "../transport.js";
import { among } from "./among.js";
import { openHttpLink } from "./http.js";

/**
 * Server-sent events: one long answer of `GET /sse`, read with `fetch`, which unlike an EventSource can send a token and
 * see what the server answers. Not used where `fetch` gives no stream, as in React Native.
 */
export const sse: Transport = {
  name: "sse",
  open: (target, listener) => openHttpLink(target, listener, true),
  among,
};

/** Plain requests of `GET /events`, one after the other, which the server answers when there is something. */
export const longPoll: Transport = {
  name: "poll",
  open: (target, listener) => openHttpLink(target, listener, false),
  among,
};
