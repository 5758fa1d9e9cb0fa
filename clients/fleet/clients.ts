// Many clients of the library in one process, for tests/fleet: each knows the addresses of all servers, and goes on to another one
// for every connection and request. They note what they are given, and say at the end whether that was everything, once and in order.
//
// The first line of standard input is a `Plan`, the second says how many events each channel has had. What is said on standard
// output: `"subscribed"` when all are, and then a `Report`.

import { createInterface } from "node:readline/promises";
import { setTimeout as sleep } from "node:timers/promises";
import WebSocket from "ws";

import { longPoll, sse } from "../core/src/fallback/index.js";
import { type Client, createClient, webSocket } from "../core/src/index.js";

interface Plan {
  /** `127.0.0.1:4711`. */
  readonly servers: readonly string[];
  readonly clients: readonly { readonly transport: "ws" | "sse" | "poll"; readonly channels: readonly string[] }[];
  readonly patience_ms: number;
}

/** What is in an event: its number on its channel, from 1 on, and when it was written, in milliseconds since 1970. */
interface Payload {
  readonly n: number;
  readonly at: number;
}

const report = {
  deliveries: 0,
  lost: 0,
  repeated: 0,
  /** What clients were told to refetch, and after how long without a connection. */
  resets: [] as string[],
  rejected: 0,
  errors: [] as string[],
  /** Of clients to which something has not come: what it is. */
  missing: [] as string[],
  /** Connections that ended, by close code. */
  ends: {} as Record<string, number>,
  reconnects: 0,
  /** How long clients were without a connection, each time. In milliseconds. */
  away_ms: [] as number[],
  /** How late events came: of each millisecond how many, the last for all that were later. */
  late: new Array<number>(120_001).fill(0),
  rss_bytes: 0,
};

const ways = { ws: webSocket, sse, poll: longPoll };
/** The last number of each channel that each client was given. */
const given: Map<string, number>[] = [];

function follow(plan: Plan, index: number): Promise<void> {
  const { transport, channels } = plan.clients[index] as Plan["clients"][number];
  let last = index % plan.servers.length;
  // In no order: servers are restarted in theirs.
  const elsewhere = (url: string | URL): string => {
    const { servers } = plan;
    last = (last + 1 + Math.floor(Math.random() * (servers.length - 1))) % servers.length;
    const moved = new URL(url);
    moved.host = servers[last] as string;
    return moved.href;
  };
  class Socket extends WebSocket {
    constructor(url: string, protocols?: string | string[]) {
      super(elsewhere(url), protocols);
    }
  }
  const client: Client = createClient({
    url: `http://${plan.servers[0]}`,
    transports: [ways[transport]],
    environment: {
      WebSocket: Socket as never,
      fetch: (input, init) => fetch(elsewhere(input as string | URL), init),
    },
  });
  let goneAt: number | undefined;
  client.on("status", ({ state, error }) => {
    if (state === "reconnecting" && goneAt === undefined) {
      goneAt = performance.now();
      const code = error?.closeCode ?? error?.code ?? "none";
      report.ends[code] = (report.ends[code] ?? 0) + 1;
    }
    if (state === "connected" && goneAt !== undefined) {
      report.reconnects += 1;
      report.away_ms.push(Math.round(performance.now() - goneAt));
      goneAt = undefined;
    }
    if (state === "error") report.errors.push(`${error}`);
  });
  client.on("reset", (told) => {
    const away = goneAt === undefined ? 0 : Math.round(performance.now() - goneAt);
    report.resets.push(`${transport} ${index}, after ${away} ms: ${JSON.stringify(told)}`);
  });
  client.on("rejected", () => {
    report.rejected += 1;
  });
  client.on("error", (error) => report.errors.push(`${error}`));
  const numbers = new Map<string, number>();
  given[index] = numbers;
  return new Promise((resolve) => {
    let waiting = channels.length;
    for (const channel of channels) {
      numbers.set(channel, 0);
      const handler = ({ payload }: { payload: unknown }): void => note(numbers, channel, payload as Payload);
      let isConfirmed = false;
      const onSubscribed = (): void => {
        if (!isConfirmed && --waiting === 0) resolve();
        isConfirmed = true;
      };
      client.subscribe(channel, handler, { onSubscribed });
    }
  });
}

function note(last: Map<string, number>, channel: string, { n, at }: Payload): void {
  report.deliveries += 1;
  const before = last.get(channel) as number;
  if (n <= before) {
    report.repeated += 1;
    return;
  }
  report.lost += n - before - 1;
  last.set(channel, n);
  const late = Math.min(Math.max(Math.round(Date.now() - at), 0), report.late.length - 1);
  report.late[late] = (report.late[late] as number) + 1;
}

const say = (what: unknown): Promise<void> =>
  new Promise((resolve) => process.stdout.write(`${JSON.stringify(what)}\n`, () => resolve()));
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const hear = async <T>(): Promise<T> => JSON.parse((await lines.next()).value as string) as T;

const plan = await hear<Plan>();
await Promise.all(plan.clients.map((_, index) => follow(plan, index)));
await say("subscribed");

const counts = await hear<Record<string, number>>();
const missing = (): number => {
  let sum = 0;
  for (const last of given) for (const [channel, n] of last) sum += (counts[channel] ?? 0) - n;
  return sum;
};
const names = (): string[] =>
  given.flatMap((last, index) =>
    [...last].flatMap(([channel, n]) =>
      n === counts[channel]
        ? []
        : [`${plan.clients[index]?.transport} ${index}: ${channel} ${n} of ${counts[channel]}`],
    ),
  );
const deadline = performance.now() + plan.patience_ms;
while (missing() > 0 && performance.now() < deadline) await sleep(50);
// What comes now comes again.
await sleep(1_000);
report.lost += missing();
report.missing = names();
report.rss_bytes = process.memoryUsage.rss();
report.late.length = report.late.findLastIndex((count) => count > 0) + 1;
await say(report);
process.exit();
