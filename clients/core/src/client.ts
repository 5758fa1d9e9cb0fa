// `createClient`: the public object over subscriptions and the connection.

import { createConnection } from "./connection.js";
import { debugTo } from "./debug.js";
import { createEmitter } from "./emitter.js";
import { environmentWith } from "./environment.js";
import { createSubscriptions } from "./subscriptions.js";
import { createTimer } from "./timer.js";
import type { AnyChannels, AnyEvents, ChannelMap, Client, ClientOptions, EventMap, FeedEvent } from "./types.js";

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
  const { on, emit, guard } = createEmitter();
  const soon = createTimer();
  /** What the user has said last; undefined: what is subscribed to decides. */
  let isWanted: boolean | undefined;

  const debug = debugTo(options.debug);
  const connection = createConnection(options, environmentWith(options.environment), debug, emit, () => subscriptions);
  // What is asked for in one go is sent in one go; what is undone and done again, as React does, not at all.
  const changed = (): void => soon.set(settle, 0);
  const subscriptions = createSubscriptions({ send: connection.send, changed, emit, guard });

  /** Makes the connection what it is wanted to be. */
  function settle(): void {
    if (isWanted === false) return;
    if (isWanted || subscriptions.size()) connection.start();
    else soon.set(connection.stop, IDLE_MS);
    subscriptions.flush();
  }

  const subscribe = subscriptions.subscribe as Client["subscribe"];
  const client: Client = {
    get status() {
      return connection.status();
    },
    get cursor() {
      return subscriptions.cursor();
    },
    subscribe,
    on: (name, handler) =>
      name === "event" ? subscribe("*", handler as (event: FeedEvent) => void) : on(name, handler),
    connect() {
      isWanted = true;
      connection.connect();
      changed();
    },
    disconnect() {
      isWanted = false;
      connection.stop();
    },
  };
  return client as unknown as Client<Events, Channels>;
}
