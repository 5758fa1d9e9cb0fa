// What every test of the hooks begins with and leaves behind.

import { afterEach, beforeEach, vi } from "vitest";

declare global {
  // React asks for it where `act` is used.
  var IS_REACT_ACT_ENVIRONMENT: boolean;
}
globalThis.IS_REACT_ACT_ENVIRONMENT = true;

beforeEach(() => {
  vi.useFakeTimers();
});

afterEach(async () => {
  if (typeof document !== "undefined") (await import("@testing-library/react")).cleanup();
  vi.useRealTimers();
  vi.restoreAllMocks();
});
