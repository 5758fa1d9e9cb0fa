// node `ws`, told of events by POST: what one would write with it, as its documentation shows for a broadcast.
// Compression is off (its default); text is made into bytes once, not for each client.

import { WebSocketServer } from "ws";
import { Channels, frame, serveEvents } from "./events.mjs";

const channels = new Channels();
const server = serveEvents((events) => {
  for (const [channel, payload] of events) {
    const bytes = Buffer.from(frame(channel, payload));
    for (const socket of channels.get(channel)) {
      socket.send(bytes, { binary: false });
    }
  }
});
const sockets = new WebSocketServer({ server, clientTracking: false, perMessageDeflate: false });
sockets.on("connection", (socket) => {
  socket.on("message", (text) => {
    for (const channel of JSON.parse(text).channels) {
      channels.add(channel, socket);
    }
    socket.send('{"type":"subscribed"}');
  });
  socket.on("error", () => {});
  socket.on("close", () => channels.remove(socket));
});
server.listen({ host: "127.0.0.1", port: Number(process.argv[2]), backlog: 4096 });
