// Names of who caused an event, so that its own page can ignore the echo.

import { useState } from "react";

/**
 * A random name. Send it to your backend with a mutation (as a header of your own, say), let it write it into the column
 * `origin` of the event, and give it to `useRealtimeSync` as `ignoreOrigin`.
 */
export function createOrigin(): string {
  // randomUUID is there on secure pages only.
  return globalThis.crypto?.randomUUID?.() ?? Math.random().toString(36).slice(2);
}

/** An origin that stays the same for the life of the component. */
export function useMutationOrigin(): { readonly origin: string } {
  const [origin] = useState(createOrigin);
  return { origin };
}
