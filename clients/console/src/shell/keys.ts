// The keyboard: what keys do, wherever the focus is.

import { useEffect, useRef } from "react";

/** What a key does, by its name (`KeyboardEvent.key`). What gives false leaves the key to the browser. */
// biome-ignore lint/suspicious/noConfusingVoidType: most handlers give nothing
export type Keys = Readonly<Record<string, (event: KeyboardEvent) => boolean | void>>;

/** Handles keys while the component is there. Typing into a field, and pressing buttons, stay what they are. */
export function useKeys(keys: Keys): void {
  const latest = useRef(keys);
  useEffect(() => {
    latest.current = keys;
  });
  useEffect(() => {
    const handle = (event: KeyboardEvent): void => {
      if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
      if (document.querySelector("dialog[open]")) return;
      const key = event.key === " " ? "Space" : event.key;
      if (belongsToFocus(event.target, key)) return;
      if (latest.current[key]?.(event) === false) return;
      if (latest.current[key]) event.preventDefault();
    };
    document.addEventListener("keydown", handle);
    return () => document.removeEventListener("keydown", handle);
  }, []);
}

/** Keys that mean something for what has the focus. */
function belongsToFocus(target: EventTarget | null, key: string): boolean {
  if (!(target instanceof Element)) return false;
  if (target.closest("input, textarea, select, [contenteditable]")) return key !== "Escape";
  if (key === "Space" || key === "Enter") return target.closest("button, a, summary") !== null;
  // What scrolls is scrolled.
  const moves = ["ArrowUp", "ArrowDown", "PageUp", "PageDown", "Home", "End"];
  return moves.includes(key) && target.closest(".json, .table-frame") !== null;
}
