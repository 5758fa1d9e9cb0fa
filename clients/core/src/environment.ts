// What the client takes from where it runs, unless it is given something else.

import { pageLifecycle } from "./lifecycle.js";
import type { Environment } from "./types.js";

/** The globals of here, and what the user wants instead. */
export function environmentWith(own: Partial<Environment> | undefined): Environment {
  const { WebSocket, fetch } = globalThis;
  return { WebSocket, fetch, lifecycle: pageLifecycle, random: Math.random, ...own };
}
