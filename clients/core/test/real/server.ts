// The real program on a SQLite file of its own, and a proxy before it that cuts.

import { type ChildProcess, spawn } from "node:child_process";
import { createHmac, randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { type AddressInfo, connect, createServer, type Server as NetServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";

export type Claims = { sub?: string; channels?: string[]; channel?: string; publish?: string[]; expires_in_s?: number };

export class Server {
  host = "";
  private readonly folder = mkdtempSync(path.join(tmpdir(), "rowcast-client-"));
  private readonly secret = randomBytes(32).toString("hex");
  private readonly flags: string[];
  private child: ChildProcess | undefined;

  private constructor(flags: string[]) {
    this.flags = flags;
    writeFileSync(path.join(this.folder, "key"), this.secret);
  }

  static async start(...flags: string[]): Promise<Server> {
    const server = new Server(flags);
    await server.up("127.0.0.1:0");
    return server;
  }

  private async up(listen: string): Promise<void> {
    const program = process.env.ROWCAST;
    if (program === undefined) throw new Error("ROWCAST is not set: it names the program, as target/debug/rowcast");
    const args = [
      "serve",
      "--listen",
      listen,
      "--grace-period",
      "1s",
      "--admin-listen",
      "off",
      "--max-auth-failures",
      "0",
      "--max-publishes-per-minute",
      "0",
    ];
    args.push("--database-url", `sqlite://${path.join(this.folder, "events.db")}`);
    args.push("--jwt-secret-file", path.join(this.folder, "key"), ...this.flags);
    const env = { PATH: process.env.PATH, ROWCAST_LOG_FORMAT: "json" };
    const child = spawn(program, args, { env, stdio: ["ignore", "ignore", "pipe"] });
    this.child = child;
    const log: string[] = [];
    this.host = await new Promise<string>((resolve, reject) => {
      createInterface(child.stderr).on("line", (line) => {
        log.push(line);
        const address = /ws:\/\/(127\.0\.0\.1:\d+)/.exec(line)?.[1];
        if (address !== undefined) resolve(address);
      });
      child.on("exit", (code) => reject(new Error(`rowcast has ended (${code}):\n${log.join("\n")}`)));
      child.on("error", reject);
    });
  }

  /** Stops as a deployment does, and starts on the same port. */
  async restart(): Promise<void> {
    await this.end("SIGTERM");
    await this.up(this.host);
  }

  async stop(): Promise<void> {
    await this.end("SIGKILL");
    rmSync(this.folder, { recursive: true, force: true });
  }

  private async end(signal: NodeJS.Signals): Promise<void> {
    const { child } = this;
    if (child === undefined || child.exitCode !== null) return;
    child.kill(signal);
    await once(child, "exit");
  }

  token({ expires_in_s = 3600, ...claims }: Claims): string {
    const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString("base64url");
    const exp = Math.floor(Date.now() / 1000) + expires_in_s;
    const head = `${part({ alg: "HS256", typ: "JWT" })}.${part({ ...claims, exp })}`;
    return `${head}.${createHmac("sha256", this.secret).update(head).digest("base64url")}`;
  }

  /** One transaction; tried again while the server restarts, with a key, so that nothing is there twice. */
  async publish(...events: { channel: string; type: string; payload?: unknown }[]): Promise<void> {
    const headers = {
      authorization: `Bearer ${this.token({ publish: ["*"] })}`,
      "content-type": "application/json",
      "idempotency-key": randomBytes(16).toString("hex"),
    };
    for (;;) {
      const answer = await fetch(`http://${this.host}/events`, {
        method: "POST",
        headers,
        body: JSON.stringify(events),
      }).catch(() => undefined);
      if (answer?.ok) return;
      if (answer && answer.status < 500) throw new Error(`publish: ${answer.status} ${await answer.text()}`);
      // It is not there yet.
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  async cursor(): Promise<string> {
    const headers = { authorization: `Bearer ${this.token({ sub: "reader" })}` };
    const answer = await fetch(`http://${this.host}/cursor`, { headers });
    return ((await answer.json()) as { cursor: string }).cursor;
  }
}

/** Passes bytes on until it is told to cut. */
export class CuttingProxy {
  private readonly lines = new Set<Socket>();
  private readonly server: NetServer;
  /** New connections are refused. */
  isClosed = false;

  private constructor(target: () => string) {
    this.server = createServer((near) => {
      if (this.isClosed) {
        near.destroy();
        return;
      }
      const [host, port] = target().split(":");
      const far = connect(Number(port), host);
      for (const [one, other] of [
        [near, far],
        [far, near],
      ] as const) {
        this.lines.add(one);
        one.pipe(other);
        one.on("error", () => other.destroy());
        one.on("close", () => {
          this.lines.delete(one);
          other.destroy();
        });
      }
    });
  }

  static async before(target: () => string): Promise<CuttingProxy> {
    const proxy = new CuttingProxy(target);
    proxy.server.listen(0, "127.0.0.1");
    await once(proxy.server, "listening");
    return proxy;
  }

  get host(): string {
    return `127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  get isInUse(): boolean {
    return this.lines.size > 0;
  }

  cut(): void {
    for (const line of this.lines) line.destroy();
  }

  async stop(): Promise<void> {
    this.cut();
    this.server.close();
    await once(this.server, "close");
  }
}
