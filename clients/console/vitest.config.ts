// Two kinds of tests: of the parts; and of the page, in a real browser, against the real program (`npm run test:real`).

import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    projects: [
      {
        extends: "./vite.config.ts",
        test: { name: "unit", include: ["test/**/*.test.ts"], exclude: ["test/real/**", "**/node_modules/**"] },
      },
      {
        test: {
          name: "real",
          include: ["test/real/**/*.test.ts"],
          testTimeout: 120_000,
          hookTimeout: 60_000,
          fileParallelism: false,
        },
      },
    ],
  },
});
