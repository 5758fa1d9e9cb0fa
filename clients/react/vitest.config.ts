// The tests of @rowcast/react, on React 19 and once more on React 18.

import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

const at = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
const source = [
  { find: /^@rowcast\/client$/, replacement: at("../core/src/index.ts") },
  { find: /^@rowcast\/client\/testing$/, replacement: at("../core/src/testing/index.ts") },
  { find: /^@rowcast\/react$/, replacement: at("src/index.ts") },
  { find: /^@rowcast\/react\/indicator$/, replacement: at("src/indicator.tsx") },
  { find: /^@rowcast\/react\/tanstack$/, replacement: at("src/tanstack/index.ts") },
];
// Its modules as ES modules, whose imports are resolved by the aliases.
const testingLibrary = {
  find: /^@testing-library\/react$/,
  replacement: at("../node_modules/@testing-library/react/dist/@testing-library/react.esm.js"),
};
const react18 = [{ find: /^(react|react-dom)($|\/)/, replacement: `${at("../react-18/node_modules")}/$1$2` }];

/** One run of all tests, with the React that `alias` leads to. */
const project = (version: string, alias: { find: RegExp; replacement: string }[]) => ({
  resolve: { alias: [...source, testingLibrary, ...alias] },
  test: {
    name: `react-${version}`,
    env: { REACT: version },
    environment: "happy-dom",
    include: ["test/**/*.test.{ts,tsx}"],
    setupFiles: ["test/setup.ts"],
    // They import React as well, and have to get the same one.
    server: { deps: { inline: [/@testing-library/, /@tanstack/] } },
  },
});

/** What is built, as users get it (`npm run test:dist`). */
const dist = { test: { name: "dist", include: ["test-dist/**/*.test.ts"] } };

/** A new user's five minutes, with the program that `ROWCAST` names and a browser (`npm run test:fresh`). */
const fresh = { test: { name: "fresh", include: ["fresh/**/*.test.ts"], testTimeout: 120_000, hookTimeout: 60_000 } };

export default defineConfig({
  test: { projects: [project("19", []), project("18", react18), dist, fresh] },
});
