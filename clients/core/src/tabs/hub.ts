// The leader's part: has the connection, asks for all tabs, gives each tab its answers, and everybody the events.

import type { Link, LinkEnd, LinkTarget, ServerFrame, Transport } from "../transport.js";
import { ALONE, type Channel, HANDED_OVER, HI, type Message, OPENED, type TabFrame, type Told } from "./messages.js";

/** Begins to lead: with one connection. `again` begins anew once that has ended. Gives how to stop. */
export function hub(
  transport: Transport,
  target: LinkTarget,
  locks: Pick<LockManager, "request">,
  channel: Channel,
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
  /** Whose hello began the session; which token it has; what the server said. */
  let opener = "";
  let token: string | undefined;
  let welcome: ServerFrame | undefined;
  /** The subscription that has not caught up. There is one at a time, so that one cursor is right for all. */
  let busy: number | undefined;
  let since: string | undefined;
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
        const { id, type } = frame;
        const answered = asked.get(id);
        if (type === "welcome") welcome = frame;
        if (answered) answered(frame);
        else tell((type === "auth_expiring" && tabs.keys().next().value) || "", frame);
        if (type === "reset" || (id === busy && !frame.recovered)) busy = undefined;
        const all = waiting;
        waiting = [];
        for (const go of all) go();
      },
      alive: () => tell(""),
      closed,
    });
    tell(tab, isOpen ? OPENED : HI);
  };

  /** The answer has the tab's own id again. When the token ends is the hub's affair. */
  const answer =
    (tab: string, { id }: TabFrame) =>
    (frame: ServerFrame | undefined) =>
      tell(tab, { ...frame, id, expiresAt: undefined } as ServerFrame);

  const ask = (frame: object, answered: (frame: ServerFrame) => void) => {
    asked.set(++requests, answered);
    link?.send({ ...(frame as TabFrame), id: requests });
  };

  const subscribe = (tab: string, frame: TabFrame & { channels?: string[]; since?: string }) => {
    if (frame.channels?.[0]) {
      // Others are not to be given what is history to them: they come back, and go on where they are.
      if (frame.isLate && frame.since !== since) {
        for (const other of tabs.keys()) if (other !== tab && tabs.delete(other)) tell(other, HANDED_OVER);
      }
      since = frame.since;
      for (const channel of frame.channels) tabs.get(tab)?.add(channel);
      ask({ ...frame, type: "subscribe", token: undefined, isLate: undefined }, answer(tab, frame));
      busy = requests;
    }
  };

  /** The server is told to stop only what no other tab receives. */
  const leave = (tab: string, channels: Iterable<string>) => {
    const rest = [...channels].filter((channel) => {
      tabs.get(tab)?.delete(channel);
      return ![...tabs.values()].some((other) => other.has(channel));
    });
    if (rest[0]) link?.send({ type: "unsubscribe", channels: rest } as unknown as TabFrame);
  };

  const hear = (tab: string, frame: TabFrame) => {
    const { type } = frame;
    const later = () => hear(tab, { ...frame, type: "subscribe" } as TabFrame);
    if (!tabs.has(tab)) return;
    if (type === "hello") {
      const own = frame.token;
      const admit = () => {
        answer(tab, frame)(welcome);
        later();
      };
      if (!opener) {
        opener = tab;
        token = own;
        ask({ type, token }, answer(tab, frame));
        busy = requests;
        subscribe(tab, frame);
      } else if (!welcome) waiting.push(() => hear(tab, frame));
      else if (!own || own === token) admit();
      // The server says whether it is the same user.
      else
        ask({ type: "auth", token: own }, ({ type }) => {
          if (type === "auth_ok") {
            token = own;
            admit();
          } else tell(tab, ALONE);
        });
    } else if (type === "unsubscribe") {
      leave(tab, frame.channels);
      tell(tab, { ...frame, type: "unsubscribed" });
    } else if (type !== "subscribe") ask(frame, answer(tab, frame));
    else if (busy) waiting.push(later);
    else subscribe(tab, frame);
  };

  channel.onmessage = ({ data }: { data: Message }) => {
    const [tab, to, frame] = data;
    if (typeof tab !== "string") return;
    if (frame === undefined) enter(tab);
    else if (to === generation) {
      if (frame) hear(tab, frame as TabFrame);
      else end();
    }
  };
  tell("");

  return stop;
}
