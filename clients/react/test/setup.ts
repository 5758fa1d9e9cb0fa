// What every test of the hooks begins with and leaves behind.

import { version } from "react";
import { afterEach, beforeEach, vi } from "vitest";

declare global {
  // React asks for it where `act` is used.
  var IS_REACT_ACT_ENVIRONMENT: boolean;
}
if (!version.startsWith(`${process.env.REACT}.`)) throw new Error(`this is React ${version}, not ${process.env.REACT}`);
globalThis.IS_REACT_ACT_ENVIRONMENT = true;

beforeEach(() => {
  vi.useFakeTimers();
});

afterEach(async () => {
  if (typeof document !== "undefined") (await import("@testing-library/react")).cleanup();
  vi.useRealTimers();
  vi.restoreAllMocks();
});
