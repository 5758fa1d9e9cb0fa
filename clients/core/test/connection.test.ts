// When the client connects, when it comes back, and when it gives up.

import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";

import { createClient } from "../src/index.js";
import { Scene } from "./support/scene.js";

beforeEach(() => {
  vi.useFakeTimers({ now: Date.parse("2026-01-01T00:00:00Z") });
});
afterEach(() => {
  vi.useRealTimers();
});

describe("opening", () => {
  test("nothing is opened before somebody wants something", async () => {
    const scene = new Scene();
    await scene.wait(10_000);
    expect(scene.links).toEqual([]);
    expect(scene.lifecycle.listeners).toBe(0);
    expect(scene.client.status).toEqual({
      state: "disconnected",
      attempt: 0,
      retryInMs: undefined,
      transport: undefined,
      isOnline: true,
      error: undefined,
    });
  });

  test("hello has the channels of one macrotask, and connected is said once the server has welcomed", async () => {
    const scene = new Scene({ getToken: () => "secret" });
    scene.client.subscribe("tasks", () => {});
    scene.client.subscribe("plans", () => {});
    scene.client.subscribe("tasks", () => {});
    await scene.soon();
    scene.link.open();
    expect(scene.link.said).toEqual([{ type: "hello", id: 1, channels: ["tasks", "plans"], token: "secret" }]);
    expect(scene.states).toEqual(["connecting"]);
    scene.link.tell({ type: "welcome", id: 1 });
    expect(scene.client.status).toMatchObject({ state: "connected", transport: "ws", attempt: 0 });
  });

  test("on event opens, too, and asks for all", async () => {
    const scene = new Scene();
    const seen: unknown[] = [];
    scene.client.on("event", (event) => seen.push(event.id));
    await scene.soon();
    scene.link.welcome().event(1, "tasks");
    expect(scene.link.said).toEqual([{ type: "hello", id: 1, channels: ["*"] }]);
    expect(seen).toEqual([1]);
  });

  test("what is undone and done again in one task, as React does, changes nothing", async () => {
    const scene = new Scene();
    scene.client.subscribe("tasks", () => {})();
    const undo = scene.client.subscribe("tasks", () => {});
    await scene.soon();
    expect(scene.links).toHaveLength(1);
    scene.link.welcome();
    undo();
    scene.client.subscribe("tasks", () => {});
    await scene.wait(5_000);
    expect(scene.links).toHaveLength(1);
    expect(scene.link.said).toHaveLength(1);
    expect(scene.link.isOver).toBe(false);
  });

  test("the last undo of a channel leaves it, and without any the connection ends a little later", async () => {
    const scene = new Scene();
    const undos = [
      scene.client.subscribe("a", () => {}),
      scene.client.subscribe("a", () => {}),
      scene.client.subscribe("b", () => {}),
    ];
    await scene.soon();
    scene.link.welcome();
    undos[0]?.();
    undos[0]?.();
    await scene.soon();
    expect(scene.link.said).toHaveLength(1);
    undos[1]?.();
    await scene.soon();
    expect(scene.link.said.at(-1)).toEqual({ type: "unsubscribe", id: 2, channels: ["a"] });
    undos[2]?.();
    await scene.soon();
    expect(scene.link.isOver).toBe(false);
    await scene.wait(1_000);
    expect(scene.link.closedWith).toBe(1000);
    expect(scene.client.status.state).toBe("disconnected");
    expect(scene.lifecycle.listeners).toBe(0);
  });

  test("connect opens without a subscription and stays", async () => {
    const scene = new Scene();
    scene.client.connect();
    scene.link.welcome();
    expect(scene.link.said).toEqual([{ type: "hello", id: 1 }]);
    scene.client.subscribe("a", () => {})();
    await scene.wait(20_000);
    expect(scene.client.status.state).toBe("connected");
  });

  test("disconnect stays away, keeps what is wanted, and connect goes on from there", async () => {
    const scene = new Scene();
    const link = await scene.connected("tasks");
    link.event(7, "tasks", "c7");
    scene.client.disconnect();
    expect(link.closedWith).toBe(1000);
    scene.client.subscribe("plans", () => {});
    await scene.wait(100_000);
    expect(scene.links).toHaveLength(1);
    scene.client.connect();
    scene.link.open();
    expect(scene.link.said[0]).toMatchObject({ channels: ["tasks", "plans"], since: "c7" });
  });

  test("without any transport it says what to do, and throws nothing", async () => {
    vi.stubGlobal("WebSocket", undefined);
    const client = createClient({ url: "ws://server/ws" });
    client.connect();
    expect(client.status.state).toBe("error");
    expect(client.status.error?.message).toContain("environment: { WebSocket }");
    vi.unstubAllGlobals();
    const nowhere = createClient();
    nowhere.connect();
    expect(nowhere.status.error?.message).toContain("check url");
  });
});

describe("coming back", () => {
  test("after a cut: full jitter, doubling to the longest, and attempts are forgotten after five seconds", async () => {
    const scene = new Scene({ reconnectInterval: 1_000, reconnectMaxInterval: 4_000 });
    const link = await scene.connected();
    await scene.wait(5_000);
    link.end();
    const waits: unknown[] = [];
    for (let n = 0; n < 5; n += 1) {
      waits.push(scene.client.status.retryInMs);
      expect(scene.client.status).toMatchObject({ state: "reconnecting", attempt: n + 1, transport: undefined });
      await scene.wait(scene.client.status.retryInMs ?? 0);
      expect(scene.links).toHaveLength(n + 2);
      if (n < 4) scene.link.end();
    }
    expect(waits).toEqual([500, 1_000, 2_000, 2_000, 2_000]);
    scene.link.welcome();
    expect(scene.client.status).toMatchObject({ state: "connected", attempt: 5, error: undefined });
    await scene.wait(4_999);
    expect(scene.client.status.attempt).toBe(5);
    await scene.wait(1);
    expect(scene.client.status.attempt).toBe(0);
  });

  test("at the time that the server says, which nothing shortens but connect", async () => {
    const scene = new Scene();
    const link = await scene.connected();
    link.tell({ type: "disconnect", code: "SERVER_SHUTDOWN", reconnect: true, retryAfterMs: 7_000, cursor: "c9" });
    link.end(1012);
    expect(scene.client.status.retryInMs).toBe(7_000);
    scene.lifecycle.change("online");
    scene.lifecycle.change("visible");
    await scene.wait(6_990);
    expect(scene.links).toHaveLength(1);
    await scene.wait(10);
    expect(scene.links).toHaveLength(2);
    expect(scene.link.open().said[0]).toMatchObject({ since: "c9" });
    scene.link.end(4429, { retryAfterMs: 60_000 });
    scene.client.connect();
    expect(scene.links).toHaveLength(3);
  });

  test("too many messages: at the time of the error before", async () => {
    const scene = new Scene();
    const link = await scene.connected();
    link.tell({ type: "error", code: "RATE_LIMIT_EXCEEDED", message: "", limit: 100, retryAfterMs: 33_000 });
    link.end(4429);
    expect(scene.client.status.retryInMs).toBe(33_000 + 500);
  });

  test("an end that was announced is no failure, however many there are", async () => {
    const scene = new Scene({ maxRetries: 2 });
    await scene.connected();
    for (let n = 0; n < 10; n += 1) {
      await scene.wait(1_000);
      scene.link.tell({ type: "disconnect", code: "SERVER_SHUTDOWN", reconnect: true, retryAfterMs: 800 }).end(1012);
      expect(scene.client.status).toMatchObject({ state: "reconnecting", attempt: 0, retryInMs: 800 });
      await scene.wait(800);
      expect(scene.links).toHaveLength(n + 2);
      scene.link.welcome();
    }
    await scene.wait(1_000);
    scene.link.end();
    expect(scene.client.status).toMatchObject({ attempt: 1, retryInMs: 500 });
  });

  test("it forgets no failure either, until a connection has lasted", async () => {
    const scene = new Scene();
    scene.client.connect();
    for (let n = 0; n < 3; n += 1) {
      scene.link.end();
      await scene.wait(scene.client.status.retryInMs ?? 0);
    }
    scene.link.welcome();
    await scene.wait(1_000);
    scene.link.tell({ type: "disconnect", code: "SERVER_SHUTDOWN", reconnect: true, retryAfterMs: 800 }).end(1012);
    expect(scene.client.status).toMatchObject({ attempt: 3, retryInMs: 800 });
    await scene.wait(800);
    scene.link.end();
    expect(scene.client.status).toMatchObject({ attempt: 4, retryInMs: 4_000 });
  });

  test("the time is counted from when it was said, as events come until the end", async () => {
    const scene = new Scene();
    const link = await scene.connected();
    link.tell({ type: "disconnect", code: "SERVER_SHUTDOWN", reconnect: true, retryAfterMs: 16_300 });
    await scene.wait(15_000);
    expect(scene.client.status.state).toBe("connected");
    link.event(1, "tasks", "c1").end(1012);
    expect(scene.client.status).toMatchObject({ attempt: 0, retryInMs: 1_300 });
  });

  test("a restart without a time is no failure, and a time of its own is waited", async () => {
    const scene = new Scene();
    const link = await scene.connected();
    await scene.wait(1_000);
    link.end(1012);
    expect(scene.client.status).toMatchObject({ attempt: 0, retryInMs: 250 });
  });

  test.each([
    ["says farewell", { type: "disconnect", code: "SERVER_SHUTDOWN", reconnect: true, retryAfterMs: 0 }, 1012],
    ["says farewell without a time", { type: "disconnect", code: "SERVER_SHUTDOWN", reconnect: true }, 1012],
    ["says that it restarts", { type: "heartbeat" }, 1012],
    ["dies", { type: "heartbeat" }, 1006],
  ])("a server that greets and at once %s is asked ever more seldom", async (_, last, code) => {
    const scene = new Scene();
    scene.client.connect();
    const startedAt = Date.now();
    const waits: unknown[] = [];
    while (Date.now() - startedAt < 300_000) {
      scene.link.welcome().tell(last).end(code);
      waits.push(scene.client.status.retryInMs);
      await scene.wait(Math.max(1, scene.client.status.retryInMs ?? 0));
    }
    // 1, 2, 4, 8, 16, and then 30 s, of which a half is waited each time.
    expect(scene.links.length).toBeLessThan(26);
    expect(scene.links.length).toBeGreaterThan(20);
    expect(waits.at(-1)).toBe(15_000);
  });

  test("handed over: at once, and no failure", async () => {
    const scene = new Scene();
    (await scene.connected()).end(1000, { handedOver: true });
    expect(scene.links).toHaveLength(2);
    expect(scene.client.status).toMatchObject({ state: "reconnecting", attempt: 0, error: undefined });
  });

  test("an attempt that takes too long is given up", async () => {
    const scene = new Scene({ connectTimeout: 3_000 });
    scene.client.connect();
    await scene.wait(3_000);
    expect(scene.links[0]?.closedWith).toBe(1000);
    expect(scene.client.status).toMatchObject({ state: "reconnecting", error: { code: "TIMEOUT" } });
  });

  test("not more often than maxRetries", async () => {
    const scene = new Scene({ maxRetries: 2 });
    scene.client.connect();
    for (let n = 0; n < 3; n += 1) {
      scene.link.end();
      await scene.wait(60_000);
    }
    expect(scene.links).toHaveLength(3);
    expect(scene.client.status).toMatchObject({ state: "error", retryInMs: undefined });
    scene.client.connect();
    expect(scene.links).toHaveLength(4);
  });

  test("not at all, where reconnect is false", async () => {
    const scene = new Scene({ reconnect: false });
    (await scene.connected()).end();
    await scene.wait(100_000);
    expect(scene.links).toHaveLength(1);
    expect(scene.client.status).toMatchObject({ state: "disconnected", error: { code: "CLOSED", closeCode: 1006 } });
  });

  test.each([1002, 1007, 1009, 4400])("not after %d, which is a mistake", async (code) => {
    const scene = new Scene();
    (await scene.connected()).end(code, { reason: "because" });
    await scene.wait(100_000);
    expect(scene.links).toHaveLength(1);
    expect(scene.client.status).toMatchObject({
      state: "error",
      error: { message: "because", closeCode: code, retryable: false },
    });
  });

  test("not where the server says so", async () => {
    const scene = new Scene();
    (await scene.connected()).tell({ type: "disconnect", code: "GONE", reconnect: false }).end(1000);
    expect(scene.client.status.state).toBe("error");
  });
});

describe("tokens", () => {
  test("one that is refused is asked for once more, and another one is tried at once", async () => {
    const reasons: string[] = [];
    const getToken = vi.fn(async ({ reason }: { reason: string }) => {
      reasons.push(reason);
      return `token ${reasons.length}`;
    });
    const scene = new Scene({ getToken });
    await scene.connected();
    await scene.wait(5_000);
    scene.link.end(4001, { reason: "expired" });
    await scene.soon();
    expect(reasons).toEqual(["connect", "refused"]);
    expect(scene.link.open().said[0]).toMatchObject({ token: "token 2" });
  });

  test("the same one again is an error that says why", async () => {
    const scene = new Scene({ getToken: () => "secret" });
    scene.client.connect();
    await scene.soon();
    scene.link.open().end(4001, { reason: "your token has expired" });
    await scene.wait(100_000);
    expect(scene.links).toHaveLength(1);
    expect(scene.client.status).toMatchObject({
      state: "error",
      error: { code: "TOKEN", message: "your token has expired" },
    });
    expect(JSON.stringify(scene.statuses)).not.toContain("secret");
  });

  test("without getToken it says that one is needed", async () => {
    const scene = new Scene();
    scene.client.connect();
    scene.link.open().end(4001, { reason: "no token" });
    expect(scene.client.status).toMatchObject({
      state: "error",
      error: { message: "no token; pass getToken" },
    });
  });

  test("ever new ones that are refused back off", async () => {
    let calls = 0;
    const scene = new Scene({ getToken: () => `token ${++calls}` });
    scene.client.connect();
    for (let n = 0; n < 30; n += 1) {
      await scene.wait(1_000);
      if (!scene.link.isOver) scene.link.open().end(4001);
    }
    expect(scene.links.length).toBeLessThan(8);
    expect(scene.links.length).toBeGreaterThan(3);
  });

  test("a call that fails is repeated later; one that never ends does not keep the client from leaving", async () => {
    const getToken = vi
      .fn()
      .mockRejectedValueOnce(new Error("offline"))
      .mockReturnValue(new Promise(() => {}));
    const scene = new Scene({ getToken, connectTimeout: 2_000 });
    scene.client.connect();
    await scene.soon();
    expect(scene.client.status).toMatchObject({ state: "reconnecting", error: { code: "TOKEN", retryable: true } });
    await scene.wait(10_000);
    expect(getToken.mock.calls.length).toBeGreaterThan(2);
    expect(scene.links).toHaveLength(0);
    scene.client.disconnect();
    expect(scene.client.status.state).toBe("disconnected");
    await scene.wait(100_000);
    expect(scene.links).toHaveLength(0);
  });

  test("a fresh one is sent before the old one expires, by the server's word or the clock", async () => {
    let calls = 0;
    const getToken = vi.fn(() => `token ${++calls}`);
    const scene = new Scene({ getToken, heartbeatInterval: 3_600_000 });
    const link = await scene.connected("tasks", { userId: "ann", expiresAt: "2026-01-01T00:15:00Z" });
    link.tell({ type: "auth_expiring", inMs: 60_000 });
    await scene.soon();
    expect(getToken).toHaveBeenLastCalledWith({ reason: "expiring" });
    expect(link.said.at(-1)).toEqual({ type: "auth", id: 2, token: "token 2" });
    link.tell({ type: "auth_ok", id: 2, userId: "ann", expiresAt: "2026-01-01T00:30:00Z" });
    await scene.wait(28 * 60_000);
    expect(calls).toBe(2);
    await scene.wait(60_000);
    expect(link.said.at(-1)).toEqual({ type: "auth", id: 3, token: "token 3" });
  });

  test("one of another user opens another connection", async () => {
    let calls = 0;
    const scene = new Scene({ getToken: () => `token ${++calls}` });
    const link = await scene.connected();
    link.tell({ type: "auth_expiring", inMs: 60_000 });
    await scene.soon();
    link.tell({ type: "error", id: 2, code: "FORBIDDEN", message: "another user" });
    await scene.soon();
    expect(link.isOver).toBe(true);
    expect(scene.link.open().said[0]).toMatchObject({ type: "hello", token: "token 3" });
  });

  test("none is in what debug tells", async () => {
    const told: unknown[] = [];
    const scene = new Scene({ getToken: () => "secret", debug: (...args) => told.push(args) });
    scene.client.subscribe("mine", () => {}, { getToken: () => "secret too" });
    const link = await scene.connected();
    link.tell({ type: "auth_expiring", inMs: 1 });
    await scene.soon();
    expect(link.said.map(({ type }) => type)).toEqual(expect.arrayContaining(["hello", "subscribe", "auth"]));
    expect(JSON.stringify(told)).not.toContain("secret");
  });
});

test("a handler of status may disconnect", async () => {
  const scene = new Scene();
  scene.client.on("status", ({ state }) => state === "connected" && scene.client.disconnect());
  const link = await scene.connected();
  expect(link.isOver).toBe(true);
  await scene.wait(100_000);
  expect(scene.links).toHaveLength(1);
  expect(scene.client.status.state).toBe("disconnected");
});
