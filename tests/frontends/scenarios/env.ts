// What a scenario has: one server, its database, tokens, and somebody who restarts it. In a browser these are calls to the
// test outside.

export interface Row {
  channel: string;
  type: string;
  payload?: unknown;
  entity_id?: string;
  actor?: string;
  previous?: unknown;
  trace_id?: string;
  origin?: string;
}

export interface Claims {
  sub?: string;
  channels?: string[];
  expires_in_s?: number;
  publish?: string[];
}

export interface Env {
  /** Where the server is: `127.0.0.1:3001`. */
  host: string;
  /** Differs between runs at the same time, for the names of what is theirs alone. */
  run: string;
  isBrowser: boolean;
  /** One transaction, by SQL. */
  insert(...rows: Row[]): Promise<void>;
  token(claims: Claims): Promise<string>;
  /** Comes back when all scenarios have asked and the server has been stopped and started. */
  restart(): Promise<void>;
  statistics(token: string, query: string): Promise<unknown>;
}

export type Scenario = (env: Env) => Promise<void>;

/** Longest wait for something that has to happen; far longer than it takes on a busy machine. */
const PATIENCE_MS = 20_000;

export async function until(what: string, isSo: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = Date.now() + PATIENCE_MS;
  while (!(await isSo())) {
    if (Date.now() > deadline) throw new Error(`not within ${PATIENCE_MS} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** Compares by value. */
export function same(found: unknown, wanted: unknown, what: string): void {
  const [a, b] = [canonical(found), canonical(wanted)];
  if (a !== b) throw new Error(`${what}: ${a} instead of ${b}`);
}

export function assert(isSo: boolean, what: string): asserts isSo {
  if (!isSo) throw new Error(`not so: ${what}`);
}

function canonical(value: unknown): string {
  return JSON.stringify(value, (_, member: unknown) => {
    if (typeof member !== "object" || member === null || Array.isArray(member)) return member;
    return Object.fromEntries(Object.entries(member).sort(([a], [b]) => (a < b ? -1 : 1)));
  });
}
