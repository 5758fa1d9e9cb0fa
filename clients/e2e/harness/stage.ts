// A database, a server, the relay before it, and a browser with tabs: what each test begins with.

import { expect } from "vitest";

import type { Chromium, Tab } from "./chromium.js";
import type { Findings, Plan } from "./page.js";
import { Relay } from "./relay.js";
import { Database, type Row, Rowcast } from "./rowcast.js";

/** Clients of tests come back sooner than others. Milliseconds. */
export const SOON: { readonly reconnectInterval: number; readonly reconnectMaxInterval: number } = {
  reconnectInterval: 40,
  reconnectMaxInterval: 200,
};

/** What each test begins with. */
export interface Stage {
  readonly database: Database;
  readonly server: Rowcast;
  readonly relay: Relay;
  /** The page's plan, with the URL of the relay. */
  plan(more?: Partial<Plan>): Plan;
  /** Another tab of the same browser, with the client begun. `token` answers its `getToken`. */
  open(more?: Partial<Plan>, token?: (reason: string) => string): Promise<Tab>;
  /** The position of now. */
  cursor(): Promise<string>;
  stop(): Promise<void>;
}

/** What the server asks for. */
export interface StageOptions {
  /** A token. */
  readonly isPrivate?: boolean;
  readonly flags?: readonly string[];
}

export async function stage(chromium: Chromium, { isPrivate = false, flags = [] }: StageOptions = {}): Promise<Stage> {
  const database = new Database();
  const key = isPrivate ? ["--jwt-secret-file", database.keyFile] : [];
  const server = await Rowcast.start(database, "--allow-origin", chromium.origin, ...key, ...flags);
  const relay = await Relay.start(server.port);
  const context = await chromium.context();
  const plan = (more: Partial<Plan> = {}): Plan => ({ url: `ws://${relay.host}/ws`, ...SOON, ...more });
  return {
    database,
    server,
    relay,
    plan,
    async open(more, token) {
      const tab = await chromium.tab(context);
      if (token !== undefined) await tab.page.exposeFunction("token", token);
      await tab.begin(plan({ hasTokens: token !== undefined, ...more }));
      return tab;
    },
    async cursor() {
      const answer = await fetch(`http://${server.host}/cursor`);
      return ((await answer.json()) as { cursor: string }).cursor;
    },
    async stop() {
      await context.close();
      await relay.stop();
      await server.stop();
      database.remove();
    },
  };
}

/** Which of tabs that share has the connection. */
export async function leaderOf(tabs: readonly Tab[]): Promise<Tab> {
  let leader: Tab | undefined;
  await expect
    .poll(
      async () => {
        for (const tab of tabs) if (await tab.leads()) leader = tab;
        return leader;
      },
      { timeout: 20_000 },
    )
    .toBeDefined();
  return leader as Tab;
}

/** Rows with the numbers from `first` on. */
export function numbered(first: number, count: number): Row[] {
  return Array.from({ length: count }, (_, k) => ({
    channel: "numbers",
    type: "number.added",
    payload: { n: first + k },
  }));
}

/** Each of the numbers 1 to `count` once and in order; else what is wrong, in a few words. */
export function expectAll({ numbers, resets }: Findings, count: number): void {
  const seen = new Set(numbers);
  const missing = Array.from({ length: count }, (_, k) => k + 1).filter((n) => !seen.has(n));
  const misplaced = numbers.filter((n, k) => n !== k + 1);
  expect({
    numbers: numbers.length,
    missing: missing.slice(0, 10),
    twice: numbers.length - seen.size,
    runs: misplaced.length > 0 ? runsOf(numbers) : "",
    resets,
  }).toEqual({ numbers: count, missing: [], twice: 0, runs: "", resets: 0 });
}

/** Numbers that follow each other, as "1–40 81–120". */
function runsOf(numbers: readonly number[]): string {
  const runs: [number, number][] = [];
  for (const n of numbers) {
    const last = runs.at(-1);
    if (last !== undefined && n === last[1] + 1) last[1] = n;
    else runs.push([n, n]);
  }
  return runs.map(([from, to]) => `${from}–${to}`).join(" ");
}
