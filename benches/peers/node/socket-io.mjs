// socket.io 4, told of events by POST. Its documentation's advice for many clients: WebSockets only, no compression (its
// default), the request of the handshake is let go of. Pings are rare: none falls into a measurement. Channels are rooms; a
// client names its own when it connects to the namespace.

import { Server } from "socket.io";
import { frame, serveEvents } from "./events.mjs";

const HOUR_MS = 3_600_000;

const server = serveEvents((events) => {
  for (const [channel, payload] of events) {
    io.to(channel).emit("event", JSON.parse(frame(channel, payload)));
  }
});
const io = new Server(server, {
  transports: ["websocket"],
  serveClient: false,
  perMessageDeflate: false,
  httpCompression: false,
  pingInterval: HOUR_MS,
});
// https://socket.io/docs/v4/memory-usage/
io.engine.on("connection", (socket) => {
  socket.request = null;
});
io.on("connection", (socket) => {
  socket.join(socket.handshake.auth.channels);
  socket.emit("subscribed");
});
server.listen({ host: "127.0.0.1", port: Number(process.argv[2]), backlog: 4096 });
