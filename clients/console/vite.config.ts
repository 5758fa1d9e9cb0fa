// How the page is built: one script, one style sheet, names that stay the same, the same bytes wherever it is built.

import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";

const at = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

export default defineConfig({
  root: at("."),
  // Relative, as a proxy may put the server into a folder.
  base: "./",
  resolve: {
    alias: [
      { find: /^@rowcast\/client$/, replacement: at("../core/src/index.ts") },
      { find: /^@rowcast\/client\/fallback$/, replacement: at("../core/src/fallback/index.ts") },
      { find: /^@rowcast\/react$/, replacement: at("../react/src/index.ts") },
      { find: /^@rowcast\/react\/indicator$/, replacement: at("../react/src/indicator.tsx") },
    ],
    dedupe: ["react", "react-dom"],
  },
  esbuild: { jsx: "automatic", legalComments: "eof" },
  build: {
    target: "es2022",
    outDir: process.env.CONSOLE_OUT ?? at("dist"),
    emptyOutDir: true,
    cssCodeSplit: false,
    modulePreload: false,
    assetsInlineLimit: 0,
    reportCompressedSize: false,
    rollupOptions: {
      output: {
        entryFileNames: "console/console.js",
        assetFileNames: "console/console[extname]",
      },
    },
  },
});
