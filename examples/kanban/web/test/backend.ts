// The board's real backend, on a database of its own.

import { type ChildProcess, spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

/** How long it may take to say where it listens, in milliseconds. */
const START_MS = 30_000;

/** A running backend. */
export interface Backend {
  readonly url: string;
  /** Ends it, at once, and another one begins on the same port and database. */
  restart(): Promise<void>;
  /** Ends it, and stays away. */
  kill(): Promise<void>;
  /** Starts it again after `kill`. */
  start(): Promise<void>;
  /** Ends it, and removes its database. */
  stop(): Promise<void>;
}

/** Starts the program that the variable KANBAN names. */
export async function startBackend(): Promise<Backend> {
  const program = process.env.KANBAN;
  if (!program)
    throw new Error(
      "KANBAN is to be the path of the backend: cargo build --example kanban, target/debug/examples/kanban",
    );
  const folder = await mkdtemp(join(tmpdir(), "rowcast-kanban-"));
  let child: ChildProcess;
  let address = "127.0.0.1:0";

  const start = async (): Promise<void> => {
    child = spawn(program, {
      env: { DATABASE_URL: `sqlite://${join(folder, "kanban.db")}`, LISTEN: address },
      stdio: ["ignore", "pipe", "inherit"],
      timeout: 300_000,
    });
    const lines = createInterface({ input: child.stdout as NodeJS.ReadableStream });
    const url = await new Promise<string>((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`${program} does not say where it listens`)), START_MS);
      child.once("exit", (code) => reject(new Error(`${program} has ended with ${code}`)));
      lines.on("line", (line) => {
        const found = /http:\/\/(\S+)/.exec(line)?.[1];
        if (!found) return;
        clearTimeout(timer);
        resolve(found);
      });
    });
    address = url;
  };
  const kill = async (): Promise<void> => {
    const ended = new Promise((resolve) => child.once("exit", resolve));
    if (child.exitCode === null && child.kill("SIGKILL")) await ended;
  };
  await start();
  return {
    url: `http://${address}`,
    start,
    kill,
    async restart() {
      await kill();
      await start();
    },
    async stop() {
      await kill();
      await rm(folder, { recursive: true });
    },
  };
}
