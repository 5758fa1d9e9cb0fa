// The leader's part: has the connection, asks for all tabs, gives each tab its answers, and everybody the events.

import type { ClientFrame, Link, LinkEnd, LinkTarget, ServerFrame, Transport } from "../transport.js";
import { ALIVE, type Channel, END, FRAME, HANDED_OVER, HI, type Message, OPENED, type Told } from "./messages.js";

type Hello = ClientFrame & { readonly type: "hello" };

/** Begins to lead. Gives how to stop. */
export function hub(
  transport: Transport,
  target: LinkTarget,
  locks: Pick<LockManager, "request">,
  channel: Channel,
): () => void {
  const generation = Math.random();
  /** What each tab receives. */
  const tabs = new Map<string, Set<string>>();
  /** Who gets the answer to a request. */
  const asked = new Map<unknown, (answer: ServerFrame) => void>();
  let told = 0;
  let requests = 0;
  let link: Link | undefined;
  let isOpen = false;
  /** Whose hello began the session, with which token; and what the server said. */
  let opener = "";
  let token: string | undefined;
  let welcome: ServerFrame | undefined;
  let waiting: (() => void)[] = [];

  const tell = (to: string, ...what: Told) => channel.postMessage([generation, ++told, to, ...what]);

  const closed = (end: LinkEnd) => {
    // Until it has begun it is the opener's affair, as with a token that is refused: others have their own.
    tell(welcome ? "" : opener, END, end);
    tell("", END, HANDED_OVER);
    isOpen = false;
    opener = "";
    link = welcome = undefined;
    waiting = [];
    tabs.clear();
    asked.clear();
  };

  const enter = (tab: string) => {
    if (!tabs.has(tab)) {
      tabs.set(tab, new Set());
      locks.request(tab, () => {
        forget(tab, tabs.get(tab) ?? []);
        if (tabs.delete(tab) && !tabs.size) end();
      });
    }
    link ??= transport.open(target, {
      opened() {
        isOpen = true;
        tell("", OPENED);
      },
      frame(frame) {
        const answered = asked.get(frame.id);
        if (answered) answered(frame);
        else tell((frame.type === "auth_expiring" && tabs.keys().next().value) || "", FRAME, frame);
      },
      alive: () => tell("", ALIVE),
      closed,
    });
    tell(tab, HI, isOpen);
  };

  /** The answer has the tab's own id again. When the token ends is the hub's affair. */
  const answer =
    (tab: string, { id }: ClientFrame) =>
    (frame: ServerFrame) =>
      tell(tab, FRAME, { ...frame, id, expiresAt: undefined } as ServerFrame);

  const ask = (frame: object, answered: (frame: ServerFrame) => void) => {
    asked.set(++requests, answered);
    link?.send({ ...(frame as ClientFrame), id: requests });
  };

  const subscribe = (tab: string, hello: Hello) => {
    if (hello.channels?.[0]) hear(tab, { ...hello, type: "subscribe", token: undefined } as ClientFrame);
  };

  const greet = (tab: string, hello: Hello) => {
    const own = hello.token;
    const admit = () => {
      answer(tab, hello)(welcome as ServerFrame);
      subscribe(tab, hello);
    };
    if (!opener) {
      opener = tab;
      token = own;
      ask({ type: "hello", token }, (frame) => {
        answer(tab, hello)(frame);
        if (frame.type === "welcome") {
          welcome = frame;
          for (const go of waiting) go();
        }
      });
      subscribe(tab, hello);
    } else if (!welcome) waiting.push(() => greet(tab, hello));
    else if (!own || own === token) admit();
    // The server says whether it is the same user.
    else
      ask({ type: "auth", token: own }, ({ type }) => {
        if (type === "auth_ok") {
          token = own;
          admit();
        } else tell(tab, END);
      });
  };

  /** The server is told to stop only what no other tab receives. */
  const forget = (tab: string, channels: Iterable<string>) => {
    const rest = [...channels].filter((channel) => {
      tabs.get(tab)?.delete(channel);
      return ![...tabs.values()].some((other) => other.has(channel));
    });
    if (rest[0]) ask({ type: "unsubscribe", channels: rest }, () => {});
  };

  const hear = (tab: string, frame: ClientFrame) => {
    if (frame.type === "hello") greet(tab, frame);
    else if (frame.type === "unsubscribe") {
      forget(tab, frame.channels);
      tell(tab, FRAME, { ...frame, type: "unsubscribed" });
    } else {
      if (frame.type === "subscribe") for (const channel of frame.channels) tabs.get(tab)?.add(channel);
      ask(frame, answer(tab, frame));
    }
  };

  const end = () => {
    link?.close();
    closed({ code: 1006, reason: "no answer" });
  };

  channel.onmessage = ({ data }: { data: Message }) => {
    const [tab, to, frame] = data;
    if (typeof tab !== "string") return;
    if (!frame) enter(tab);
    else if (to === generation && tabs.has(tab)) {
      if (frame === "dead") end();
      else hear(tab, frame as ClientFrame);
    }
  };
  tell("", ALIVE);

  return () => {
    tabs.clear();
    link?.close();
    channel.close();
  };
}
