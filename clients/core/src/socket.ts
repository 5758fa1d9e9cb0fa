// The WebSocket transport.

import type { ServerFrame, Transport } from "./transport.js";
import type { WebSocketLike } from "./types.js";

/** Frames over a WebSocket. The token goes in the first of them, so that it is in no URL and no log. */
export const webSocket: Transport = {
  name: "ws",
  open({ url, environment: { WebSocket }, debug }, listener) {
    if (!WebSocket) throw new Error("no WebSocket here; pass `environment: { WebSocket }`");
    const socket: WebSocketLike = new WebSocket(url);
    socket.onopen = listener.opened;
    socket.onmessage = ({ data }: { readonly data: unknown }) => {
      let frame: ServerFrame | undefined;
      try {
        frame = JSON.parse(data as string);
      } catch {
        debug("not JSON", data);
      }
      if (frame) listener.frame(frame);
    };
    // Pages are not told what is wrong; `close` follows. Without a handler `ws` throws.
    socket.onerror = () => {};
    // Not the event itself: it goes to other tabs, where events cannot go.
    socket.onclose = ({ code, reason }: { readonly code: number; readonly reason: string }) =>
      listener.closed({ code, reason });
    return {
      send: (frame) => socket.send(JSON.stringify(frame)),
      close(code = 1000, reason) {
        socket.onopen = socket.onmessage = socket.onclose = null;
        socket.close(code, reason);
      },
    };
  },
};
