// Server-sent events, read with `fetch`: unlike an EventSource it can send a token and see what the server answers.

import type { Heard, Transport } from "../transport.js";
import { among } from "./among.js";
import { eventStreamParser } from "./event-stream.js";
import { type Listening, openHttpLink } from "./http.js";

/** One long answer of `GET /sse`. Where `fetch` gives no stream, as in React Native, it is not to be used. */
export const sse: Transport = {
  name: "sse",
  open: (target, listener) => openHttpLink(target, listener, listen),
  among,
};

async function listen({ positions, request, confirm, caughtUp, tell, alive, end, isOver }: Listening): Promise<void> {
  const response = await request("sse", "since");
  if (!response) return;
  const reader = response.body?.getReader();
  const isStream = response.headers.get("content-type")?.startsWith("text/event-stream");
  if (!reader || !isStream) {
    end({ code: 1006, reason: "no event stream here", isUnusable: true });
    return;
  }
  let confirmations = positions;
  let endings = positions;
  const read = eventStreamParser(({ data, id }) => {
    // What came with the same piece is heard by nobody any more.
    if (isOver()) return;
    const frame: Heard = { cursor: id, ...(data ? JSON.parse(data) : { type: "cursor" }) };
    if (frame.type === "subscribed") {
      if (--confirmations === 0) confirm(frame.cursor, frame.rejected);
    } else if (frame.type === "caught_up") {
      if (--endings === 0) caughtUp(frame.cursor);
    } else tell(frame);
  });
  const decoder = new TextDecoder();
  for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
    alive();
    read(decoder.decode(piece.value, { stream: true }));
  }
}
