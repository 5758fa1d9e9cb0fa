// What is told of the work of the client, to those who look for a mistake. No token is in it.

import type { ClientOptions } from "./types.js";

export type Debug = (message: string, details?: unknown) => void;

/** Tells nobody, the console, or a function of the user. */
export function debugTo(option: ClientOptions["debug"]): Debug {
  if (typeof option === "function") return option;
  // biome-ignore lint/suspicious/noConsole: the user asks for it.
  return option ? (...told) => console.debug("[rowcast]", ...told) : () => {};
}
