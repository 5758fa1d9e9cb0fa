// Lines that die, and what a page goes through.

import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";

import { Scene } from "./support/scene.js";

beforeEach(() => {
  vi.useFakeTimers({ now: Date.parse("2026-01-01T00:00:00Z") });
});
afterEach(() => {
  vi.useRealTimers();
});

describe("a dead line", () => {
  test("is noticed after forty quiet seconds, after one ping", async () => {
    const scene = new Scene();
    const link = await scene.connected();
    await scene.wait(30_000);
    expect(link.said.at(-1)).toEqual({ type: "ping" });
    await scene.wait(9_990);
    expect(scene.client.status.state).toBe("connected");
    await scene.wait(10);
    expect(scene.client.status).toMatchObject({ state: "reconnecting", error: { code: "TIMEOUT" } });
  });

  test("is not one where the server answers, or says something anyway", async () => {
    const scene = new Scene();
    const link = await scene.connected();
    for (let n = 0; n < 10; n += 1) {
      await scene.wait(20_000);
      link.tell({ type: "heartbeat" });
    }
    expect(link.said).toHaveLength(1);
    await scene.wait(30_000);
    link.tell({ type: "pong" });
    await scene.wait(29_000);
    expect(scene.client.status.state).toBe("connected");
  });

  test("after sleep it is asked first, for five seconds", async () => {
    const scene = new Scene();
    const link = await scene.connected();
    vi.setSystemTime(Date.now() + 3_600_000);
    scene.lifecycle.change("visible");
    expect(link.said.at(-1)).toEqual({ type: "ping" });
    await scene.wait(4_000);
    expect(scene.client.status.state).toBe("connected");
    link.tell({ type: "pong" });
    await scene.wait(20_000);
    expect(scene.client.status.state).toBe("connected");
    vi.setSystemTime(Date.now() + 3_600_000);
    scene.lifecycle.change("resume");
    await scene.wait(5_000);
    expect(scene.client.status.state).toBe("reconnecting");
  });

  test("a timer that has slept with the device says nothing", async () => {
    const scene = new Scene();
    const link = await scene.connected();
    await scene.wait(30_000);
    vi.setSystemTime(Date.now() + 3_600_000);
    await scene.wait(10_000);
    expect(scene.client.status.state).toBe("connected");
    expect(link.said.filter(({ type }) => type === "ping")).toHaveLength(2);
    await scene.wait(5_000);
    expect(scene.client.status.state).toBe("reconnecting");
  });
});

describe("the page", () => {
  test("offline: a live line is asked, and attempts wait for the network", async () => {
    const scene = new Scene();
    const link = await scene.connected();
    scene.lifecycle.change("offline");
    expect(scene.client.status).toMatchObject({ state: "connected", isOnline: false });
    expect(link.said.at(-1)).toEqual({ type: "ping" });
    await scene.wait(5_000);
    expect(scene.client.status).toMatchObject({ state: "reconnecting", isOnline: false, retryInMs: undefined });
    await scene.wait(600_000);
    expect(scene.links).toHaveLength(1);
    scene.lifecycle.change("online");
    expect(scene.links).toHaveLength(2);
    expect(scene.client.status.isOnline).toBe(true);
  });

  test("seen again: the next attempt is now", async () => {
    const scene = new Scene();
    (await scene.connected()).end();
    scene.lifecycle.change("visible");
    expect(scene.links).toHaveLength(2);
  });

  test("frozen or kept for the back button: the connection ends, and is there again with it", async () => {
    const scene = new Scene();
    const link = await scene.connected();
    link.event(3, "tasks", "c3");
    scene.lifecycle.change("suspend");
    expect(link.closedWith).toBe(1000);
    await scene.wait(600_000);
    expect(scene.links).toHaveLength(1);
    scene.lifecycle.change("resume");
    expect(scene.link.open().said[0]).toMatchObject({ channels: ["tasks"], since: "c3" });
  });

  test("hidden for too long: the same, if it is wanted", async () => {
    const scene = new Scene({ hiddenTimeout: 60_000, heartbeatInterval: 3_600_000 });
    const link = await scene.connected();
    scene.lifecycle.change("hidden");
    await scene.wait(50_000);
    scene.lifecycle.change("visible");
    link.tell({ type: "pong" });
    scene.lifecycle.change("hidden");
    await scene.wait(59_000);
    expect(link.isOver).toBe(false);
    await scene.wait(1_000);
    expect(scene.client.status.state).toBe("disconnected");
    scene.lifecycle.change("visible");
    expect(scene.links).toHaveLength(2);
  });
});
