// Tests with the real program and a real browser: one file after the other, as both want the processors.

import { defineConfig } from "vitest/config";

export default defineConfig({
  test: { include: ["*.test.ts"], fileParallelism: false, testTimeout: 60_000, hookTimeout: 60_000 },
});
