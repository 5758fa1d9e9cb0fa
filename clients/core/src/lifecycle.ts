// What a page goes through: seen, hidden, frozen, kept for the back button, without a network.

import type { Lifecycle, LifecycleChange } from "./types.js";

/** Events of the document and of the window, and what they mean. */
const CHANGES: readonly [target: "document" | "window", event: string, change: LifecycleChange][] = [
  ["document", "freeze", "suspend"],
  ["document", "resume", "resume"],
  ["window", "focus", "visible"],
  ["window", "online", "online"],
  ["window", "offline", "offline"],
];

/** The lifecycle of the page; outside of a browser nothing ever changes. */
export const pageLifecycle: Lifecycle = {
  // Some say nothing, and where they do, false may be wrong: it only stops attempts after one has failed.
  isOnline: () => typeof navigator === "undefined" || navigator.onLine !== false,
  isVisible: () => typeof document === "undefined" || document.visibilityState !== "hidden",
  listen(handler) {
    if (typeof document === "undefined" || typeof addEventListener === "undefined") return () => {};
    const undos: (() => void)[] = [];
    const on = (target: EventTarget, event: string, run: (event: Event) => void): void => {
      target.addEventListener(event, run);
      undos.push(() => target.removeEventListener(event, run));
    };
    for (const [target, event, change] of CHANGES) {
      on(target === "document" ? document : globalThis, event, () => handler(change));
    }
    on(document, "visibilitychange", () => handler(pageLifecycle.isVisible() ? "visible" : "hidden"));
    // A page that is not kept ends with its connection; one that is kept must not have any.
    on(globalThis, "pagehide", (event) => (event as PageTransitionEvent).persisted && handler("suspend"));
    on(globalThis, "pageshow", (event) => (event as PageTransitionEvent).persisted && handler("resume"));
    return () => {
      for (const undo of undos) undo();
    };
  },
};
