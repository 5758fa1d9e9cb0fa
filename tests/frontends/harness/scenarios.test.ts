// All front ends against one server, in Node and in Chromium at once; in the middle of each the server is restarted. Both
// offer compression, and the server takes it.

import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { after, before, test } from "node:test";

import { build } from "esbuild";
import { type Browser, type Page, chromium as playwright } from "playwright-core";
import WebSocket from "ws";

import type { Env } from "../scenarios/env.js";
import { scenarios } from "../scenarios/index.js";
import { Server, chromium } from "./server.js";

// Node 20 has none.
Object.assign(globalThis, { WebSocket });

/** The `cloudevents` package sends by HTTP, too, which is not for pages. */
const ABSENT = { events: "./harness/absent.ts", http: "./harness/absent.ts", https: "./harness/absent.ts" };

const names = Object.keys(scenarios);

/** Restarts the server when everybody has asked for it, or is done without. */
class Meeting {
  private missing: number;
  private open: () => void = () => {};
  private readonly begun = new Promise<void>((resolve) => (this.open = resolve));
  private readonly done: Promise<void>;
  private here = new Set<string>();

  constructor(members: number, happens: () => Promise<void>) {
    this.missing = members;
    this.done = this.begun.then(happens);
    // Whoever waits for it is told.
    this.done.catch(() => {});
  }

  arrive(member: string): Promise<void> {
    if (!this.here.has(member)) {
      this.here.add(member);
      this.missing -= 1;
      if (this.missing === 0) this.open();
    }
    return this.done;
  }
}

let server: Server;
let browser: Browser;
let page: Page;
let meeting: Meeting;
/** Has the page, its script, and a login that answers with a cookie. */
const site = createServer(async (request, response) => {
  if (request.method === "POST") {
    let token = "";
    for await (const part of request) token += String(part);
    response.setHeader("set-cookie", `token=${token}; Path=/; HttpOnly; SameSite=Strict`);
    response.end();
    return;
  }
  const isScript = request.url === "/page.js";
  response.setHeader("content-type", isScript ? "text/javascript" : "text/html");
  response.end(isScript ? script : "<!doctype html><title>front ends</title><script src=/page.js></script>");
});
let script = "";

before(async () => {
  const bundle = await build({ entryPoints: ["harness/page.ts"], bundle: true, write: false, platform: "browser", alias: ABSENT, define: { global: "globalThis" }, banner: { js: "var process = { env: {} };" } });
  script = bundle.outputFiles[0]?.text ?? "";
  await new Promise<void>((resolve) => site.listen(0, "127.0.0.1", resolve));
  const origin = `http://127.0.0.1:${(site.address() as AddressInfo).port}`;
  server = await Server.start("--allow-origin", origin, "--compression", "on");
  meeting = new Meeting(2 * names.length, () => server.restart());
  const args = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic", "--disable-background-networking"];
  browser = await playwright.launch({ executablePath: chromium(), args });
  page = await browser.newPage();
  page.on("pageerror", (error) => console.error("in the page:", error));
  await page.exposeFunction("outside", outside);
  await page.goto(origin);
});

after(async () => {
  await browser?.close();
  await server?.stop();
  site.closeAllConnections();
  site.close();
});

function env(run: string): Env {
  return {
    host: server.host,
    run,
    isBrowser: false,
    insert: (...rows) => server.insert(...rows),
    token: async (claims) => server.token(claims),
    restart: () => meeting.arrive(run),
    statistics: (token, query) => server.statistics(token, query),
  };
}

type Call = (...args: unknown[]) => Promise<unknown>;

async function outside(run: string, name: "insert" | "token" | "restart" | "statistics", args: unknown[]): Promise<unknown> {
  return (env(run)[name] as Call)(...args);
}

test("front ends", { concurrency: 2 * names.length }, async (t) => {
  const played = names.flatMap((name) => [
    t.test(`${name}, in Node`, async () => {
      const run = `${name}-node`;
      try {
        await scenarios[name]?.(env(run));
      } finally {
        void meeting.arrive(run);
      }
    }),
    t.test(`${name}, in Chromium`, async () => {
      const run = `${name}-chromium`;
      try {
        const error = await page.evaluate(([name, host, run]) => window.play(name, host, run), [name, server.host, run] as const);
        if (error !== null) throw new Error(error);
      } finally {
        void meeting.arrive(run);
      }
    }),
  ]);
  await Promise.all(played);
});
