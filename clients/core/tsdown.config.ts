// How the package is built: four entries, as ESM and CommonJS, each with types.

import { existsSync } from "node:fs";
import { defineConfig } from "tsdown";

const entries = {
  index: "src/index.ts",
  fallback: "src/fallback/index.ts",
  tabs: "src/tabs/index.ts",
  testing: "src/testing/index.ts",
};

export default defineConfig({
  entry: Object.fromEntries(Object.entries(entries).filter(([, file]) => existsSync(file))),
  format: ["esm", "cjs"],
  dts: true,
  clean: true,
  target: "es2022",
  platform: "neutral",
  // Small, and still to be read: names and lines stay, for whoever looks for a mistake.
  minify: { compress: true, mangle: false, codegen: { removeWhitespace: false } },
  outExtensions: ({ format }) => (format === "cjs" ? { js: ".cjs", dts: ".d.cts" } : { js: ".mjs", dts: ".d.mts" }),
});
