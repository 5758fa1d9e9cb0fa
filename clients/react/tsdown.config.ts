// How the package is built: two entries that share their chunks, and so the context of the provider.

import { defineConfig } from "tsdown";

export default defineConfig({
  entry: { index: "src/index.ts", tanstack: "src/tanstack/index.ts" },
  format: ["esm", "cjs"],
  platform: "neutral",
  target: "es2022",
  dts: true,
  clean: true,
  // Frameworks that render on servers need it.
  outputOptions: { banner: '"use client";', chunkFileNames: "shared-[hash].[format].js" },
});
