// The exchanges of docs/protocol, which the real server is held to word by word, replayed against the server for tests.

/// <reference types="node" />

import { readdirSync, readFileSync } from "node:fs";

import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { createTestServer, type NewEvent, type TestServer } from "../src/testing/index.js";
import { RawLine } from "./testing-raw.js";

type Json = Record<string, unknown>;
interface Claims {
  readonly sub?: string;
  readonly channels?: readonly string[];
  readonly expires_in_s?: number;
}
interface Exchange {
  readonly title: string;
  readonly path: string;
  readonly token: Claims | null;
  readonly server?: {
    readonly messages_per_minute?: number;
    readonly ping_interval_ms?: number;
    readonly presence?: string;
  };
  readonly steps: readonly Json[];
}

const FOLDER = new URL("../../../docs/protocol/", import.meta.url);
const all = readdirSync(FOLDER).filter((name) => name.startsWith("default-"));
const read = (name: string) => JSON.parse(readFileSync(new URL(name, FOLDER), "utf8")) as Exchange;
/** The server for tests does not keep who is on a channel. */
const names = all.filter((name) => read(name).server?.presence === undefined);

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

/** Tokens are claims as text. */
const tokenOf = (claims: unknown) => JSON.stringify(claims);

function serverFor(exchange: Exchange): TestServer {
  return createTestServer({
    authenticate(token) {
      const { sub, channels = [], expires_in_s } = JSON.parse(token) as Claims;
      if ((expires_in_s ?? 1) < 0) return undefined;
      return {
        channels,
        expiresInMs: (expires_in_s ?? 3600) * 1000,
        ...(sub === undefined ? {} : { userId: sub }),
      };
    },
    ...(exchange.server?.messages_per_minute && { messagesPerMinute: exchange.server.messages_per_minute }),
    ...(exchange.server?.ping_interval_ms && { pingIntervalMs: exchange.server.ping_interval_ms }),
  });
}

function rowOf({ entity_id, trace_id, ...rest }: Json): NewEvent {
  return {
    ...rest,
    ...(entity_id === undefined ? {} : { entityId: entity_id }),
    ...(trace_id === undefined ? {} : { traceId: trace_id }),
  } as NewEvent;
}

/** What is written in angle brackets differs each time; what `<cursor:seen>` stood for stays. */
function compare(wanted: unknown, found: unknown, seen: Map<string, unknown>): void {
  const placeholder = typeof wanted === "string" ? /^<(\w+)(:\w+)?>$/.exec(wanted) : null;
  if (placeholder !== null) {
    const [all, kind] = placeholder as unknown as [string, string];
    if (seen.has(all)) expect(found).toBe(seen.get(all));
    if (placeholder[2] !== undefined) seen.set(all, found);
    expect(typeof found).toBe(kind === "id" || kind === "ms" ? "number" : "string");
  } else if (typeof wanted === "object" && wanted !== null) {
    expect(Object.keys(found as Json).sort()).toEqual(Object.keys(wanted).sort());
    for (const [key, value] of Object.entries(wanted)) compare(value, (found as Json)[key], seen);
  } else expect(found).toEqual(wanted);
}

async function play(exchange: Exchange): Promise<void> {
  const server = serverFor(exchange);
  const seen = new Map<string, unknown>();
  const connect = (path: string) => {
    const query = exchange.token === null ? "" : `?token=${encodeURIComponent(tokenOf(exchange.token))}`;
    return RawLine.open(server.environment.WebSocket, `ws://test${path}${query}`);
  };
  let line = await connect(exchange.path);
  for (const step of exchange.steps) {
    if ("client" in step) {
      const client = step.client as Json;
      const said = typeof client.token === "object" ? { ...client, token: tokenOf(client.token) } : client;
      line.send(JSON.parse(JSON.stringify(said).replace("<cursor:seen>", String(seen.get("<cursor:seen>")))));
    } else if ("client_text" in step) line.sendText(String(step.client_text));
    else if ("server" in step) compare(step.server, await line.next(), seen);
    else if ("insert" in step) server.commit([step.insert].flat().map((row) => rowOf(row as Json)));
    else if ("broadcast" in step) {
      const { channel, event } = step.broadcast as { channel: string; event: Json };
      server.broadcast(channel, event);
    } else if ("nothing" in step) {
      await vi.advanceTimersByTimeAsync(0);
      expect(line.waiting).toEqual([]);
    } else if ("close" in step) compare(step.close, await line.next(), seen);
    else if ("disconnect" in step) line.close();
    else if ("connect" in step) line = await connect(String(step.connect));
    else server.restart();
  }
  server.close();
}

test.each(names)("%s", async (name) => {
  const playing = play(read(name));
  // Heartbeats and expiries are a matter of time.
  await Promise.all([playing, vi.advanceTimersByTimeAsync(3_000)]);
});

test("there are exchanges", () => expect(names.length).toBeGreaterThan(15));
