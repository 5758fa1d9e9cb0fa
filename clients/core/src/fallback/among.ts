// Several ways as one: the first that works, what worked before, and the best again from time to time.

import type { LinkEnd, Transport } from "../transport.js";
import type { Environment } from "../types.js";

/** How often the best way is tried again while another one is taken, in milliseconds. */
const BETTER_MS = 300_000;
/** How long that may take, in milliseconds. */
const PROBE_MS = 10_000;
/** Failures in a row until the next way is tried; more where it has worked, as the server may be restarting. */
const FAILURES_MAX = 2;
const FAILURES_MAX_WORKED = 4;
/** Ends that say nothing about the way: the server has answered. */
const ANSWERS = [4001, 4003, 4429, 1013, 4400];

/** Makes one transport of several, the best first. */
export function among(all: readonly Transport[]): Transport {
  const ways = [...all];
  let index = -1;
  let failures = 0;
  let hasWorked = false;
  let chosenAt = 0;

  const way = (): Transport => ways[Math.max(index, 0)] as Transport;

  function choose(next: number): void {
    index = next % ways.length;
    failures = 0;
    hasWorked = false;
    chosenAt = Date.now();
  }

  /** Gives whether there is another way that was not tried before. */
  function failed(isUnusable = false): boolean {
    failures += 1;
    if (!isUnusable && failures < (hasWorked ? FAILURES_MAX_WORKED : FAILURES_MAX)) return false;
    choose(index + 1);
    return index > 0;
  }

  return {
    get name() {
      return way().name;
    },
    open(target, listener) {
      const { url, environment } = target;
      const memory = memoryOf(environment, `rowcast:transport:${url}`);
      if (index < 0)
        choose(
          Math.max(
            0,
            ways.findIndex(({ name }) => name === memory.get()),
          ),
        );
      if (index > 0 && Date.now() - chosenAt >= BETTER_MS) {
        choose(0);
        // One failure is enough to come back.
        failures = FAILURES_MAX - 1;
      }
      let isConnected = false;
      let token: string | undefined;
      let endProbe = (): void => {};
      let timer = setTimeout(probe, BETTER_MS);
      const clear = (): void => {
        clearTimeout(timer);
        endProbe();
      };

      /** Looks whether the best way has become one. */
      function probe(): void {
        const best = ways[0];
        if (index < 1 || !best) return;
        const again = (): void => {
          clear();
          timer = setTimeout(probe, BETTER_MS);
        };
        timer = setTimeout(again, PROBE_MS);
        const tried = best.open(target, {
          opened: () => tried.send(token === undefined ? { type: "hello" } : { type: "hello", token }),
          frame({ type }) {
            if (type !== "welcome") return;
            clear();
            choose(0);
            link.close();
            // The client comes back at once, by the best way, to where it was.
            listener.closed({ code: 1000, reason: "a better way", handedOver: true });
          },
          alive() {},
          closed: again,
        });
        endProbe = () => tried.close();
      }

      function closed(end: LinkEnd): void {
        clear();
        const isNext = !isConnected && !ANSWERS.includes(end.code) && failed(end.isUnusable);
        listener.closed(isNext ? { ...end, handedOver: true } : end);
      }

      function opened(): ReturnType<Transport["open"]> {
        try {
          return way().open(target, {
            ...listener,
            frame(frame) {
              if (!isConnected) {
                isConnected = hasWorked = true;
                failures = 0;
                memory.set(way().name);
              }
              listener.frame(frame);
            },
            closed,
          });
        } catch (thrown) {
          ways.splice(index, 1);
          if (!ways.length) throw thrown;
          choose(index);
          return opened();
        }
      }

      const link = opened();
      return {
        send(frame) {
          if (frame.type === "hello" || frame.type === "auth") token = frame.token;
          link.send(frame);
        },
        close(code, reason) {
          clear();
          // The client has lost patience, or has changed its mind.
          if (!isConnected) failed();
          link.close(code, reason);
        },
      };
    },
  };
}

/** What is remembered for as long as the tab is open. */
function memoryOf(
  environment: Environment,
  key: string,
): { get(): string | null | undefined; set(name: string): void } {
  const guarded = <Value>(run: (storage: Environment["storage"]) => Value): Value | undefined => {
    try {
      return run("storage" in environment ? environment.storage : globalThis.sessionStorage);
    } catch {
      // The user has forbidden it, or it is full.
      return undefined;
    }
  };
  return {
    get: () => guarded((storage) => storage?.getItem(key)),
    set: (name) => guarded((storage) => storage?.setItem(key, name)),
  };
}
