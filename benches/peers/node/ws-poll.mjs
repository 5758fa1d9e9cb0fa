// node `ws`, which looks into a table of SQLite every 500 ms: what applications do that have a database and no broker.
// The id is the cursor; each row goes to each subscriber. The rows are inserted by the bridge, a process of its own, as
// they are by rowcast's writer.

import { createServer } from "node:http";
import Database from "better-sqlite3";
import { WebSocketServer } from "ws";
import { Channels, frame } from "./events.mjs";

const POLL_INTERVAL_MS = 500;

const [, , port, path] = process.argv;
const channels = new Channels();
const server = createServer();
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

const database = new Database(path, { readonly: true });
const newer = database.prepare("SELECT id, channel, payload FROM events WHERE id > ? ORDER BY id");
let last = database.prepare("SELECT coalesce(max(id), 0) AS id FROM events").get().id;
setInterval(() => {
  for (const row of newer.all(last)) {
    const bytes = Buffer.from(frame(row.channel, row.payload));
    for (const socket of channels.get(row.channel)) {
      socket.send(bytes, { binary: false });
    }
    last = row.id;
  }
}, POLL_INTERVAL_MS);
server.listen({ host: "127.0.0.1", port: Number(port), backlog: 4096 });
