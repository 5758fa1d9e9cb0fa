// What every test of the hooks begins with and leaves behind.

import { version } from "react";
import { afterEach, beforeEach, expect, vi } from "vitest";

declare global {
  // React asks for it where `act` is used.
  var IS_REACT_ACT_ENVIRONMENT: boolean;
}
if (!version.startsWith(`${process.env.REACT}.`)) throw new Error(`this is React ${version}, not ${process.env.REACT}`);
globalThis.IS_REACT_ACT_ENVIRONMENT = true;

beforeEach(() => {
  vi.useFakeTimers();
  vi.spyOn(console, "error");
});

afterEach(async () => {
  if (typeof document !== "undefined") (await import("@testing-library/react")).cleanup();
  // React complains there of what is wrong with a component. A test that expects it clears it.
  const complaints = vi.mocked(console.error).mock.calls;
  vi.useRealTimers();
  vi.restoreAllMocks();
  expect(complaints).toEqual([]);
});
