// Server-sent events, read with `fetch`: unlike an EventSource it can send a token and see what the server answers.

import type { Heard, Transport } from "../transport.js";
import { among } from "./among.js";
import { eventStreamParser } from "./event-stream.js";
import { Failure, type Listening, openHttpLink } from "./http.js";

/** One long answer of `GET /sse`. Where `fetch` gives no stream, as in React Native, it is not to be used. */
export const sse: Transport = {
  name: "sse",
  open: (target, listener) => openHttpLink(target, listener, listen),
  among,
};

async function listen({ request, confirm, caughtUp, tell, alive, isOver }: Listening): Promise<void> {
  const response = await request("sse", "since");
  if (!response) return;
  const isStream = response.headers.get("content-type")?.startsWith("text/event-stream");
  if (!isStream || !response.body)
    throw new Failure({ code: 1006, reason: "there is no stream of events here", isUnusable: true });
  const read = eventStreamParser(({ data, id }) => {
    // What came with the same piece is heard by nobody any more.
    if (isOver()) return;
    const frame: Heard = { type: "cursor", ...(data && JSON.parse(data)) };
    const told = id === undefined ? frame : { cursor: id, ...frame };
    if (frame.type === "subscribed") confirm(frame.rejected ?? [], told.cursor);
    else if (frame.type === "caught_up") caughtUp(told.cursor ?? "");
    else if (data || id) tell(told);
  });
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
    alive();
    read(decoder.decode(piece.value, { stream: true }));
  }
}
