// What users import from `@rowcast/client/presence`: a transport that also asks who is on a channel, and tells it.

import type { ClientFrame, Link, ServerFrame, Transport } from "../transport.js";
import type { Undo } from "../types.js";

/** A user who is on a channel. */
export interface Member {
  /** The `sub` of its tokens. */
  readonly user: string;
  /** ISO 8601, UTC. */
  readonly since: string;
}

/** Who is on a channel. */
export interface Present {
  /** Who came first is first. A new array whenever anybody comes or leaves, and only then. */
  readonly members: readonly Member[];
  /** There are more than the server tells. */
  readonly more: boolean;
}

/** Why nothing is told of a channel. */
export interface Unknown {
  readonly code: string;
  readonly message: string;
}

/** A transport to give to `createClient`, and what comes by it beside events. */
export interface Presence {
  readonly transport: Transport;
  /**
   * Tells who is on a channel that the client subscribes to by exactly this name, and again whenever anybody comes or
   * leaves, also after each reconnect. `onUnknown` is called instead where the server does not keep it.
   */
  watch(channel: string, onPresent: (present: Present) => void, onUnknown?: (reason: Unknown) => void): Undo;
}

interface Watcher {
  readonly onPresent: (present: Present) => void;
  readonly onUnknown: ((reason: Unknown) => void) | undefined;
}

interface Room {
  readonly watchers: Set<Watcher>;
  present: Present | undefined;
}

/** What the server says of a channel, in `subscribed` and in `presence`. */
interface Told extends Partial<Present>, Partial<Member>, Partial<Unknown> {
  readonly event?: string;
}

/** The id of requests that are not the client's. */
const OWN = -1;

/**
 * Adds presence to a transport that can: `webSocket`. Others may stand beside it, and tabs may share it: each of them is told
 * what it watches.
 *
 * ```ts
 * const { transport, watch } = presence(webSocket);
 * const client = createClient({ transports: [transport] });
 * client.subscribe("room:1", onEvent);
 * watch("room:1", ({ members }) => show(members));
 * ```
 */
export function presence(way: Transport): Presence {
  const rooms = new Map<string, Room>();
  /** Asks for a channel that is subscribed to already; undefined while there is no link. */
  let ask: ((channel: string) => void) | undefined;

  function call(room: Room, tell: (watcher: Watcher) => void): void {
    for (const watcher of [...room.watchers]) {
      try {
        // An earlier one may have undone a later one.
        if (room.watchers.has(watcher)) tell(watcher);
      } catch (thrown) {
        // As with the listeners of a page: who fails stops nobody.
        // biome-ignore lint/suspicious/noConsole: there is nowhere else to say it, and it must not be lost.
        (globalThis.reportError ?? console.error)(thrown);
      }
    }
  }

  function hear(channel: string, { event, user, since, members, more, code, message }: Told): void {
    const room = rooms.get(channel);
    if (!room) return;
    const before = room.present;
    if (members) room.present = { members, more: more ?? false };
    else if (user !== undefined) {
      // Another tab has asked; the answer to this one is yet to come.
      if (!before) return;
      const others = before.members.filter((member) => member.user !== user);
      const came = event === "join" ? [{ user, since: since ?? "" }] : [];
      room.present = { ...before, members: [...others, ...came] };
    } else if (code !== undefined) {
      call(room, ({ onUnknown }) => onUnknown?.({ code, message: message ?? "" }));
      return;
    }
    const { present } = room;
    if (present) call(room, ({ onPresent }) => onPresent(present));
  }

  /** Nothing is told of it any more: what is known is not to be told as if it were. */
  function leave(confirmed: Set<string>, channel: string): void {
    confirmed.delete(channel);
    const room = rooms.get(channel);
    if (room) room.present = undefined;
  }

  const around = (inner: Transport): Transport => {
    const open: Transport["open"] = (target, listener) => {
      const confirmed = new Set<string>();
      const link: Link = inner.open(target, {
        opened: () => listener.opened(),
        alive: () => listener.alive(),
        closed(end) {
          ask = undefined;
          listener.closed(end);
        },
        frame(frame) {
          const { type, id, channels = [] } = frame as ServerFrame & { channels?: string[] };
          if (type === "subscribed") for (const name of channels) confirmed.add(name);
          if (type === "unsubscribed") for (const name of channels) leave(confirmed, name);
          // A frame of its own is none for the client, but a sign of life.
          if (type === "presence" || (type === "subscribed" && id === OWN)) listener.alive();
          else listener.frame(frame);
          if (type === "presence") hear(frame.channel as string, frame as Told);
          const told = type === "subscribed" && (frame.presence as Record<string, Told> | undefined);
          for (const [channel, one] of Object.entries(told || {})) hear(channel, one);
        },
      });
      ask = (channel) => {
        const frame = { type: "subscribe" as const, id: OWN, channels: [channel], presence: true };
        if (confirmed.has(channel) && inner.name === "ws") link.send(frame as ClientFrame);
      };
      return {
        send(frame) {
          const isWatched =
            "channels" in frame && frame.type !== "unsubscribe" && frame.channels?.some((one) => rooms.has(one));
          link.send((isWatched ? { ...frame, presence: true } : frame) as ClientFrame);
        },
        close(code, reason) {
          ask = undefined;
          link.close(code, reason);
        },
      };
    };
    const among: Transport["among"] = (ways) => {
      const plain = ways.map((one) => one.inner ?? one);
      return around(plain.at(-1)?.among?.(plain) ?? inner);
    };
    // Its name is that of the other, which may change.
    return { __proto__: inner, open, inner, around, among } as unknown as Transport;
  };

  return {
    transport: around(way),
    watch(channel, onPresent, onUnknown) {
      const known = rooms.get(channel);
      const room = known ?? { watchers: new Set(), present: undefined };
      rooms.set(channel, room);
      const watcher = { onPresent, onUnknown };
      room.watchers.add(watcher);
      if (!known) ask?.(channel);
      else if (known.present) onPresent(known.present);
      return () => {
        room.watchers.delete(watcher);
        if (!room.watchers.size && rooms.get(channel) === room) rooms.delete(channel);
      };
    },
  };
}
