// Runs a script of TypeScript: Node 20 does not by itself, and Vite is here anyway.

import { resolve } from "node:path";
import { runnerImport } from "vite";

const [script] = process.argv.slice(2);
if (!script) throw new Error("name the script: node scripts/run.mjs scripts/fresh.ts");
await runnerImport(resolve(script), { configFile: false, logLevel: "error" });
