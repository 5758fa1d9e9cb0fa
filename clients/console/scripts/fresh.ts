// Proves that dist/ is what the sources make: builds once more, elsewhere, and compares byte by byte.

import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";

const folder = fileURLToPath(new URL("..", import.meta.url));
const kept = join(folder, "dist");
const built = mkdtempSync(join(tmpdir(), "rowcast-console-"));

try {
  // As `npm run build` does it: whoever runs this script is in another mode.
  const { NODE_ENV: _, ...environment } = process.env;
  execFileSync("npm", ["run", "--silent", "build", "--", "--logLevel", "error"], {
    cwd: folder,
    env: { ...environment, CONSOLE_OUT: built },
    stdio: ["ignore", "inherit", "inherit"],
  });
  const stale = differing(filesOf(kept), filesOf(built));
  if (stale.length) {
    process.stderr.write(
      `clients/console/dist is not what its sources make: ${stale.join(", ")}\nrun \`npm run build -w console\` in clients/, and commit dist/\n`,
    );
    process.exitCode = 1;
  } else {
    process.stdout.write(`clients/console/dist is fresh: ${[...filesOf(built).keys()].join(", ")}\n`);
  }
} finally {
  rmSync(built, { recursive: true, force: true });
}

/** The files below a folder, by their paths. */
function filesOf(root: string): Map<string, Buffer> {
  const entries = readdirSync(root, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  const paths = entries.map((entry) => join(entry.parentPath, entry.name)).sort();
  return new Map(paths.map((path) => [relative(root, path), readFileSync(path)]));
}

/** Files that are not in both, or not the same. */
function differing(one: Map<string, Buffer>, other: Map<string, Buffer>): string[] {
  const names = new Set([...one.keys(), ...other.keys()]);
  return [...names].filter((name) => !other.get(name)?.equals(one.get(name) ?? Buffer.alloc(0)) || !one.has(name));
}
