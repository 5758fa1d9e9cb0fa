// TanStack Query kept fresh: what users import. No code of its own.

export { optimisticUpdate } from "./optimistic.js";
export { useMutationOrigin } from "./origin.js";
export type { UsePollingFallbackOptions } from "./polling.js";
export { usePollingFallback } from "./polling.js";
export type { UseRealtimeSyncOptions } from "./sync.js";
export { useRealtimeSync } from "./sync.js";
