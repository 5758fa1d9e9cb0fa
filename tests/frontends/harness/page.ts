// What runs in the browser: the same scenarios, with calls to the test outside.

import type { Claims, Env, Row } from "../scenarios/env.js";
import { scenarios } from "../scenarios/index.js";

declare global {
  interface Window {
    outside(run: string, name: "insert" | "token" | "restart" | "statistics", args: unknown[]): Promise<unknown>;
    play(name: string, host: string, run: string): Promise<string | null>;
  }
}

/** Null, or what went wrong. */
window.play = async (name, host, run) => {
  const env: Env = {
    host,
    run,
    isBrowser: true,
    insert: async (...rows: Row[]) => void (await window.outside(run, "insert", rows)),
    token: async (claims: Claims) => String(await window.outside(run, "token", [claims])),
    restart: async () => void (await window.outside(run, "restart", [])),
    statistics: (token, query) => window.outside(run, "statistics", [token, query]),
  };
  try {
    await scenarios[name]?.(env);
    return null;
  } catch (error) {
    return error instanceof Error ? `${error.message}\n${error.stack ?? ""}` : String(error);
  }
};
