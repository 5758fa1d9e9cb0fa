// What the client takes from where it runs, unless it is given something else.

import { pageLifecycle } from "./lifecycle.js";
import type { Environment, WebSocketConstructor } from "./types.js";

/** The globals of here, and what the user wants instead. */
export function environmentWith(own: Partial<Environment> | undefined): Environment {
  const { WebSocket, fetch } = globalThis as { WebSocket?: WebSocketConstructor; fetch?: typeof globalThis.fetch };
  return {
    WebSocket,
    // Called as a method of something else, a browser's own throws.
    fetch: fetch && ((...request) => fetch(...request)),
    lifecycle: pageLifecycle,
    storage: sessionStorageOrNone(),
    random: Math.random,
    ...own,
  };
}

function sessionStorageOrNone(): Environment["storage"] {
  try {
    return globalThis.sessionStorage;
  } catch {
    // The user has forbidden it.
    return undefined;
  }
}
