// How the page is built. With `npm run dev` the backend that ../start runs answers what Vite does not.

import { defineConfig } from "vite";

const backend = "http://127.0.0.1:3033";

export default defineConfig({
  // The packages of ../../../clients are linked; React is to be found from here all the same, and once.
  resolve: { preserveSymlinks: true },
  server: { proxy: { "/api": backend, "/ws": { target: backend, ws: true, changeOrigin: true } } },
  // "use client" is for frameworks that render on servers.
  build: { rollupOptions: { onwarn: (warning, warn) => warning.code === "MODULE_LEVEL_DIRECTIVE" || warn(warning) } },
});
