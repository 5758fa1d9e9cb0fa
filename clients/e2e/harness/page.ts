// What runs in each tab: a client that notes all numbers it is given, at the command of the test.

import { longPoll, sse } from "../../core/src/fallback/index.js";
import { type Client, createClient, type RowcastError, type Status, webSocket } from "../../core/src/index.js";
import { tabs } from "../../core/src/tabs/index.js";

/** What the test may choose. */
export interface Plan {
  readonly url: string;
  readonly transports?: readonly ("ws" | "sse" | "poll")[];
  readonly tabs?: boolean;
  readonly channel?: string;
  readonly since?: string;
  /** Tokens come from the test, by `window.token`. */
  readonly hasTokens?: boolean;
  readonly heartbeatInterval?: number;
  readonly reconnectInterval?: number;
  readonly reconnectMaxInterval?: number;
  readonly connectTimeout?: number;
}

/** What the page knows, for the test to look at. */
export interface Findings {
  readonly numbers: readonly number[];
  readonly status: Status;
  /** The error of the status: its members do not come along. */
  readonly error: Pick<RowcastError, "code" | "closeCode"> | undefined;
  readonly resets: number;
  /** Every state there was, in order. */
  readonly states: readonly string[];
  /** Events that came once more, and were not handed out. */
  readonly repeats: number;
}

declare global {
  interface Window {
    begin(plan: Plan): void;
    findings(): Findings;
    /** How many numbers there are, and the state. */
    brief(): readonly [number, string];
    /** Whether this tab has a WebSocket open: of tabs that share, it is the one that leads. */
    leads(): boolean;
    token(reason: string): Promise<string>;
    client: Client | undefined;
  }
}

const sockets: WebSocket[] = [];
window.leads = () => sockets.some(({ readyState }) => readyState === WebSocket.OPEN);
window.WebSocket = class extends WebSocket {
  constructor(url: string | URL) {
    super(url);
    sockets.push(this);
  }
};

const ways = { ws: webSocket, sse, poll: longPoll };
const numbers: number[] = [];
const states: string[] = [];
let resets = 0;
let frames = 0;

window.begin = (plan) => {
  const { transports = ["ws"], channel = "numbers", since, hasTokens, tabs: isShared, ...rest } = plan;
  const client = createClient({
    ...rest,
    transports: transports.map((name) => ways[name]),
    ...(isShared ? { tabs } : {}),
    ...(hasTokens ? { getToken: ({ reason }) => window.token(reason) } : {}),
    debug: (message, details) => {
      if (message === "←" && (details as { type: string }).type === "event") frames += 1;
    },
  });
  window.client = client;
  client.on("status", ({ state }) => {
    if (states.at(-1) !== state) states.push(state);
  });
  client.on("reset", () => {
    resets += 1;
  });
  const handler = ({ payload }: { payload: unknown }) => numbers.push((payload as { n: number }).n);
  client.subscribe(channel, handler, since === undefined ? {} : { since });
};

function errorOf(error: RowcastError | undefined): Findings["error"] {
  return error && { code: error.code, closeCode: error.closeCode };
}

window.findings = () => ({
  error: errorOf(window.client?.status.error),
  numbers,
  states,
  resets,
  repeats: frames - numbers.length,
  status: window.client?.status as Status,
});
window.brief = () => [numbers.length, window.client?.status.state ?? "none"];
