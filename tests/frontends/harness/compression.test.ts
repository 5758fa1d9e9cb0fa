// permessage-deflate between our server and the implementations of others: `ws` for Node, and Chromium's.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { type Browser, chromium as playwright } from "playwright-core";
import WebSocket, { type PerMessageDeflateOptions } from "ws";

import { Server, chromium } from "./server.js";

const PATIENCE_MS = 20_000;

const text = (n: number, times: number) => `${"Grüße, und noch einmal: ".repeat(times)}${n}`;
/** From too short to be compressed to what has eight bytes of length. */
const payloads = [0, 1, 12, 150, 6000].map((times, n) => ({ n, text: text(n, times) }));

let server: Server;
let browser: Browser;

before(async () => {
  server = await Server.start("--compression", "on");
  const args = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic", "--disable-background-networking"];
  browser = await playwright.launch({ executablePath: chromium(), args });
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

interface Sent {
  type: string;
  channels?: string[];
  event?: { payload: unknown };
}

/** Subscribes with a message that is long, asks to have it confirmed, and gives the payloads of so many events. */
function play(socket: WebSocket, channel: string, count: number, subscribed: () => void): Promise<unknown[]> {
  return new Promise((resolve, reject) => {
    const found: unknown[] = [];
    const late = setTimeout(() => reject(new Error(`${found.length} events`)), PATIENCE_MS);
    socket.onopen = () => socket.send(JSON.stringify({ type: "subscribe", channels: [channel], more: "again ".repeat(500) }));
    socket.onclose = ({ code, reason }) => reject(new Error(`closed: ${code} ${reason}`));
    socket.onerror = ({ message }) => reject(new Error(message));
    socket.onmessage = ({ data }) => {
      const frame = JSON.parse(String(data)) as Sent;
      if (frame.type === "subscribed") subscribed();
      if (frame.type === "event") found.push(frame.event?.payload);
      if (found.length < count) return;
      clearTimeout(late);
      socket.onclose = null;
      socket.close();
      resolve(found);
    };
  });
}

const insert = (channel: string) => server.insert(...payloads.map((payload) => ({ channel, type: "test.row", payload })));

const options: [string, PerMessageDeflateOptions, boolean][] = [
  ["as it comes", {}, true],
  ["every message compressed", { threshold: 0 }, true],
  ["without keeping anything", { threshold: 0, clientNoContextTakeover: true, serverNoContextTakeover: true }, true],
  ["with the largest window", { threshold: 0, serverMaxWindowBits: 15, clientMaxWindowBits: 15 }, true],
  ["with the smallest window of ours", { threshold: 0, serverMaxWindowBits: 12, clientMaxWindowBits: 9 }, true],
  ["with a smaller one, which is not taken", { threshold: 0, serverMaxWindowBits: 11 }, false],
];
for (const [n, [name, perMessageDeflate, isTaken]] of options.entries()) {
  test(`Node: ${name}`, async () => {
    const channel = `node:${n}`;
    const token = server.token({ sub: "ann", channels: [channel] });
    const socket = new WebSocket(`ws://${server.host}/ws`, ["rowcast.v1", `rowcast.bearer.${token}`], { perMessageDeflate });
    const found = await play(socket, channel, payloads.length, () => void insert(channel));
    assert.equal(socket.extensions, isTaken ? "permessage-deflate" : "");
    assert.deepEqual(found, payloads);
  });
}

test("Node: nothing is compressed that was not offered", async () => {
  const token = server.token({ sub: "ann", channels: ["node:off"] });
  const socket = new WebSocket(`ws://${server.host}/ws?token=${token}`, { perMessageDeflate: false });
  const found = await play(socket, "node:off", payloads.length, () => void insert("node:off"));
  assert.equal(socket.extensions, "");
  assert.deepEqual(found, payloads);
});

test("Chromium", async () => {
  const page = await browser.newPage();
  await page.goto(`http://${server.host}/`);
  await page.exposeFunction("subscribed", () => insert("chromium"));
  const token = server.token({ sub: "ann", channels: ["chromium"] });
  const [extensions, found] = await page.evaluate(
    ([url, token, count]) =>
      new Promise<[string, unknown[]]>((resolve, reject) => {
        const found: unknown[] = [];
        const socket = new window.WebSocket(url, ["rowcast.v1", `rowcast.bearer.${token}`]);
        socket.onopen = () => socket.send(JSON.stringify({ type: "subscribe", channels: ["chromium"], more: "again ".repeat(500) }));
        socket.onclose = ({ code, reason }) => reject(new Error(`closed: ${code} ${reason}`));
        socket.onmessage = ({ data }) => {
          const frame = JSON.parse(String(data));
          if (frame.type === "subscribed") (window as unknown as { subscribed(): void }).subscribed();
          if (frame.type === "event") found.push(frame.event.payload);
          if (found.length === count) resolve([socket.extensions, found]);
        };
      }),
    [`ws://${server.host}/ws`, token, payloads.length] as const,
  );
  assert.equal(extensions, "permessage-deflate; server_no_context_takeover; client_no_context_takeover");
  assert.deepEqual(found, payloads);
});
