// The library's client in Node, over each transport and several times, and a plain reader of server-sent events over
// HTTP/2, as a browser has it. Whenever a line comes on stdin it says what each was given.

import { connect } from "node:http2";
import { createInterface } from "node:readline";
import WebSocket from "ws";
import { longPoll, sse } from "../../clients/core/src/fallback/index.js";
import { createClient, type Transport, webSocket } from "../../clients/core/src/index.js";
import { Http2Socket } from "./http2-socket.js";

const { FEED_URL: url = "", FEED_TOKEN: token = "", FEED_SOCKETS_OVER_HTTP2: socketsOverHttp2 } = process.env;

interface Told {
  name: string;
  /** The numbers of the rows, as they came. */
  numbers: number[];
  connections: number;
  resets: number;
  /** What is not connected, or not by the way that was asked for. */
  status: string;
  /** The last one. */
  error?: string;
}

const everybody: Told[] = [];

function follow(name: string): Told {
  const told: Told = { name, numbers: [], connections: 0, resets: 0, status: "connecting" };
  everybody.push(told);
  return told;
}

const number = (payload: unknown): number => payload as number;

function open(told: Told, transport: Transport, socket: unknown): void {
  const client = createClient({
    url,
    transports: [transport],
    getToken: () => token,
    reconnectInterval: 50,
    reconnectMaxInterval: 1_000,
    environment: { WebSocket: socket as never },
  });
  client.on("status", ({ state, transport }) => {
    if (state === "connected") told.connections += 1;
    told.status = `${state} ${transport}`;
  });
  client.on("reset", () => {
    told.resets += 1;
  });
  client.on("error", ({ code, message }) => {
    told.error = `${code} ${message}`;
  });
  client.subscribe("tasks", ({ payload }) => told.numbers.push(number(payload)));
}

for (const transport of [webSocket, sse, longPoll]) {
  for (let n = 1; n <= 3; n += 1) open(follow(`${transport.name} ${n}`), transport, WebSocket);
}
if (socketsOverHttp2 !== undefined) open(follow(`${webSocket.name} over HTTP/2`), webSocket, Http2Socket);

/** Reads until the stream ends, comes back with the last id, and drops by id what comes twice. */
async function readOverHttp2(told: Told): Promise<never> {
  let last = "";
  const seen = new Set<number>();
  const message = (text: string): void => {
    const field = (name: string): string | undefined =>
      text
        .split("\n")
        .find((line) => line.startsWith(`${name}: `))
        ?.slice(name.length + 2);
    last = field("id") ?? last;
    const kind = field("event");
    if (kind === "subscribed") told.status = "connected sse";
    if (kind === "reset") told.resets += 1;
    if (kind !== undefined) return;
    const data = field("data");
    if (data === undefined) return;
    const { event } = JSON.parse(data);
    if (!seen.has(event.id)) told.numbers.push(number(event.payload));
    seen.add(event.id);
  };
  for (;;) {
    await new Promise<void>((ended) => {
      const session = connect(url);
      session.on("error", ({ message }) => {
        told.error = message;
      });
      session.on("close", () => ended());
      const since = last === "" ? {} : { "last-event-id": last };
      const stream = session.request({
        ":path": "/sse?channels=tasks",
        authorization: `Bearer ${token}`,
        ...since,
      });
      let rest = "";
      stream.setEncoding("utf8");
      stream.on("response", ({ ":status": status }) => {
        if (status === 200) told.connections += 1;
      });
      stream.on("data", (text: string) => {
        const messages = (rest + text).split("\n\n");
        rest = messages.pop() ?? "";
        messages.forEach(message);
      });
      stream.on("error", () => {});
      stream.on("close", () => {
        told.status = "reconnecting sse";
        session.close();
      });
    });
    await new Promise((over) => setTimeout(over, 50 + 50 * Math.random()));
  }
}
void readOverHttp2(follow("sse over HTTP/2"));

const orders = createInterface(process.stdin);
orders.on("line", (line) => {
  const told = everybody.map(({ numbers, ...rest }) => ({
    ...rest,
    count: numbers.length,
    numbers: line === "all" ? numbers : [],
  }));
  process.stdout.write(`${JSON.stringify(told)}\n`);
});
// With the test, however that ends.
orders.on("close", () => process.exit());
