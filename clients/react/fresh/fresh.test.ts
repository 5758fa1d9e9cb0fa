// @vitest-environment node
// A new user's five minutes: the snippet of the README in an empty Vite app, with the packages as they would be published,
// the real program and a real browser. Nothing is downloaded: what the packages and the app need is linked from the
// workspace, the packages themselves are packed and unpacked.

import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { type Browser, chromium } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Database, Rowcast } from "../../e2e/harness/rowcast.js";

const workspace = path.resolve(import.meta.dirname, "../..");
const app = mkdtempSync(path.join(tmpdir(), "rowcast-fresh-"));
const database = new Database();
let server: Rowcast;
let browser: Browser;

const LINKED = ["react", "react-dom", "scheduler", "typescript", "vite", "@types/react", "@types/react-dom"];

/** As the template `react-ts` of create-vite has it. */
const COMPILER_OPTIONS = {
  target: "ES2022",
  useDefineForClassFields: true,
  lib: ["ES2022", "DOM", "DOM.Iterable"],
  module: "ESNext",
  types: ["vite/client"],
  skipLibCheck: true,
  moduleResolution: "bundler",
  allowImportingTsExtensions: true,
  verbatimModuleSyntax: true,
  moduleDetection: "force",
  noEmit: true,
  jsx: "react-jsx",
  strict: true,
  noUnusedLocals: true,
  noUnusedParameters: true,
  erasableSyntaxOnly: true,
  noFallthroughCasesInSwitch: true,
  noUncheckedSideEffectImports: true,
};

const MAIN = `import { StrictMode } from 'react'
import { createRoot } from 'react-dom/client'
import App from './App.tsx'

createRoot(document.getElementById('root')!).render(
  <StrictMode>
    <App />
  </StrictMode>,
)
`;

const PAGE = `<!doctype html>
<html lang="en">
  <head><meta charset="UTF-8" /><link rel="icon" href="data:," /><title>my-app</title></head>
  <body><div id="root"></div><script type="module" src="/src/main.tsx"></script></body>
</html>
`;

function run(file: string, ...args: string[]): string {
  return execFileSync(file, args, { cwd: app, encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] });
}

/** Packs a package and unpacks it where npm would put it. */
function install(name: string, folder: string): void {
  const tarballs = path.join(app, "tarballs", folder);
  const home = path.join(app, "node_modules", name);
  mkdirSync(tarballs, { recursive: true });
  mkdirSync(home, { recursive: true });
  run("npm", "pack", path.join(workspace, folder), "--silent", "--pack-destination", tarballs);
  const [tarball = ""] = readdirSync(tarballs);
  run("tar", "-xzf", path.join(tarballs, tarball), "-C", home, "--strip-components", "1");
}

function link(name: string): void {
  const at = path.join(app, "node_modules", name);
  mkdirSync(path.dirname(at), { recursive: true });
  symlinkSync(path.join(workspace, "node_modules", name), at);
}

/** The first snippet of the README, for a server on this port. */
function snippet(port: number): string {
  const readme = readFileSync(path.join(workspace, "react/README.md"), "utf8");
  const [, code = ""] = /`src\/App.tsx`:\n\n```tsx\n(.*?)```/s.exec(readme) ?? [];
  expect(code).toContain("127.0.0.1:3001");
  return code.replace("127.0.0.1:3001", `127.0.0.1:${port}`);
}

beforeAll(async () => {
  server = await Rowcast.start(database);
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"],
  });
});

afterAll(async () => {
  await browser?.close();
  await server?.stop();
  database.remove();
  rmSync(app, { recursive: true, force: true });
});

test("the README's snippet in an empty Vite app shows a row that is inserted", { timeout: 120_000 }, async () => {
  install("@rowcast/client", "core");
  install("@rowcast/react", "react");
  for (const name of LINKED) link(name);
  mkdirSync(path.join(app, "src"));
  writeFileSync(path.join(app, "package.json"), JSON.stringify({ name: "my-app", private: true, type: "module" }));
  writeFileSync(
    path.join(app, "tsconfig.json"),
    JSON.stringify({ compilerOptions: COMPILER_OPTIONS, include: ["src"] }),
  );
  writeFileSync(path.join(app, "index.html"), PAGE);
  writeFileSync(path.join(app, "src/main.tsx"), MAIN);
  writeFileSync(path.join(app, "src/App.tsx"), snippet(server.port));

  expect(run(process.execPath, "node_modules/typescript/bin/tsc")).toBe("");
  run(process.execPath, "node_modules/vite/bin/vite.js", "build", "--logLevel", "warn");
  const { preview } = await import("vite");
  const site = await preview({ root: app, logLevel: "warn", preview: { host: "127.0.0.1", port: 0 } });
  const { port } = site.httpServer.address() as AddressInfo;

  const page = await browser.newPage();
  const complaints: string[] = [];
  page.on("pageerror", (error) => complaints.push(String(error)));
  await page.goto(`http://127.0.0.1:${port}/`);
  await page.getByRole("status").getByText("Connected").waitFor();
  const emit = (title: string): string =>
    run(
      process.env.ROWCAST ?? "rowcast",
      ...["emit", "tasks", "task.created", JSON.stringify({ title }), "--database-url", `sqlite://${database.file}`],
    );
  emit("Order coffee");
  await page.getByRole("listitem").getByText("Order coffee").waitFor();

  // The server is away while a row is inserted.
  await server.down("SIGTERM");
  emit("Drink coffee");
  await server.up();
  await page.getByRole("listitem").getByText("Drink coffee").waitFor({ timeout: 60_000 });
  expect(await page.getByRole("listitem").allTextContents()).toEqual(["Order coffee", "Drink coffee"]);
  expect(complaints).toEqual([]);
  await site.close();
});
