// How the package is built: three entries that share their modules, and so the context of the provider.

import { defineConfig } from "tsdown";

export default defineConfig({
  entry: { index: "src/index.ts", indicator: "src/indicator.tsx", tanstack: "src/tanstack/index.ts" },
  format: ["esm", "cjs"],
  target: "es2022",
  dts: true,
  fixedExtension: true,
  hash: false,
  minify: { compress: true, mangle: false, codegen: { removeWhitespace: false } },
  // Frameworks that render on servers need to be told.
  outputOptions: { banner: '"use client";' },
});
