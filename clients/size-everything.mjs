// All that users may load, as one program: for its size only (`npm run size`).

export * as fallback from "./core/dist/fallback.mjs";
export * as client from "./core/dist/index.mjs";
export * as tabs from "./core/dist/tabs.mjs";
export * as react from "./react/dist/index.mjs";
export * as tanstack from "./react/dist/tanstack.mjs";
