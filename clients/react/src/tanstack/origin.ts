// Names of who caused an event, so that its own page can ignore the echo.

import { useState } from "react";

/**
 * A random name that stays the same for the life of the component. Send it to your backend with a mutation (in a header of
 * your own, say), let it write it into the column `origin` of the event, and give it to `useRealtimeSync` as `ignoreOrigin`.
 * Any text that no other page has will do, too.
 */
export function useMutationOrigin(): { readonly origin: string } {
  const [state] = useState(() => ({ origin: String(Math.random()) }));
  return state;
}
