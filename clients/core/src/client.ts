// `createClient`: the public object over subscriptions and the connection.

import { createConnection } from "./connection.js";
import { debugTo } from "./debug.js";
import { createEmitter } from "./emitter.js";
import { environmentWith } from "./environment.js";
import { rowcastError, wordsOf } from "./error.js";
import { createSubscriptions } from "./subscriptions.js";
import { createTimer } from "./timer.js";
import type {
  AnyChannels,
  AnyEvents,
  ChannelMap,
  Client,
  ClientEvents,
  ClientOptions,
  EventMap,
  FeedEvent,
} from "./types.js";

/** A connection that nobody needs stays for so long, as the next page may need it. In milliseconds. */
const IDLE_MS = 1_000;

/**
 * A client of one rowcast server. It opens nothing before the first `subscribe`, `on("event")` or `connect`.
 *
 * ```ts
 * const client = createClient({ url: "https://feed.example.com", getToken: () => fetchToken() });
 * const undo = client.subscribe("tasks", (event) => console.log(event.type, event.payload));
 * ```
 */
export function createClient<Events extends EventMap = AnyEvents, Channels extends ChannelMap = AnyChannels>(
  options: ClientOptions = {},
): Client<Events, Channels> {
  const environment = environmentWith(options.environment);
  const debug = debugTo(options.debug);
  const emitter = createEmitter<ClientEvents<AnyEvents>>(failed);
  const soon = createTimer();
  const idle = createTimer();
  let isExplicit = false;
  let isStopped = false;

  const connection = createConnection(options, environment, debug, {
    status: (status) => void emitter.emit("status", status),
    error: (error) => void emitter.emit("error", error),
    hello: (token) => subscriptions.hello(token),
    welcomed: () => subscriptions.welcomed(),
    frame: (frame) => subscriptions.frame(frame),
    authenticate: (token) => subscriptions.authenticate(token),
    lost: () => subscriptions.lost(),
    forgive: () => subscriptions.forgive(),
  });
  const subscriptions = createSubscriptions({
    send: connection.send,
    later: connection.later,
    failed,
    emit: (name, value) => void emitter.emit(name, value as never),
    // What is asked for in one go is sent in one go; what is undone and done again, as React does, not at all.
    changed: () => soon.set(settle, 0),
  });

  /** Makes the connection what it is wanted to be. */
  function settle(): void {
    if (isStopped) return;
    idle.clear();
    if (isExplicit || subscriptions.size() > 0) connection.start();
    else idle.set(connection.stop, IDLE_MS);
    subscriptions.flush();
  }

  function failed(thrown: unknown): void {
    const error = rowcastError("HANDLER", `a handler of yours has thrown: ${wordsOf(thrown)}`, { cause: thrown });
    // One that fails while it is told of a failure is told to nobody else.
    if (isFailing || !emitter.has("error")) return reportError(thrown);
    isFailing = true;
    emitter.emit("error", error);
    isFailing = false;
  }
  let isFailing = false;

  const client: Client<AnyEvents, AnyChannels> = {
    get status() {
      return connection.status();
    },
    get cursor() {
      return subscriptions.cursor();
    },
    subscribe: (channel, handler, options) =>
      subscriptions.subscribe(channel, handler as (event: FeedEvent) => void, options),
    on(name, handler) {
      if (name === "event") return client.subscribe("*", handler as (event: FeedEvent) => void);
      return emitter.on(name, handler);
    },
    connect() {
      isExplicit = true;
      isStopped = false;
      idle.clear();
      connection.connect();
    },
    disconnect() {
      isExplicit = false;
      isStopped = true;
      connection.stop();
    },
  };
  return client as unknown as Client<Events, Channels>;
}

/** Tells the surroundings of an error that nobody handles, as they do with those of event listeners. */
function reportError(thrown: unknown): void {
  const report = (globalThis as { reportError?: (thrown: unknown) => void }).reportError;
  if (report) report(thrown);
  // biome-ignore lint/suspicious/noConsole: there is nowhere else to say it, and it must not be lost.
  else console.error(thrown);
}
