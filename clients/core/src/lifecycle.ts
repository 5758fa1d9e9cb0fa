// What a page goes through: seen, hidden, frozen, kept for the back button, without a network.

import type { Lifecycle, LifecycleChange } from "./types.js";

const isVisible = (): boolean => globalThis.document?.visibilityState !== "hidden";

/** Events of the page, and what they mean; of one it depends. */
const CHANGES: Record<string, LifecycleChange | undefined> = {
  visibilitychange: undefined,
  focus: "visible",
  online: "online",
  offline: "offline",
  freeze: "suspend",
  resume: "resume",
  // Of a page that is kept for the back button, which must not have a connection; others end with theirs.
  pagehide: "suspend",
  pageshow: "resume",
};

/** The lifecycle of the page; outside of a browser nothing ever changes. */
export const pageLifecycle: Lifecycle = {
  isOnline: () => globalThis.navigator?.onLine !== false,
  isVisible,
  listen(handler) {
    const listening = new AbortController();
    for (const type in globalThis.document && CHANGES) {
      const pass = ({ target, persisted }: Event & { persisted?: boolean }): void => {
        // The focus of an element says nothing.
        const isOfElement = type === "focus" && target !== globalThis;
        if (!isOfElement && persisted !== false) handler(CHANGES[type] ?? (isVisible() ? "visible" : "hidden"));
      };
      // Whatever is for the document passes the window on its way down.
      addEventListener(type, pass, { capture: true, signal: listening.signal });
    }
    return () => listening.abort();
  },
};
