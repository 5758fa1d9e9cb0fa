// Every exchange of docs/protocol, replayed against the real program; and every message of it held against the contract.

import { once } from "node:events";
import { after, before, test } from "node:test";

import { Parser } from "@asyncapi/parser";
import WebSocket from "ws";

import type { Claims } from "../scenarios/env.js";
import { complaint, contract, namesOf, text } from "./contract.js";
import { type Exchange, type Guest, type Json, type Message, type Seen, compare, exchanges, fill } from "./exchanges.js";
import { Server } from "./server.js";

/** Longest wait for something that has to happen. */
const PATIENCE_MS = 20_000;

type Heard = { frame: Message } | { pong: true } | { code: number; reason: string };

/** A connection, and what came by it, in order. */
class Line {
  private readonly heard: Heard[] = [];
  private more: () => void = () => {};

  private constructor(private readonly socket: WebSocket) {
    const push = (heard: Heard) => {
      this.heard.push(heard);
      this.more();
    };
    socket.on("message", (data) => push({ frame: JSON.parse(String(data)) as Message }));
    socket.on("pong", () => push({ pong: true }));
    socket.on("close", (code, reason) => push({ code, reason: String(reason) }));
  }

  static async open(url: string, subprotocol?: string): Promise<Line> {
    const line = new Line(new WebSocket(url, subprotocol));
    await once(line.socket, "open");
    return line;
  }

  say(text: string): void {
    this.socket.send(text);
  }

  async next(): Promise<Heard> {
    const deadline = Date.now() + PATIENCE_MS;
    for (;;) {
      const heard = this.heard.shift();
      if (heard !== undefined) return heard;
      if (Date.now() > deadline) throw new Error(`nothing for ${PATIENCE_MS} ms`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, PATIENCE_MS);
        this.more = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  async frame(): Promise<Message> {
    const heard = await this.next();
    if (!("frame" in heard)) throw new Error(`instead of a frame: ${JSON.stringify(heard)}`);
    return heard.frame;
  }

  async ping(): Promise<void> {
    this.socket.ping();
    const heard = await this.next();
    if (!("pong" in heard)) throw new Error(`instead of nothing: ${JSON.stringify(heard)}`);
  }

  async close(): Promise<void> {
    if (this.socket.readyState === WebSocket.CLOSED) return;
    this.socket.close();
    await once(this.socket, "close");
  }
}

/** A server, and somebody who receives everything. One shard: what the witness has been sent, all have been sent. */
class Scene {
  private readonly guests: [string, Line][] = [];

  private constructor(readonly server: Server, private readonly witness: Line) {}

  static async start(options: NonNullable<Exchange["server"]>): Promise<Scene> {
    const flags = ["--shards", "1"];
    if (options.messages_per_minute !== undefined) flags.push("--max-messages-per-minute", String(options.messages_per_minute));
    if (options.ping_interval_ms !== undefined) flags.push("--ping-interval", `${options.ping_interval_ms}ms`);
    if (options.presence !== undefined) flags.push("--presence", options.presence);
    const server = await Server.start(...flags);
    const token = server.token({ sub: "witness", channels: ["*"] });
    const witness = await Line.open(`ws://${server.host}/ws?token=${token}`);
    witness.say(JSON.stringify({ type: "subscribe", channels: ["*"] }));
    await witness.frame();
    return new Scene(server, witness);
  }

  async delivered(count: number): Promise<void> {
    for (let left = count; left > 0; ) {
      if ((await this.witness.frame())["type"] === "event") left -= 1;
    }
  }

  async broadcast(body: object): Promise<void> {
    const token = this.server.token({ publish: ["*"] });
    const headers = { authorization: `Bearer ${token}`, "content-type": "application/json" };
    const answer = await fetch(`http://${this.server.host}/broadcast`, { method: "POST", headers, body: JSON.stringify(body) });
    if (answer.status !== 202) throw new Error(`broadcast: ${answer.status} ${await answer.text()}`);
    await this.delivered(1);
  }

  /** Somebody comes to a channel, and is there. */
  async enter({ user, channel }: Guest): Promise<void> {
    const line = await Line.open(`ws://${this.server.host}/ws?token=${this.server.token({ sub: user, channels: [channel] })}`);
    line.say(JSON.stringify({ type: "subscribe", channels: [channel], presence: true }));
    type Told = { presence?: Record<string, { members: { user: string }[] }>; user?: string };
    for (let isThere = false; !isThere; ) {
      const told = (await line.frame()) as Told;
      isThere = told.user === user || !!told.presence?.[channel]?.members.some((member) => member.user === user);
    }
    this.guests.push([`${user} ${channel}`, line]);
  }

  async exit({ user, channel }: Guest): Promise<void> {
    const index = this.guests.findIndex(([name]) => name === `${user} ${channel}`);
    if (index < 0) throw new Error(`${user} is not on ${channel}`);
    await this.guests.splice(index, 1)[0]?.[1].close();
  }

  async silence(line: Line): Promise<void> {
    await line.ping();
    await this.server.insert({ channel: "golden:mark", type: "mark.set" });
    await this.delivered(1);
    await line.ping();
  }

  async stop(): Promise<void> {
    for (const [, line] of this.guests) await line.close();
    await this.witness.close();
    await this.server.stop();
  }
}

/** A token where claims are written. */
function signed(server: Server, message: Message): Message {
  const { token } = message;
  if (typeof token !== "object" || token === null) return message;
  return { ...message, token: server.token(token as Claims) };
}

async function play(exchange: Exchange, scene: Scene): Promise<void> {
  const { server } = scene;
  const { preset, token, subprotocol } = exchange;
  const seen: Seen = new Map();
  const connect = (path: string) => {
    const query = token === null ? "" : `${path.includes("?") ? "&" : "?"}token=${server.token(token)}`;
    return Line.open(`ws://${server.host}${fill(path, seen)}${query}`, subprotocol);
  };
  const isKnown = (side: "client" | "server", frame: string, message: Json) => {
    const wrong = complaint(preset, side, frame, message);
    if (wrong !== "") throw new Error(`by asyncapi.yaml this is no ${frame}: ${wrong}: ${JSON.stringify(message)}`);
    const names = namesOf(preset, side, message);
    if (names.length !== 1) throw new Error(`by asyncapi.yaml this is ${names.join(" and ")}: ${JSON.stringify(message)}`);
  };
  let line = await connect(exchange.path);
  let isOver = false;
  for (const [n, step] of exchange.steps.entries()) {
    try {
      if ("client" in step) {
        const message = JSON.parse(fill(JSON.stringify(signed(server, step.client)), seen)) as Message;
        if (step.frame !== undefined) isKnown("client", step.frame, message);
        line.say(JSON.stringify(message));
      } else if ("client_text" in step) line.say(step.client_text);
      else if ("server" in step) {
        const found = await line.frame();
        compare(step.server, found, seen);
        isKnown("server", step.frame, found);
      } else if ("insert" in step) {
        const rows = Array.isArray(step.insert) ? step.insert : [step.insert];
        await server.insert(...rows);
        await scene.delivered(rows.length);
      } else if ("broadcast" in step) await scene.broadcast(step.broadcast);
      else if ("enter" in step) await scene.enter(step.enter);
      else if ("exit" in step) await scene.exit(step.exit);
      else if ("nothing" in step) await scene.silence(line);
      else if ("close" in step) {
        const heard = await line.next();
        compare(step.close, heard as Message, seen);
        isOver = true;
      } else if ("disconnect" in step) await line.close();
      else if ("connect" in step) line = await connect(step.connect);
      else server.signal("SIGTERM");
    } catch (error) {
      throw new Error(`step ${n + 1}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  if (!isOver) await scene.silence(line);
  await line.close();
}

test("asyncapi.yaml is an AsyncAPI document", async () => {
  const { document, diagnostics } = await new Parser().parse(text);
  const wrong = diagnostics.filter(({ severity }) => severity <= 1);
  if (document === undefined || wrong.length > 0) throw new Error(JSON.stringify(wrong, null, 1));
});

test("asyncapi.yaml has a channel for each preset, and no message without an exchange", () => {
  const presets = new Set(exchanges().map(([, { preset }]) => preset));
  compare([...presets].sort(), Object.keys(contract.channels).sort(), new Map());
  for (const [preset, { messages }] of Object.entries(contract.channels)) {
    // It is the default protocol but for its events.
    const shownBy = preset === "elements" ? ["elements", "default"] : [preset];
    const steps = exchanges().flatMap(([, exchange]) => (shownBy.includes(exchange.preset) ? exchange.steps : []));
    for (const key of Object.keys(messages)) {
      const isShown = steps.some((step) => "frame" in step && key === `${"client" in step ? "client" : "server"}.${step.frame}`);
      if (!isShown) throw new Error(`no exchange of ${preset} shows its ${key}`);
    }
  }
});

let shared: Scene;
before(async () => {
  shared = await Scene.start({});
});
after(() => shared?.stop());

/** One that differs; or as it takes the seconds until a token expires. */
function hasOwnServer({ server, token }: Exchange): boolean {
  return server !== undefined || (token?.expires_in_s ?? 0) > 0;
}

test("exchanges", async (t) => {
  for (const [name, exchange] of exchanges().filter(([, exchange]) => !hasOwnServer(exchange))) {
    await t.test(name, () => play(exchange, shared));
  }
});

test("exchanges with servers of their own", { concurrency: 4 }, async (t) => {
  const own = exchanges().filter(([, exchange]) => hasOwnServer(exchange));
  await Promise.all(own.map(([name, exchange]) => t.test(name, async () => {
    const scene = await Scene.start(exchange.server ?? {});
    try {
      await play(exchange, scene);
    } finally {
      await scene.stop();
    }
  })));
});
