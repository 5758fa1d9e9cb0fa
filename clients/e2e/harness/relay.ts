// A TCP proxy between browser and server that breaks things: it cuts lines, holds them up, and lets no WebSocket through.

import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";

/** One line through the relay. */
interface Line {
  readonly near: Socket;
  readonly far: Socket;
  /** The first line of what the browser said. */
  readonly request: string;
  /** How many more bytes reach the browser before the line breaks. */
  bytesLeft: number;
}

export class Relay {
  /** Where new lines lead. */
  target: number;
  /** Answers 400 to whoever asks for a WebSocket. */
  blocksWebSockets = false;
  /** First lines of all requests, of each line the first. */
  readonly requests: string[] = [];
  /** How many lines were broken. */
  cuts = 0;
  private readonly lines = new Set<Line>();
  private readonly server: Server;
  private isStalled = false;

  private constructor(target: number) {
    this.target = target;
    this.server = createServer((near) => this.take(near));
  }

  static async start(target: number): Promise<Relay> {
    const relay = new Relay(target);
    relay.server.listen(0, "127.0.0.1");
    await once(relay.server, "listening");
    return relay;
  }

  get host(): string {
    return `127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  /** Lines that are open now and began with such a request. */
  open(request: RegExp): number {
    return [...this.lines].filter((line) => request.test(line.request)).length;
  }

  /** Breaks all lines. */
  cut(): void {
    for (const line of this.lines) this.break(line);
  }

  /** Breaks each line that there is once so many more bytes have reached the browser: in the middle of an answer. */
  cutAfter(bytes: number): void {
    for (const line of this.lines) line.bytesLeft = bytes;
  }

  private break({ near, far }: Line): void {
    this.cuts += 1;
    near.destroy();
    far.destroy();
  }

  /** Nothing arrives any more, on lines that are there and on new ones, and nobody is told. */
  stall(): void {
    this.isStalled = true;
    for (const { near, far } of this.lines) {
      near.pause();
      far.pause();
    }
  }

  /** What was held up arrives. */
  flow(): void {
    this.isStalled = false;
    for (const { near, far } of this.lines) {
      near.resume();
      far.resume();
    }
  }

  async stop(): Promise<void> {
    this.cut();
    this.server.close();
    await once(this.server, "close");
  }

  private take(near: Socket): void {
    near.on("error", () => near.destroy());
    near.once("data", (head) => {
      near.pause();
      const text = head.toString("latin1");
      const request = text.slice(0, text.indexOf("\r\n"));
      this.requests.push(request);
      if (this.blocksWebSockets && /\r\nupgrade: *websocket/i.test(text)) {
        near.end("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        near.resume();
        return;
      }
      this.join(near, request, head);
    });
  }

  private join(near: Socket, request: string, head: Buffer): void {
    const far = connect(this.target, "127.0.0.1");
    const line: Line = { near, far, request, bytesLeft: Number.POSITIVE_INFINITY };
    this.lines.add(line);
    const over = () => {
      this.lines.delete(line);
      near.destroy();
      far.destroy();
    };
    far.on("error", over);
    far.write(head);
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      from.on("data", (data: Buffer) => {
        const part = from === far ? data.subarray(0, line.bytesLeft) : data;
        if (!to.write(part)) from.pause();
        if (from === near) return;
        line.bytesLeft -= part.length;
        if (line.bytesLeft <= 0) near.end(() => this.break(line));
      });
      to.on("drain", () => {
        if (!this.isStalled) from.resume();
      });
      from.on("end", () => to.end());
      from.on("close", over);
    }
    if (this.isStalled) far.pause();
    else near.resume();
  }
}
