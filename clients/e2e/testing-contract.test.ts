// The server for tests has to be like the real one: the same scenarios, and the answers compared.

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import WebSocket from "ws";

import type { WebSocketConstructor } from "../core/src/index.js";
import { createTestServer, type NewEvent } from "../core/src/testing/index.js";
import { type Heard, RawLine } from "../core/test/testing-raw.js";
import { type Claims, type Scenario, type Subject, scenarios } from "../core/test/testing-scenarios.js";
import { Database, Rowcast } from "./harness/rowcast.js";

/** Seconds that make a token old. */
const LONG_AGO = -600;

function fake(hasTokens: boolean): Subject {
  const accept = (text: string): Claims | undefined => {
    const claims = JSON.parse(text) as Claims;
    return claims.isOld ? undefined : claims;
  };
  const server = createTestServer(
    hasTokens
      ? {
          authenticate(text) {
            const claims = accept(text);
            if (claims === undefined) return undefined;
            const { sub, channels = [] } = claims;
            return { channels, expiresInMs: 3_600_000, ...(sub === undefined ? {} : { userId: sub }) };
          },
          permit: (text) => accept(text)?.channel,
        }
      : {},
  );
  return {
    open(token) {
      const query = token === undefined ? "" : `?token=${encodeURIComponent(JSON.stringify(token))}`;
      return RawLine.open(server.environment.WebSocket, `ws://test/ws${query}`);
    },
    token: (claims) => JSON.stringify(claims),
    commit: async (...events) => void server.commit(events),
    broadcast: async (channel, event) => server.broadcast(channel, event),
    restart: async () => server.restart(),
  };
}

/** The real one, with an empty table as far as a scenario can tell. */
async function real(hasTokens: boolean): Promise<{ subject: Subject; stop: () => Promise<void> }> {
  const database = new Database();
  const key = hasTokens ? ["--jwt-secret-file", database.keyFile, "--max-auth-failures", "0"] : [];
  const server = await Rowcast.start(database, ...key);
  const tokenOf = ({ isOld, ...claims }: Claims) =>
    database.token({ ...claims, ...(isOld ? { expires_in_s: LONG_AGO } : {}) });
  const subject: Subject = {
    open(token) {
      const query = token === undefined ? "" : `?token=${tokenOf(token)}`;
      return RawLine.open(WebSocket as unknown as WebSocketConstructor, `ws://${server.host}/ws${query}`);
    },
    token: tokenOf,
    commit: (...events: readonly NewEvent[]) =>
      database.insert(...events.map((event) => ({ ...event, channel: [event.channel].flat().join(" ") }))),
    async broadcast(channel, event) {
      const body = JSON.stringify({ channel, event });
      const headers = { "content-type": "application/json" };
      const answer = await fetch(`http://${server.host}/broadcast`, { method: "POST", headers, body });
      expect(answer.status).toBe(202);
    },
    restart: () => server.restart(),
  };
  return {
    subject,
    async stop() {
      await server.stop();
      database.remove();
    },
  };
}

/** What differs from run to run is named by its kind; ids of rows by their order. */
function plain(heard: readonly Heard[]): unknown {
  const ids: unknown[] = [];
  const words = new Map([
    ["cursor", "<cursor>"],
    ["createdAt", "<time>"],
    ["expiresAt", "<time>"],
    ["connectionId", "<id>"],
    ["server", "<text>"],
    ["message", "<text>"],
    ["reason", "<text>"],
    ["retryAfterMs", 0],
  ] as [string, unknown][]);
  return JSON.parse(JSON.stringify(heard), function replace(this: Heard, key, value) {
    if (key === "id" && "createdAt" in this) {
      if (!ids.includes(value)) ids.push(value);
      return `event ${ids.indexOf(value)}`;
    }
    // Why there is a reset is for programs.
    if (key === "reason" && this.type === "reset") return value;
    return words.get(key) ?? value;
  });
}

describe.each([false, true])("with tokens: %s", (hasTokens) => {
  const own = Object.entries(scenarios).filter(([, scenario]) => (scenario.hasTokens ?? false) === hasTokens);
  let running: { subject: Subject; stop: () => Promise<void> };

  beforeAll(async () => {
    running = await real(hasTokens);
  });
  afterAll(() => running?.stop());

  test.each(own)("%s", async (_name: string, scenario: Scenario) => {
    const heard = await scenario.play(fake(hasTokens));
    expect(plain(heard)).toEqual(plain(await scenario.play(running.subject)));
  });
});
