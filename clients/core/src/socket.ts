// The WebSocket transport.

import { wordsOf } from "./error.js";
import type { LinkEnd, LinkListener, ServerFrame, Transport } from "./transport.js";

/** Frames over a WebSocket. The token goes in the first of them, so that it is in no URL and no log. */
export const webSocket: Transport = {
  name: "ws",
  open({ url, environment, debug }, listener) {
    const { WebSocket } = environment;
    if (!WebSocket) {
      throw new Error(
        "there is no WebSocket here: give createClient `environment: { WebSocket }`, for example from `ws`",
      );
    }
    const socket = new WebSocket(url);
    let isOver = false;
    const end = (end: LinkEnd): void => {
      if (isOver) return;
      isOver = true;
      listener.closed(end);
    };
    socket.onopen = () => {
      if (!isOver) listener.opened();
    };
    socket.onmessage = ({ data }: { readonly data: unknown }) => {
      if (!isOver) hear(data, listener, debug);
    };
    // What is wrong is not told to pages; `closed` follows.
    socket.onerror = () => {};
    socket.onclose = ({ code, reason }: { readonly code: number; readonly reason: string }) => end({ code, reason });
    return {
      send(frame) {
        // One that is closing drops it without a word, and its end is told soon.
        if (socket.readyState === 1) socket.send(JSON.stringify(frame));
      },
      close(code = 1000, reason = "") {
        isOver = true;
        socket.close(code, reason);
      },
    };
  },
};

function hear(data: unknown, listener: LinkListener, debug: (message: string) => void): void {
  let frame: unknown;
  try {
    frame = JSON.parse(String(data));
  } catch (error) {
    debug(`not understood: ${wordsOf(error)}`);
  }
  if (typeof frame === "object" && frame !== null) listener.frame(frame as ServerFrame);
  else listener.alive();
}
