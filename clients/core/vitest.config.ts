// Tests of the parts, with a clock of their own; the same of what is built (`npm run test:dist`), where names are others; and
// tests against the real program (`npm run test:real`).

import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

/** Entries that tests import, and what is built of them. */
const BUILT: Record<string, string> = {
  "../src/index.js": "index",
  "../../src/index.js": "index",
  "../src/fallback/index.js": "fallback",
  "../src/presence/index.js": "presence",
  "../src/tabs/index.js": "tabs",
  "../src/testing/index.js": "testing",
};

const fromDist = {
  name: "from-dist",
  enforce: "pre" as const,
  resolveId: (id: string) => (BUILT[id] ? fileURLToPath(new URL(`dist/${BUILT[id]}.mjs`, import.meta.url)) : undefined),
};

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: "unit",
          testTimeout: 30_000,
          include: ["test/**/*.test.ts"],
          exclude: ["test/real/**", "**/node_modules/**"],
        },
      },
      {
        plugins: [fromDist],
        test: {
          name: "dist",
          testTimeout: 30_000,
          include: ["test/**/*.test.ts"],
          exclude: ["test/real/**", "test/readme.test.ts", "**/node_modules/**"],
        },
      },
      {
        test: {
          name: "real",
          include: ["test/real/**/*.test.ts"],
          testTimeout: 60_000,
          hookTimeout: 60_000,
          fileParallelism: false,
        },
      },
    ],
  },
});
