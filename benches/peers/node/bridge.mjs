// Gives events that are POSTed to it to a server that cannot be told of them by HTTP: `mqtt` and `nats` by TCP, `sqlite`
// by INSERT. A process beside the server: what it takes is not the server's. All events of a POST are one write, or one
// transaction. It ends when the server does.

import { connect } from "node:net";
import { fail, frame, serveEvents } from "./events.mjs";

const CONNECT_ATTEMPTS_MAX = 200;
const CONNECT_INTERVAL_MS = 50;

/** Where it listens and where the server does, beside 127.0.0.1 for clients: the port is the same. */
const OWN_ADDRESS = "127.0.0.2";
const SERVER_ADDRESS = "127.0.0.3";

const PROTOCOLS = {
  // 3.1.1, at most once.
  mqtt: {
    hello: Buffer.from([0x10, 12, 0, 4, ...Buffer.from("MQTT"), 4, 2, 0, 0, 0, 0]),
    event: (channel, payload) => {
      const topic = Buffer.from(channel);
      const body = Buffer.from(frame(channel, payload));
      const head = [0x30];
      // Seven bits a byte, the lowest first.
      for (let length = 2 + topic.length + body.length; ; length >>= 7) {
        head.push(length > 0x7f ? (length & 0x7f) | 0x80 : length);
        if (length <= 0x7f) {
          break;
        }
      }
      return Buffer.concat([Buffer.from(head), Buffer.from([topic.length >> 8, topic.length & 0xff]), topic, body]);
    },
  },
  nats: {
    hello: Buffer.from('CONNECT {"verbose":false,"pedantic":false,"name":"bridge"}\r\n'),
    event: (channel, payload) => {
      const body = frame(channel, payload);
      return Buffer.from(`PUB ${channel} ${Buffer.byteLength(body)}\r\n${body}\r\n`);
    },
  },
};

const [, , kind, port, path] = process.argv;
const publish = kind === "sqlite" ? await intoTable(path) : intoServer(PROTOCOLS[kind]);
serveEvents(publish).listen({ host: OWN_ADDRESS, port: Number(port) });

function intoServer({ hello, event }) {
  let attempts = 0;
  let open;
  const opened = new Promise((resolve) => {
    open = resolve;
  });
  const attempt = () => {
    const socket = connect({ host: SERVER_ADDRESS, port: Number(port), noDelay: true });
    socket.on("connect", () => {
      socket.write(hello);
      open(socket);
      socket.on("close", () => process.exit());
      // NATS asks whether we are there. What else comes says that all is well.
      socket.on("data", (bytes) => {
        if (bytes.includes("PING\r\n")) {
          socket.write("PONG\r\n");
        } else if (bytes.includes("-ERR")) {
          fail(bytes.toString());
        }
      });
    });
    socket.on("error", (error) => {
      attempts += 1;
      if (error.code !== "ECONNREFUSED" || attempts === CONNECT_ATTEMPTS_MAX) {
        fail(error);
      }
      setTimeout(attempt, CONNECT_INTERVAL_MS);
    });
  };
  attempt();
  return async (events) => {
    const socket = await opened;
    socket.write(Buffer.concat(events.map(([channel, payload]) => event(channel, payload))));
  };
}

async function intoTable(path) {
  const { default: Database } = await import("better-sqlite3");
  const database = new Database(path);
  database.pragma("journal_mode = WAL");
  database.pragma("synchronous = NORMAL");
  database.exec(
    "CREATE TABLE IF NOT EXISTS events (id INTEGER PRIMARY KEY AUTOINCREMENT, channel TEXT NOT NULL, payload TEXT NOT NULL)",
  );
  const insert = database.prepare("INSERT INTO events (channel, payload) VALUES (?, ?)");
  // The server, whose process it was told of, ends without a word.
  const server = Number(process.env.SERVER_PID);
  setInterval(() => {
    try {
      process.kill(server, 0);
    } catch {
      process.exit();
    }
  }, 1000);
  return database.transaction((events) => {
    for (const [channel, payload] of events) {
      insert.run(channel, payload);
    }
  });
}
