// `@rowcast/client/tabs`: one connection for all tabs of a browser. One tab leads; its hub has the connection.

import type { ClientFrame, Link, LinkEnd, LinkListener, LinkTarget, ServerFrame, Transport } from "../transport.js";
import { hub } from "./hub.js";
import { ALONE, HANDED_OVER, type HubMessage, OPEN, OPENING, PATIENCE_MS } from "./messages.js";

/** Makes a transport that tabs share. For `createClient({ tabs })`. */
export type Tabs = (transport: Transport, options: { readonly url: string }) => Transport;

/**
 * One connection for all tabs of an origin that connect to the same URL: `createClient({ tabs })`. The tab that has it may
 * close at any time: another takes over, and no event is lost. Where the browser has no Web Locks or no BroadcastChannel,
 * each tab has its own connection; so has a tab whose token is another user's (over HTTP, where the server does not say
 * so: another token).
 */
export const tabs: Tabs = tabsWith({});

/**
 * As `tabs`, but only tabs with the same `key` share: `createClient({ tabs: tabsWith({ key: userId }) })`, where several
 * users are logged in at once in different tabs.
 */
export function tabsWith({ key = "" }: { readonly key?: string }): Tabs {
  return (given, { url }) => {
    /** What is shared, without what each tab adds for itself. */
    const transport = given.inner ?? given;
    const locks = globalThis.navigator?.locks;
    const Channel = globalThis.BroadcastChannel;
    const name = `rowcast1:${key}:${url}`;
    /** Its request for the lock of the leader. */
    let wish: AbortController | undefined;
    /** The next link is its own. */
    let isAlone = false;
    const leave = () => {
      wish?.abort();
      wish = undefined;
    };

    /** Leads when its turn comes, or at once. */
    const lead = (target: LinkTarget, steal?: boolean) => {
      leave();
      const own = new AbortController();
      const { signal } = own;
      let stop: (() => void) | undefined;
      const isOver = () => {
        stop?.();
        if (wish === own) wish = undefined;
      };
      wish = own;
      locks
        .request(
          name,
          steal ? { steal } : { signal },
          () =>
            signal.aborted ||
            new Promise<Event>((resolve) => {
              signal.onabort = resolve;
              stop = hub(transport, target, locks, new Channel(name), leave);
            }),
        )
        .then(isOver, isOver);
    };

    const open = (target: LinkTarget, listener: LinkListener): Link => {
      if (isAlone) {
        isAlone = false;
        return transport.open(target, listener);
      }
      const id = `t${Math.random()}`;
      const channel = new Channel(name);
      /** Which hub it has joined: none at first. */
      let generation = 0;
      let heard = 0;
      let isOver = false;
      /** While this is locked the hub knows that the tab is there. */
      let unlock = () => {};

      const end = () => {
        isOver = true;
        channel.close();
        unlock();
      };
      /** Without a reason another is to be joined. */
      const finish = (reason?: LinkEnd) => {
        end();
        if (reason || isAlone) leave();
        listener.closed(reason ?? { code: 1006, reason: "", handedOver: true });
      };
      const say = (frame?: ClientFrame | 0) => channel.postMessage([id, generation, frame]);

      channel.onmessage = ({ data }) => {
        const [from, number, to, what] = data as HubMessage;
        // What other tabs say is for the hub.
        if (!(from >= 0)) return;
        if (from !== generation) {
          if (to !== id || (what !== OPENING && what !== OPEN)) say();
          else if (generation) finish();
          else {
            generation = from;
            heard = number;
            if (what) listener.opened();
          }
        } else if (number !== ++heard) finish();
        else if ((to && to !== id) || !what) listener.alive();
        else if (what === OPEN) to || listener.opened();
        else if (what === HANDED_OVER || what === ALONE) {
          isAlone = what === ALONE;
          finish();
        } else if (!what.type) finish(what as LinkEnd);
        else listener.frame(what as ServerFrame);
      };

      setTimeout(() => generation || isOver || lead(target, true), PATIENCE_MS * (1 + Math.random()));
      if (!wish) lead(target);
      locks.request(
        id,
        () =>
          isOver ||
          new Promise<void>((resolve) => {
            unlock = resolve;
            say();
          }),
      );

      return {
        send: say,
        close(code) {
          if (isOver) return;
          // With a code it is not that this tab goes: the line is dead for all.
          if (code) say(0);
          end();
          leave();
        },
      };
    };

    // Its name is that of the other, which may change.
    const shared = { __proto__: transport, open } as unknown as Transport;
    return locks && Channel ? (given.around?.(shared) ?? shared) : given;
  };
}
