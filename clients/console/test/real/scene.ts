// What a test of the page plays in: a server of the real program on a database of its own, and a real browser.

import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { type Browser, chromium, type Page } from "playwright-core";

/** The program, as `ROWCAST` names it. */
export function program(): string {
  const path = process.env.ROWCAST;
  if (!path) throw new Error("set ROWCAST to the path of the rowcast program, such as ../../target/debug/rowcast");
  return path;
}

/** A running server. */
export interface Served {
  /** `http://127.0.0.1:…`, without a slash. */
  readonly url: string;
  readonly database: string;
  /** Inserts a row by `rowcast emit`, as another program would. */
  emit(channel: string, type: string, payload?: unknown): void;
  /** A token of the server's key. */
  mint(user: string, ...flags: string[]): string;
  stop(): void;
}

/** Starts a server; with `isLocked` it asks for tokens. */
export async function serve(options: { isLocked?: boolean; flags?: readonly string[] } = {}): Promise<Served> {
  const folder = mkdtempSync(join(tmpdir(), "rowcast-console-"));
  const database = `sqlite://${join(folder, "feed.db")}`;
  const key = join(folder, "key");
  writeFileSync(key, "a secret of this test and of nobody else\n", { mode: 0o600 });
  const flags = ["serve", "--database-url", database, "--listen", "127.0.0.1:0", "--log-format", "json"];
  if (options.isLocked) flags.push("--jwt-secret-file", key);
  // Not the environment of whoever runs the tests: it may have flags of its own.
  const environment = { PATH: process.env.PATH ?? "", ROWCAST_MAX_PUBLISHES_PER_MINUTE: "0" };
  const child = spawn(program(), [...flags, ...(options.flags ?? [])], {
    cwd: folder,
    env: environment,
    stdio: ["ignore", "ignore", "pipe"],
  });
  const url = await addressOf(child);
  const run = (...flags: string[]): string =>
    execFileSync(program(), flags, { cwd: folder, env: environment, encoding: "utf8" }).trim();
  return {
    url,
    database,
    emit: (channel, type, payload = {}) =>
      void run("emit", "--database-url", database, channel, type, JSON.stringify(payload)),
    mint: (user, ...flags) => run("token", "mint", "--jwt-secret-file", key, "--user", user, ...flags),
    stop() {
      child.kill("SIGKILL");
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** Where it says that it listens. */
async function addressOf(child: ChildProcess): Promise<string> {
  if (!child.stderr) throw new Error("its log is not read");
  const log = createInterface({ input: child.stderr });
  return await new Promise((resolve, reject) => {
    const said: string[] = [];
    log.on("line", (line) => {
      said.push(line);
      const found = /"console":"(http:[^"]*)\/"/.exec(line);
      if (found?.[1]) resolve(found[1]);
    });
    child.on("exit", () => reject(new Error(`it ended: ${said.join("\n")}`)));
  });
}

/** A browser without a screen. */
export async function launch(flags: readonly string[] = []): Promise<Browser> {
  return await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
      ...flags,
    ],
  });
}

/** Opens the console, and fails the test when the page has an error or is kept from something by its policy. */
export async function open(
  browser: Browser,
  url: string,
  options: { colorScheme?: "light" | "dark"; width?: number; height?: number } = {},
): Promise<{ page: Page; errors: string[] }> {
  const { colorScheme = "light", width = 1280, height = 800 } = options;
  const context = await browser.newContext({ colorScheme, viewport: { width, height } });
  const page = await context.newPage();
  const errors: string[] = [];
  page.on("pageerror", (error) => errors.push(error.message));
  page.on("console", (message) => {
    // Chromium itself says of every 401 and 403 that it failed to load.
    if (message.type() === "error" && !message.text().startsWith("Failed to load resource"))
      errors.push(message.text());
  });
  await page.goto(`${url}/`);
  return { page, errors };
}

/** Waits until the page says that events come. */
export async function isLive(page: Page): Promise<void> {
  await page.getByRole("status").filter({ hasText: "Live" }).first().waitFor();
}
