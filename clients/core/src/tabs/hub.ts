// The leader's part: has the connection, asks for all tabs, gives each tab its answers, and everybody the events.

import type { ClientFrame, Link, LinkEnd, LinkTarget, ServerFrame, Transport } from "../transport.js";
import { ALONE, HANDED_OVER, OPEN, OPENING, type TabMessage, type Told } from "./messages.js";

/** Begins to lead: with one connection. `over` is called once that has ended. Gives how to stop. */
export function hub(
  transport: Transport,
  target: LinkTarget,
  locks: Pick<LockManager, "request">,
  channel: BroadcastChannel,
  over: () => void,
): () => void {
  const generation = Math.random();
  /** What each tab receives. */
  const tabs = new Map<string, Set<string>>();
  /** Who gets the answers to a request. */
  const asked = new Map<unknown, (answer: ServerFrame) => unknown>();
  let told = 0;
  let requests = 0;
  let link: Link | undefined;
  let line: typeof OPENING | typeof OPEN = OPENING;
  /** Whose hello began the session; which tokens are of the same user; what the server said. */
  let opener = "";
  const tokens = new Set<string | undefined>();
  let welcome: ServerFrame | undefined;
  /** The request for the past that has not caught up, and whose it is. There is one at a time, so that one cursor is right. */
  let busy: number | string | undefined;
  let asker = "";
  /** Who is sent the past, which the others are not to be given; where they go on from, afterwards. */
  let reader = "";
  let position: string | undefined;
  const waiting: (() => void)[] = [];

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
    over();
  };

  const end = () => closed({ code: 1006, reason: "" });

  const enter = (tab: string) => {
    if (!tabs.has(tab)) {
      tabs.set(tab, new Set());
      locks.request(tab, () => {
        leave(tab);
        tabs.delete(tab);
      });
    }
    link ??= transport.open(target, {
      opened() {
        line = OPEN;
        tell("", OPEN);
      },
      frame(frame) {
        const { id, type, cursor } = frame;
        const answered = asked.get(id);
        if (type === "welcome") welcome = frame;
        // More is to come where it has yet to catch up.
        else if (!frame.recovered) asked.delete(id);
        if (type === "reset") reader = busy = "";
        if (answered) answered(frame);
        // What tells a position is for those who are there.
        else if (cursor || type === "event") tell(reader, frame);
        else tell(type === "auth_expiring" ? ([...tabs.keys()][0] as string) : "", frame);
        if (id === busy && frame.recovered) reader = asker;
        else if (id === busy && type !== "welcome") {
          busy = "";
          if (reader && position && position !== cursor) {
            // Once for all, as it is the same for all. Until the answer comes, what is new goes to the reader alone.
            subscribe("", { type: "subscribe", since: position, channels: all() });
          } else reader = "";
        }
        if (!reader) position = cursor ?? position;
        // It was asked too much, and does not name what it did not look at: all begin anew.
        if (!id && frame.limit) end();
        for (const go of waiting.splice(0)) go();
      },
      alive: () => tell(""),
      closed,
    });
    tell(tab, line);
  };

  /** The answer has the tab's own id again. When the token ends is the hub's affair. */
  const answer =
    (tab: string, { id }: { readonly id?: unknown }) =>
    (frame: ServerFrame | undefined): unknown =>
      tab && tell(tab, { ...frame, id, expiresAt: undefined } as ServerFrame);

  const ask = (tab: string, frame: object, answered: (answer: ServerFrame) => unknown = answer(tab, frame)) => {
    asked.set(++requests, answered);
    link?.send({ ...(frame as ClientFrame), id: requests });
  };

  const subscribe = (tab: string, frame: { type: string; since?: string; channels?: string[] }) => {
    const { channels = [] } = frame;
    for (const channel of channels) tabs.get(tab)?.add(channel);
    ask(tab, frame);
    busy = channels[0] && requests;
    asker = tab;
  };

  const all = () => [...tabs.values()].flatMap((channels) => [...channels]);

  /** The server is told to stop only what no other tab receives. */
  const leave = (tab: string, channels = [...(tabs.get(tab) ?? [])]) => {
    for (const channel of channels) tabs.get(tab)?.delete(channel);
    const rest = channels.filter((channel) => !all().includes(channel));
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
        answer(tab, frame)(welcome);
        if (channels) hear(tab, { ...frame, type: "subscribe", token: undefined } as ClientFrame);
      };
      opener ||= tab;
      // Again, if there was something wrong with its first.
      if (opener === tab) {
        tokens.add(token);
        subscribe(tab, frame);
      } else if (!welcome) waiting.push(again);
      else if (tokens.has(token)) admit();
      // The server says whether it is the same user, but over HTTP.
      else if (transport.name !== "ws") tell(tab, ALONE);
      else ask(tab, { type: "auth", token }, ({ type }) => (type === "auth_ok" ? admit() : tell(tab, ALONE)));
    } else if (type === "unsubscribe") {
      leave(tab, frame.channels);
      tell(tab, { ...frame, type: "unsubscribed" });
    } else if (type !== "subscribe") ask(tab, frame);
    else if (busy) waiting.push(again);
    else subscribe(tab, frame);
  };

  channel.onmessage = ({ data }) => {
    const [tab, to, frame] = data as TabMessage;
    // What other hubs say is for tabs.
    if (+tab >= 0) return;
    if (frame === undefined) enter(tab);
    else if (to === generation) {
      if (frame) hear(tab, frame);
      else end();
    }
  };
  tell("");

  return stop;
}
