// What a page goes through: seen, hidden, frozen, kept for the back button, without a network.

import type { Lifecycle, LifecycleChange } from "./types.js";

/** Events of the page; those that are not a change by their own name. */
const EVENTS = "online offline resume focus freeze pagehide pageshow visibilitychange".split(" ");
const CHANGES: Record<string, LifecycleChange> = {
  focus: "visible",
  freeze: "suspend",
  // Of a page that is kept for the back button, which must not have a connection; others end with theirs.
  pagehide: "suspend",
  pageshow: "resume",
};

const isVisible = (): boolean => globalThis.document?.visibilityState !== "hidden";

/** The lifecycle of the page; outside of a browser nothing ever changes. */
export const pageLifecycle: Lifecycle = {
  isOnline: () => globalThis.navigator?.onLine !== false,
  isVisible,
  listen(handler) {
    const listening = new AbortController();
    const pass = ({ type, target, persisted }: Event & { persisted?: boolean }): void => {
      // The focus of an element says nothing.
      if (persisted === false || (type === "focus" && target !== globalThis)) return;
      if (type === "visibilitychange") handler(isVisible() ? "visible" : "hidden");
      else handler(CHANGES[type] ?? (type as LifecycleChange));
    };
    // Whatever is for the document passes the window on its way down.
    const how = { capture: true, signal: listening.signal };
    if (globalThis.document) for (const type of EVENTS) addEventListener(type, pass, how);
    return () => listening.abort();
  },
};
