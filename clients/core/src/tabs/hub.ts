// The leader's part: has the connection, asks for all tabs, gives each tab its answers, and everybody the events.

import type { ClientFrame, Link, LinkEnd, LinkTarget, ServerFrame, Transport } from "../transport.js";
import { ALONE, HANDED_OVER, HI, type Message, OPENED, type Told } from "./messages.js";

/** Begins to lead: with one connection. `again` begins anew once that has ended. Gives how to stop. */
export function hub(
  transport: Transport,
  target: LinkTarget,
  locks: Pick<LockManager, "request">,
  channel: BroadcastChannel,
  again: () => void,
): () => void {
  const generation = Math.random();
  /** What each tab receives. */
  const tabs = new Map<string, Set<string>>();
  /** Who gets the answers to a request. */
  const asked = new Map<unknown, (answer: ServerFrame) => void>();
  let told = 0;
  let requests = 0;
  let link: Link | undefined;
  let isOpen = false;
  /** Whose hello began the session; which tokens are of the same user; what the server said. */
  let opener = "";
  const tokens = new Set<string | undefined>();
  let welcome: ServerFrame | undefined;
  /** The request for the past that has not caught up, and whose it is. There is one at a time, so that one cursor is right. */
  let busy: number | undefined;
  let asker = "";
  /** Who is sent the past, which the others are not to be given; where they go on from, afterwards. */
  let reader = "";
  let position: string | undefined;
  let waiting: (() => void)[] = [];

  const tell = (to: string, what?: Told) => channel.postMessage([generation, ++told, to, what]);

  const stop = () => {
    tabs.clear();
    link?.close();
    channel.close();
  };

  const closed = (end: LinkEnd) => {
    // Until it has begun it is the opener's affair, as with a token that is refused: others have their own.
    tell(welcome ? "" : opener, end);
    tell("", HANDED_OVER);
    stop();
    again();
  };

  const end = () => closed({ code: 1006, reason: "no answer" });

  const enter = (tab: string) => {
    if (!tabs.has(tab)) {
      tabs.set(tab, new Set());
      locks.request(tab, () => {
        leave(tab, tabs.get(tab) ?? []);
        if (tabs.delete(tab) && !tabs.size) end();
      });
    }
    link ??= transport.open(target, {
      opened() {
        isOpen = true;
        tell("", OPENED);
      },
      frame(frame) {
        const { id, type, cursor } = frame;
        const answered = asked.get(id);
        const isReset = type === "reset";
        if (type === "welcome") welcome = frame;
        if (answered) answered(frame);
        else tell(isReset ? "" : (type === "auth_expiring" && tabs.keys().next().value) || reader, frame);
        if (id === busy && frame.recovered) reader = asker;
        else if (isReset || (id === busy && type !== "welcome")) {
          const since = reader && !isReset && position !== cursor ? position : undefined;
          busy = undefined;
          reader = "";
          // Once for all, as it is the same for all.
          if (since) subscribe("", { type: "subscribe", since, channels: all() });
        }
        if (!reader) position = cursor ?? position;
        const ready = waiting;
        waiting = [];
        for (const go of ready) go();
      },
      alive: () => tell(""),
      closed,
    });
    tell(tab, isOpen ? OPENED : HI);
  };

  /** The answer has the tab's own id again. When the token ends is the hub's affair. */
  const answer = (tab: string, { id }: { readonly id?: unknown }, frame: ServerFrame | undefined) =>
    tab && tell(tab, { ...frame, id, expiresAt: undefined } as ServerFrame);

  const ask = (tab: string, frame: object, answered = (found: ServerFrame): unknown => answer(tab, frame, found)) => {
    asked.set(++requests, answered);
    link?.send({ ...(frame as ClientFrame), id: requests });
  };

  const subscribe = (tab: string, frame: { type: string; since?: string; channels?: string[] }) => {
    const { channels = [] } = frame;
    for (const channel of channels) tabs.get(tab)?.add(channel);
    ask(tab, frame);
    busy = channels.length && requests;
    asker = tab;
  };

  const all = () => [...tabs.values()].flatMap((channels) => [...channels]);

  /** The server is told to stop only what no other tab receives. */
  const leave = (tab: string, channels: Iterable<string>) => {
    const rest = [...channels].filter((channel) => {
      tabs.get(tab)?.delete(channel);
      return !all().includes(channel);
    });
    if (rest[0]) link?.send({ type: "unsubscribe", channels: rest } as unknown as ClientFrame);
  };

  const hear = (tab: string, frame: ClientFrame) => {
    const { type } = frame;
    const again = () => hear(tab, frame);
    if (!tabs.has(tab)) return;
    if (type === "hello") {
      const { token, channels } = frame;
      const admit = () => {
        tokens.add(token);
        answer(tab, frame, welcome);
        if (channels) hear(tab, { ...frame, type: "subscribe", token: undefined } as ClientFrame);
      };
      if (!opener) {
        opener = tab;
        tokens.add(token);
        subscribe(tab, frame);
      } else if (!welcome) waiting.push(again);
      else if (tokens.has(token)) admit();
      // The server says whether it is the same user.
      else ask(tab, { type: "auth", token }, ({ type }) => (type === "auth_ok" ? admit() : tell(tab, ALONE)));
    } else if (type === "unsubscribe") {
      leave(tab, frame.channels);
      tell(tab, { ...frame, type: "unsubscribed" });
    } else if (type !== "subscribe") ask(tab, frame);
    else if (busy) waiting.push(again);
    else subscribe(tab, frame);
  };

  channel.onmessage = ({ data }: { data: Message }) => {
    const [tab, to, frame] = data;
    if (typeof tab !== "string") return;
    if (frame === undefined) enter(tab);
    else if (to === generation) {
      if (frame) hear(tab, frame as ClientFrame);
      else end();
    }
  };
  tell("");

  return stop;
}
