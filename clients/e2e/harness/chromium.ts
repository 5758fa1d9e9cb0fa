// A real browser, and a site with the page.

import { spawnSync } from "node:child_process";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";

import { type Browser, type BrowserContext, chromium, type Page } from "playwright-core";
import { build, type Rollup } from "vite";

import type { Findings, Plan } from "./page.js";

const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-dev-shm-usage",
  "--disable-quic",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--no-first-run",
];

function program(): string {
  for (const name of ["chromium", "chromium-browser", "google-chrome"]) {
    const found = spawnSync("sh", ["-c", `command -v ${name}`], { encoding: "utf8" }).stdout.trim();
    if (found !== "") return found;
  }
  throw new Error("there is no Chromium here: install Debian's package chromium, or Chrome");
}

/** A tab. */
export class Tab {
  readonly page: Page;

  constructor(page: Page) {
    this.page = page;
  }

  begin(plan: Plan): Promise<void> {
    return this.page.evaluate((given) => window.begin(given), plan);
  }

  findings(): Promise<Findings> {
    return this.page.evaluate(() => window.findings());
  }

  /** Waits until it has so many numbers. */
  async has(count: number, timeout = 60_000): Promise<void> {
    await this.page.waitForFunction((least) => window.brief()[0] >= least, count, { timeout, polling: 20 });
  }

  async is(state: string, timeout = 30_000): Promise<void> {
    await this.page.waitForFunction((wanted) => window.brief()[1] === wanted, state, { timeout, polling: 20 });
  }

  /** Whether it has a WebSocket open. */
  leads(): Promise<boolean> {
    return this.page.evaluate(() => window.leads());
  }

  /** Freezes the page as the browser does with pages in the background, or wakes it. */
  async freeze(state: "frozen" | "active"): Promise<void> {
    const session = await this.page.context().newCDPSession(this.page);
    await session.send("Page.setWebLifecycleState", { state });
    await session.detach();
  }

  close(): Promise<void> {
    return this.page.close();
  }
}

/** The browser, and the site of the page. */
export class Chromium {
  readonly origin: string;
  private readonly browser: Browser;
  private readonly site: Server;

  private constructor(browser: Browser, site: Server) {
    this.browser = browser;
    this.site = site;
    this.origin = `http://127.0.0.1:${(site.address() as AddressInfo).port}`;
  }

  static async start(): Promise<Chromium> {
    const entry = new URL("page.ts", import.meta.url).pathname;
    const built = await build({
      configFile: false,
      logLevel: "error",
      build: { write: false, minify: false, lib: { entry, formats: ["es"], fileName: "page" } },
    });
    const [output] = built as Rollup.RollupOutput[];
    const script = output?.output[0].code ?? "";
    const site = createServer((request, response) => {
      const isScript = request.url === "/page.js";
      response.setHeader("content-type", isScript ? "text/javascript" : "text/html");
      response.end(isScript ? script : "<!doctype html><title>page</title><script type=module src=/page.js></script>");
    });
    await new Promise<void>((resolve) => site.listen(0, "127.0.0.1", resolve));
    // Without a profile of its own Playwright makes a new one, and removes it.
    return new Chromium(await chromium.launch({ executablePath: program(), args: FLAGS }), site);
  }

  /** Another browser, as it were: nothing of the others is known there. */
  context(): Promise<BrowserContext> {
    return this.browser.newContext();
  }

  async tab(context: BrowserContext): Promise<Tab> {
    const page = await context.newPage();
    page.on("pageerror", (error) => process.stderr.write(`in the page: ${error.stack ?? error.message}\n`));
    await page.goto(this.origin);
    return new Tab(page);
  }

  async stop(): Promise<void> {
    await this.browser.close();
    this.site.closeAllConnections();
    this.site.close();
  }
}
