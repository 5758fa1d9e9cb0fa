// The exchanges of docs/protocol from the client's side: it says what is written there, and takes all that it is told.

import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";

import type { ServerFrame } from "../src/index.js";
import { type Present, presence, type Unknown } from "../src/presence/index.js";
import { Scene } from "./support/scene.js";

const folder = path.resolve(import.meta.dirname, "../../../docs/protocol");

interface Said {
  type: string;
  id?: number | string;
  channels?: string[];
  since?: string;
  presence?: boolean;
}
/** Who is on a channel, as an exchange tells it. */
interface Room {
  members?: { user: string }[];
  code?: string;
  event?: string;
  user?: string;
}
interface Exchange {
  about: string;
  token: object | null;
  steps: {
    frame?: string;
    client?: Said;
    server?: ServerFrame;
    close?: { code: number };
    disconnect?: true;
    connect?: string;
  }[];
}

const exchanges = readdirSync(folder)
  .filter((name) => /^default-.*\.json$/.test(name))
  .map((name): [string, Exchange] => [name, JSON.parse(readFileSync(path.join(folder, name), "utf8"))]);

/** What a placeholder may stand for: numbers where they are numbers, and a name of its own for each position. */
function filled(frame: ServerFrame): ServerFrame {
  let positions = 0;
  const text = JSON.stringify(frame)
    .replace(/"<(id|ms)>"/g, () => String(Math.floor(Math.random() * 1e9)))
    .replace(/<time>/g, "2026-01-01T01:00:00.000Z")
    .replace(/<cursor>/g, () => `c${Math.random()}${++positions}`);
  return JSON.parse(text);
}

beforeEach(() => {
  vi.useFakeTimers({ now: Date.parse("2026-01-01T00:00:00Z") });
});
afterEach(() => {
  vi.useRealTimers();
});

describe.each(exchanges)("%s", (name, { steps, token }) => {
  test("is what the client says and takes", async () => {
    const thrown = vi.fn();
    vi.stubGlobal("reportError", thrown);
    let tokens = 0;
    // Somebody watches the channels of which the exchange asks who is there.
    const { transport, watch } = presence({ name: "ws", open: (...what) => scene.transport("ws").open(...what) });
    const scene: Scene = new Scene({
      transports: [transport],
      ...(token === null ? {} : { getToken: () => `token ${++tokens}` }),
    });
    const told: string[] = [];
    const show = (channel: string, { members }: Pick<Present, "members">) =>
      told.push(`${channel}: ${members.map(({ user }) => user)}`);
    const shrug = (channel: string, { code }: Pick<Unknown, "code">) => told.push(`${channel}: ${code}`);
    /** What the watchers are to be told, by what the server says. */
    const known = new Map<string, string[]>();
    const owed: string[] = [];
    const owe = (channel: string, { members, code, event, user }: Room) => {
      if (code) {
        owed.push(`${channel}: ${code}`);
        return;
      }
      const before = known.get(channel) ?? [];
      const after = members?.map(({ user }) => user) ?? before.filter((one) => one !== user);
      if (event === "join" && user) after.push(user);
      known.set(channel, after);
      owed.push(`${channel}: ${after}`);
    };
    const got = new Set<unknown>();
    const undos = new Map<string, () => void>();
    scene.client.connect();
    await scene.soon();
    scene.link.open();
    scene.link.tell({ type: "welcome", id: 1 });
    /** Our ids of what the exchange has ids of its own for. */
    const ids = new Map<unknown, number>();
    for (const { client: said, server: told, close, disconnect, connect } of steps) {
      const last = () => scene.link.said.at(-1);
      if (
        said?.channels &&
        ["hello", "subscribe"].includes(said.type) &&
        said.channels.every((channel) => !channel.includes(" "))
      ) {
        for (const channel of said.channels) {
          if (said.presence)
            watch(
              channel,
              (present) => show(channel, present),
              (reason) => shrug(channel, reason),
            );
          const since = said.since === undefined || said.since.startsWith("<") ? {} : { since: said.since };
          if (!undos.has(channel))
            undos.set(
              channel,
              scene.client.subscribe(channel, (event) => got.add(event), since),
            );
        }
        await scene.soon();
        expect(last()).toMatchObject({
          channels: said.channels,
          ...(said.since ? { since: expect.any(String) } : {}),
          ...(said.presence ? { presence: true } : {}),
        });
        ids.set(said.id, (last() as { id: number }).id);
      } else if (said?.type === "unsubscribe") {
        for (const channel of said.channels ?? []) undos.get(channel)?.();
        await scene.soon();
        expect(last()).toMatchObject({ type: "unsubscribe", channels: said.channels });
      } else if (said?.type === "auth") {
        const auth = scene.link.said.find(({ type }) => type === "auth");
        expect(auth).toMatchObject({ token: "token 2" });
        ids.set(said.id, (auth as { id: number }).id);
      } else if (told) {
        const isReset = steps.some(({ frame }) => frame === "reset");
        const frame = filled(told.recovered && !isReset ? { ...told, cursor: (last() as Said).since ?? "" } : told);
        const id = ids.get(frame.id);
        for (const [channel, room] of Object.entries((frame.presence ?? {}) as Record<string, Room>))
          owe(channel, room);
        if (frame.type === "presence") owe(frame.channel as string, frame as Room);
        scene.link.tell(id === undefined ? frame : { ...frame, id });
        await scene.soon();
        if (frame.cursor !== undefined && frame.type !== "disconnect") expect(scene.client.cursor).toBe(frame.cursor);
      } else if (close) scene.link.end(close.code);
      else if (disconnect) scene.link.end();
      else if (connect) {
        await scene.wait(1_000);
        scene.link.open().tell({ type: "welcome", id: 1 });
      }
    }
    const events = steps.flatMap(({ server }) => (server?.type === "event" ? [server.event] : []));
    expect([...got]).toEqual(
      events.map((event) => expect.objectContaining({ type: (event as { type: string }).type })),
    );
    expect(told).toEqual(owed);
    expect(owed.length > 0).toBe(name.includes("presence"));
    expect(thrown).not.toHaveBeenCalled();
    expect(scene.errors.filter(({ code }) => code === "HANDLER")).toEqual([]);
    vi.unstubAllGlobals();
    expect(name).toContain("default-");
  });
});
