// The real program on a SQLite file of its own: started, stopped, started again on the same port; rows by SQL; tokens.

import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { createHmac, randomBytes } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";

import type { Claims, Row } from "../scenarios/env.js";

/** Endpoints of all presets. */
const CONFIG = path.resolve("../../docs/protocol/rowcast.toml");

export class Server {
  host = "";
  private readonly folder = mkdtempSync(path.join(tmpdir(), "rowcast-frontends-"));
  private readonly secret = randomBytes(32).toString("hex");
  private child: ChildProcess | undefined;
  private log: string[] = [];

  private constructor(private readonly flags: string[]) {
    writeFileSync(path.join(this.folder, "key"), this.secret);
  }

  static async start(...flags: string[]): Promise<Server> {
    const server = new Server(flags);
    await server.up("127.0.0.1:0");
    return server;
  }

  private get database(): string {
    return path.join(this.folder, "events.db");
  }

  private async up(listen: string): Promise<void> {
    const program = process.env["ROWCAST"];
    if (program === undefined) throw new Error("ROWCAST is not set: it names the program, as target/debug/rowcast");
    const args = ["serve", "--listen", listen, "--database-url", `sqlite://${this.database}`, "--grace-period", "1s"];
    args.push("--jwt-secret-file", path.join(this.folder, "key"), "--admin-listen", "off", "--max-auth-failures", "0");
    const env = { PATH: process.env["PATH"], ROWCAST_CONFIG: CONFIG, ROWCAST_LOG_FORMAT: "json" };
    const child = spawn(program, [...args, ...this.flags], { env, stdio: ["ignore", "ignore", "pipe"] });
    this.child = child;
    this.host = await new Promise<string>((resolve, reject) => {
      createInterface(child.stderr).on("line", (line) => {
        this.log.push(line);
        const address = /ws:\/\/(127\.0\.0\.1:\d+)/.exec(line)?.[1];
        if (address !== undefined) resolve(address);
      });
      child.on("exit", (code) => reject(new Error(`rowcast has ended (${code}):\n${this.log.join("\n")}`)));
    });
  }

  /** Stops as a deployment does, and starts on the same port. */
  async restart(): Promise<void> {
    await this.end("SIGTERM");
    await this.up(this.host);
  }

  signal(signal: NodeJS.Signals): void {
    this.child?.kill(signal);
  }

  async stop(): Promise<void> {
    await this.end("SIGKILL");
    rmSync(this.folder, { recursive: true, force: true });
  }

  private async end(signal: NodeJS.Signals): Promise<void> {
    const child = this.child;
    if (child === undefined || child.exitCode !== null) return;
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.kill(signal);
    await ended;
  }

  /** One transaction. */
  async insert(...rows: Row[]): Promise<void> {
    const text = (value: string | undefined) => (value === undefined ? "NULL" : `'${value.replaceAll("'", "''")}'`);
    const json = (value: unknown) => (value === undefined ? "NULL" : text(JSON.stringify(value)));
    const values = rows.map((row) => {
      const { channel, type, entity_id, actor, trace_id, origin } = row;
      const all = [text(channel), text(type), json(row.payload ?? {}), text(entity_id), text(actor), json(row.previous), text(trace_id), text(origin)];
      return `(${all.join(",")})`;
    });
    const columns = "channel, type, payload, entity_id, actor, previous, trace_id, origin";
    await this.sql(`INSERT INTO events (${columns}) VALUES ${values.join(", ")};`);
  }

  async sql(statement: string): Promise<void> {
    const child = spawn("sqlite3", ["-cmd", ".timeout 20000", "-bail", this.database], { stdio: ["pipe", "ignore", "pipe"] });
    let complaint = "";
    child.stderr.on("data", (data) => (complaint += String(data)));
    child.stdin.end(statement);
    const code = await new Promise((resolve) => child.once("close", resolve));
    if (code !== 0) throw new Error(`sqlite3: ${complaint}`);
  }

  token(claims: Claims): string {
    const { expires_in_s, ...rest } = claims;
    const exp = Math.floor(Date.now() / 1000) + (expires_in_s ?? 3600);
    const part = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");
    const signed = `${part({ alg: "HS256", typ: "JWT" })}.${part({ ...rest, exp })}`;
    return `${signed}.${createHmac("sha256", this.secret).update(signed).digest("base64url")}`;
  }

  async statistics(token: string, query: string): Promise<unknown> {
    const headers = { authorization: `Bearer ${token}` };
    const answer = await fetch(`http://${this.host}/api/v1/ws/stats?${query}`, { headers });
    if (answer.status !== 200) throw new Error(`statistics: ${answer.status} ${await answer.text()}`);
    return answer.json();
  }
}

/** Where Chromium is, as tests/browser looks for it. */
export function chromium(): string {
  for (const name of ["chromium", "chromium-browser", "google-chrome"]) {
    const found = spawnSync("sh", ["-c", `command -v ${name}`], { encoding: "utf8" }).stdout.trim();
    if (found !== "") return found;
  }
  throw new Error("there is no Chromium here: scripts/test installs it where there is apt-get; else install it yourself");
}
