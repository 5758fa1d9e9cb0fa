// What a POST of the load generator carries: a line for each event, `channel payload`. And the text that each peer
// makes of it, as long as rowcast's own frame, so that all of them send the same number of bytes.

import { createServer } from "node:http";

/** Calls `publish` with the events `[channel, payload]` of each POST, and answers 204 when it has returned. */
export function serveEvents(publish) {
  return createServer((request, response) => {
    const parts = [];
    request.on("data", (part) => parts.push(part));
    request.on("end", async () => {
      await publish(read(Buffer.concat(parts)));
      response.writeHead(204).end();
    });
  });
}

export function read(body) {
  const events = [];
  for (const line of body.toString().split("\n")) {
    const space = line.indexOf(" ");
    if (space > 0) {
      events.push([line.slice(0, space), line.slice(space + 1)]);
    }
  }
  return events;
}

export function frame(channel, payload) {
  return (
    `{"type":"event","channels":["${channel}"],"event":{"id":1234,"type":"rowcast.bench","payload":${payload},` +
    `"createdAt":"2026-01-01T00:00:00.000Z"},"cursor":"AgFCxddp3QUAAPrJ"}`
  );
}

/** The subscribers of each channel. */
export class Channels {
  #sockets = new Map();

  add(channel, socket) {
    const sockets = this.#sockets.get(channel) ?? new Set();
    this.#sockets.set(channel, sockets.add(socket));
  }

  remove(socket) {
    for (const [channel, sockets] of this.#sockets) {
      if (sockets.delete(socket) && sockets.size === 0) {
        this.#sockets.delete(channel);
      }
    }
  }

  get(channel) {
    return this.#sockets.get(channel) ?? [];
  }
}

export function fail(error) {
  console.error(error);
  process.exit(1);
}
