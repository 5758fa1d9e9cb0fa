// How the package is built: five entries, as ESM and CommonJS, each with types.

import { existsSync } from "node:fs";
import { transform } from "esbuild";
import { defineConfig } from "tsdown";

const entries = {
  index: "src/index.ts",
  fallback: "src/fallback/index.ts",
  presence: "src/presence/index.ts",
  tabs: "src/tabs/index.ts",
  testing: "src/testing/index.ts",
};

/**
 * Members of objects that only the core itself sees: no part of a frame, of the public types, or of what a platform has.
 * They get names of one letter. What other entries share with the core (timer.ts) has none of them.
 */
const INTERNAL =
  "isLive entries number had request after guard changed probe heard start stop auth hello lost flush look handler call emit".split(
    " ",
  );

const shortNames = {
  name: "short-names",
  renderChunk(code: string, { name, fileName }: { name: string; fileName: string }) {
    if (name !== "index" || !/\.[mc]js$/.test(fileName)) return null;
    return transform(code, {
      mangleProps: new RegExp(`^(${INTERNAL.join("|")})$`),
      mangleCache: Object.fromEntries(INTERNAL.map((name, n) => [name, String.fromCharCode(97 + n)])),
    });
  },
};

export default defineConfig({
  entry: Object.fromEntries(Object.entries(entries).filter(([, file]) => existsSync(file))),
  format: ["esm", "cjs"],
  dts: true,
  clean: true,
  target: "es2022",
  platform: "neutral",
  plugins: [shortNames],
  // Small, and still to be read: names and lines stay, for whoever looks for a mistake.
  minify: { compress: true, mangle: false, codegen: { removeWhitespace: false } },
  outExtensions: ({ format }) => (format === "cjs" ? { js: ".cjs", dts: ".d.cts" } : { js: ".mjs", dts: ".d.mts" }),
});
