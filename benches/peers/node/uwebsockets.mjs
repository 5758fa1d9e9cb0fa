// uWebSockets.js 20, told of events by POST. Channels are its own publish/subscribe, which gathers what one turn of its
// loop publishes. No compression, no pings and no time-outs; what a slow client may have waiting is as for the others.

import uws from "uwebsockets";
import { frame, read } from "./events.mjs";

const BACKPRESSURE_BYTES_MAX = 64 * 1024 * 1024;

const app = uws.App();
app.ws("/*", {
  compression: uws.DISABLED,
  idleTimeout: 0,
  sendPingsAutomatically: false,
  maxBackpressure: BACKPRESSURE_BYTES_MAX,
  message: (socket, text) => {
    for (const channel of JSON.parse(Buffer.from(text).toString()).channels) {
      socket.subscribe(channel);
    }
    socket.send('{"type":"subscribed"}');
  },
});
app.post("/publish", (response) => {
  const parts = [];
  response.onAborted(() => {});
  response.onData((part, isLast) => {
    // The memory of a part is its own only until this returns.
    parts.push(Buffer.from(Buffer.from(part)));
    if (!isLast) {
      return;
    }
    for (const [channel, payload] of read(Buffer.concat(parts))) {
      app.publish(channel, frame(channel, payload), false);
    }
    response.writeStatus("204 No Content").endWithoutBody();
  });
});
app.listen("127.0.0.1", Number(process.argv[2]), (socket) => {
  if (!socket) {
    process.exit(1);
  }
});
