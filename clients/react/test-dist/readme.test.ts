// @vitest-environment node
// Every snippet of the README compiles against the packages as they are published.

import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { expect, test } from "vitest";

const home = path.resolve(import.meta.dirname, "..");

/** What the text of the README says is yours. */
const YOURS = `
interface Task { id: string; title: string }
declare const api: {
  tasks: () => Promise<Task[]>;
  addTask: (title: string, headers: Record<string, string>) => Promise<Task>;
  updateTask: (task: Task) => Promise<Task>;
  feedToken: () => Promise<string>;
};
`;

test("every snippet compiles", { timeout: 120_000 }, () => {
  const snippets = [...readFileSync(path.join(home, "README.md"), "utf8").matchAll(/```tsx\n(.*?)```/gs)];
  expect(snippets.length).toBeGreaterThan(8);
  const folder = path.join(home, "node_modules/.cache/readme");
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  for (const [at, [, code]] of snippets.entries()) writeFileSync(path.join(folder, `snippet${at}.tsx`), code ?? "");
  writeFileSync(path.join(folder, "yours.d.ts"), YOURS);
  writeFileSync(path.join(folder, "Tasks.d.ts"), "export declare function Tasks(): React.JSX.Element;\n");
  const compilerOptions = {
    target: "es2022",
    lib: ["es2023", "dom"],
    module: "esnext",
    moduleResolution: "bundler",
    jsx: "react-jsx",
    strict: true,
    noEmit: true,
    skipLibCheck: true,
    types: ["react"],
  };
  writeFileSync(path.join(folder, "tsconfig.json"), JSON.stringify({ compilerOptions, include: ["."] }));
  const tsc = createRequire(import.meta.url).resolve("typescript/bin/tsc");
  const { stdout } = spawnSync(process.execPath, [tsc, "-p", folder], { encoding: "utf8" });
  expect(stdout).toBe("");
});
