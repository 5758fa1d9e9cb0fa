// Every snippet of the README is TypeScript that the compiler takes.

import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { expect, test } from "vitest";

const core = path.resolve(import.meta.dirname, "..");

/** What the snippets import and is not installed here. */
const STRANGERS = `declare module "react-native" {
  export const AppState: {
    currentState: string;
    addEventListener(type: "change", handler: (state: string) => void): { remove(): void };
  };
}
declare module "ws" {
  const WebSocket: import("@rowcast/client").WebSocketConstructor;
  export default WebSocket;
}
`;

test("every snippet is true to the types", { timeout: 60_000 }, () => {
  const readme = readFileSync(path.join(core, "README.md"), "utf8");
  const snippets = [...readme.matchAll(/^```ts\n(.*?)^```$/gms)].map(([, code]) => code ?? "");
  expect(snippets.length).toBeGreaterThan(5);
  const folder = mkdtempSync(path.join(core, "test", "readme-"));
  try {
    mkdirSync(path.join(folder, "src"));
    for (const [n, code] of snippets.entries()) {
      writeFileSync(path.join(folder, "src", `snippet-${n}.ts`), `${code}\nexport {};\n`);
    }
    writeFileSync(path.join(folder, "src", "strangers.d.ts"), STRANGERS);
    const paths = {
      "@rowcast/client": ["../../src/index.ts"],
      "@rowcast/client/fallback": ["../../src/fallback/index.ts"],
      "@rowcast/client/presence": ["../../src/presence/index.ts"],
    };
    const compilerOptions = {
      module: "esnext",
      moduleResolution: "bundler",
      isolatedDeclarations: false,
      declaration: false,
      noUnusedLocals: false,
      paths,
    };
    writeFileSync(
      path.join(folder, "tsconfig.json"),
      JSON.stringify({ extends: "../../../tsconfig.base.json", compilerOptions, include: ["src"] }),
    );
    const tsc = path.join(core, "..", "node_modules", "typescript", "bin", "tsc");
    let told = "";
    try {
      execFileSync(process.execPath, [tsc, "--noEmit", "-p", folder], { encoding: "utf8" });
    } catch (error) {
      told = (error as { stdout: string }).stdout;
    }
    expect(told).toBe("");
  } finally {
    rmSync(folder, { recursive: true });
  }
});
