// The tests of @rowcast/react, on React 19 and once more on React 18.

import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

const at = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
const source = [
  { find: /^@rowcast\/client$/, replacement: at("../core/src/index.ts") },
  { find: /^@rowcast\/client\/testing$/, replacement: at("../core/src/testing/index.ts") },
  { find: /^@rowcast\/react$/, replacement: at("src/index.ts") },
  { find: /^@rowcast\/react\/tanstack$/, replacement: at("src/tanstack/index.ts") },
];
const react18 = [{ find: /^(react|react-dom)($|\/)/, replacement: `${at("../react-18/node_modules")}/$1$2` }];

/** One run of all tests, with the React that `alias` leads to. */
const project = (name: string, alias: { find: RegExp; replacement: string }[]) => ({
  resolve: { alias: [...source, ...alias] },
  test: {
    name,
    environment: "happy-dom",
    include: ["test/**/*.test.{ts,tsx}"],
    setupFiles: ["test/setup.ts"],
    // They import React as well, and have to get the same one.
    server: { deps: { inline: [/@testing-library/, /@tanstack/] } },
  },
});

export default defineConfig({
  test: { projects: [project("react-19", []), project("react-18", react18)] },
});
