// Two kinds of tests: of the parts; and of the page, in a real browser, against the real program (`npm run test:real`).

import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

const at = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
const alias = { "@rowcast/client": at("../core/src/index.ts"), "@rowcast/react": at("../react/src/index.ts") };

export default defineConfig({
  test: {
    projects: [
      {
        resolve: { alias },
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
