// The real program on a SQLite file of its own: started, stopped, started again on the same port; rows by SQL; tokens.

import { type ChildProcess, spawn } from "node:child_process";
import { createHmac, randomBytes } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";

/** A row as it is inserted. */
export interface Row {
  /** Several names with spaces. */
  readonly channel: string;
  readonly type: string;
  readonly payload?: unknown;
}

/** What a token says; `expires_in_s` stands for `exp`, an hour unless told. */
export interface Claims {
  readonly sub?: string;
  readonly channels?: readonly string[];
  readonly channel?: string;
  readonly publish?: readonly string[];
  readonly expires_in_s?: number;
}

/** A database, and the secret of its tokens. Several servers may serve it. */
export class Database {
  readonly folder: string = mkdtempSync(path.join(tmpdir(), "rowcast-e2e-"));
  private readonly secret = randomBytes(32).toString("hex");

  constructor() {
    writeFileSync(this.keyFile, this.secret);
  }

  get keyFile(): string {
    return path.join(this.folder, "key");
  }

  get file(): string {
    return path.join(this.folder, "events.db");
  }

  /** Inserts rows in one transaction. */
  async insert(...rows: readonly Row[]): Promise<void> {
    const text = (value: string) => `'${value.replaceAll("'", "''")}'`;
    const values = rows.map(
      ({ channel, type, payload = {} }) => `(${text(channel)},${text(type)},${text(JSON.stringify(payload))})`,
    );
    await this.sql(`INSERT INTO events (channel, type, payload) VALUES ${values.join(",")};`);
  }

  async sql(statements: string): Promise<void> {
    const args = ["-cmd", ".timeout 20000", "-bail", this.file];
    const child = spawn("sqlite3", args, { stdio: ["pipe", "ignore", "pipe"] });
    let complaint = "";
    child.stderr.on("data", (data) => {
      complaint += String(data);
    });
    child.stdin.end(statements);
    const code = await new Promise((resolve) => child.once("close", resolve));
    if (code !== 0) throw new Error(`sqlite3: ${complaint}`);
  }

  token({ expires_in_s = 3600, ...claims }: Claims): string {
    const part = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");
    const exp = Math.floor(Date.now() / 1000) + expires_in_s;
    const signed = `${part({ alg: "HS256", typ: "JWT" })}.${part({ ...claims, exp })}`;
    return `${signed}.${createHmac("sha256", this.secret).update(signed).digest("base64url")}`;
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** One server. */
export class Rowcast {
  readonly database: Database;
  private readonly flags: readonly string[];
  private address = "127.0.0.1:0";
  private admin = "";
  private child: ChildProcess | undefined;

  private constructor(database: Database, flags: readonly string[]) {
    this.database = database;
    this.flags = flags;
  }

  static async start(database: Database, ...flags: readonly string[]): Promise<Rowcast> {
    const server = new Rowcast(database, flags);
    await server.up();
    return server;
  }

  get host(): string {
    return this.address;
  }

  get port(): number {
    return Number(this.address.split(":")[1]);
  }

  /** As a deployment does it, or as a crash: it comes back on the same port. */
  async restart(signal: "SIGTERM" | "SIGKILL" = "SIGTERM"): Promise<void> {
    await this.down(signal);
    await this.up();
  }

  async stop(): Promise<void> {
    await this.down("SIGKILL");
  }

  /** A number that the server counts, as `rowcast_connections`. */
  async metric(name: string): Promise<number> {
    const answer = await fetch(`${this.admin}/metrics`);
    const lines = (await answer.text()).split("\n").filter((line) => line.startsWith(name) && !line.startsWith("#"));
    if (lines.length === 0) throw new Error(`the server counts no ${name}`);
    return lines.reduce((sum, line) => sum + Number(line.split(" ").at(-1)), 0);
  }

  async up(): Promise<void> {
    const program = process.env.ROWCAST;
    if (program === undefined) throw new Error("ROWCAST is not set: it names the program, as target/debug/rowcast");
    const url = `sqlite://${this.database.file}`;
    const args = ["serve", "--listen", this.address, "--database-url", url, "--grace-period", "1s", ...this.flags];
    const env = { PATH: process.env.PATH, ROWCAST_LOG_FORMAT: "json" };
    const child = spawn(program, args, { env, cwd: this.database.folder, stdio: ["ignore", "ignore", "pipe"] });
    this.child = child;
    const log: string[] = [];
    this.address = await new Promise<string>((resolve, reject) => {
      createInterface(child.stderr).on("line", (line) => {
        log.push(line);
        this.admin = /"admin":"([^"]+)"/.exec(line)?.[1] ?? this.admin;
        const address = /ws:\/\/(127\.0\.0\.1:\d+)/.exec(line)?.[1];
        if (address !== undefined) resolve(address);
      });
      child.once("exit", (code) => reject(new Error(`rowcast has ended (${code}):\n${log.join("\n")}`)));
    });
  }

  async down(signal: "SIGTERM" | "SIGKILL"): Promise<void> {
    const child = this.child;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.kill(signal);
    await ended;
  }
}
