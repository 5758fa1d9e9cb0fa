// Several ways as one: the first that works, what worked before, and the best again from time to time.

import { createTimer } from "../timer.js";
import type { Link, Transport } from "../transport.js";

/** How often the best way is tried again while another one is taken, in milliseconds. */
const BETTER_MS = 300_000;
/** How long that may take, in milliseconds. */
const PROBE_MS = 10_000;
/** Failures in a row until the next way is tried; more where it has worked, as the server may be restarting. */
const FAILURES_MAX = 2;
const FAILURES_MAX_WORKED = 4;
/** The line was cut, or there was none. With another code the server has answered, and the way is one. */
const NO_ANSWER = 1006;

/** Makes one transport of several, the best first. */
export function among(all: readonly Transport[]): Transport {
  const ways = [...all];
  /** The way that is taken, and since when. */
  let index = 0;
  let chosenAt: number | undefined;
  /** Failures until the next one is. */
  let patience: number;

  const way = (): Transport => ways[index] as Transport;

  function choose(next: number): void {
    index = next % ways.length;
    patience = FAILURES_MAX;
    chosenAt = Date.now();
  }

  /** Gives whether another way is to be tried at once. */
  function failed(isUnusable?: boolean): boolean {
    if (--patience > 0 && !isUnusable) return false;
    choose(index + 1);
    return index > 0;
  }

  const open: Transport["open"] = (target, listener) => {
    const { url, environment } = target;
    const key = `rowcast:transport:${url}`;
    /** What is remembered for as long as the tab is open, where that is allowed. */
    const remembered = (name?: string): unknown => {
      try {
        const storage = environment.storage ?? globalThis.sessionStorage;
        return name ? storage.setItem(key, name) : storage.getItem(key);
      } catch {}
    };
    if (!chosenAt) {
      const name = remembered();
      choose(
        Math.max(
          0,
          ways.findIndex((way) => way.name === name),
        ),
      );
    } else if (index && Date.now() - chosenAt >= BETTER_MS) {
      choose(0);
      // One failure is enough to come back.
      patience = 1;
    }
    let isConnected = false;
    let token: string | undefined;
    let tried: Link | undefined;
    let link: Link;
    const timer = createTimer();
    const clear = (): void => {
      timer.clear();
      tried?.close();
    };
    const later = (): void => {
      clear();
      if (index) timer.set(probe, BETTER_MS);
    };

    /** Looks whether the best way has become one. */
    function probe(): void {
      timer.set(later, PROBE_MS);
      tried = ways[0]?.open(target, {
        opened: () => tried?.send({ type: "hello", token }),
        frame({ type }) {
          if (type !== "welcome") return;
          clear();
          choose(0);
          link.close();
          // The client comes back at once, by the best way, to where it was.
          listener.closed({ code: 1000, reason: "", handedOver: true });
        },
        alive() {},
        closed: later,
      });
    }

    try {
      link = way().open(target, {
        ...listener,
        frame(frame) {
          if (!isConnected) remembered(way().name);
          isConnected = true;
          patience = FAILURES_MAX_WORKED;
          listener.frame(frame);
        },
        closed(end) {
          clear();
          const handedOver = !isConnected && end.code === NO_ANSWER && failed(end.isUnusable);
          // It counts once.
          isConnected = true;
          listener.closed({ handedOver, ...end });
        },
      });
    } catch (thrown) {
      // It does not exist where the client runs.
      ways.splice(index, 1);
      if (!ways[0]) throw thrown;
      choose(index);
      return open(target, listener);
    }
    later();
    return {
      send(frame) {
        if ("token" in frame) token = frame.token;
        link.send(frame);
      },
      close(...why) {
        clear();
        // The client has lost patience, or has changed its mind.
        if (!isConnected) failed();
        link.close(...why);
      },
    };
  };

  return {
    get name() {
      return way().name;
    },
    open,
  };
}
