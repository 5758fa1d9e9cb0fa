// A WebSocket without a client: what is said, and what is heard, in order.

import type { WebSocketConstructor, WebSocketLike } from "../src/index.js";

/** A frame, or the close. */
export type Heard = Record<string, unknown>;

/** How long to wait for what has to come. Real servers are started and stopped meanwhile. */
const PATIENCE_MS = 20_000;

export class RawLine {
  /** What has come, and nobody has asked for yet. */
  readonly waiting: Heard[] = [];
  private readonly socket: WebSocketLike;
  private wake: () => void = () => {};

  private constructor(socket: WebSocketLike) {
    this.socket = socket;
    socket.onmessage = ({ data }) => this.push(JSON.parse(String(data)));
    socket.onclose = ({ code, reason }) => this.push({ code, reason });
  }

  static async open(Socket: WebSocketConstructor | undefined, url: string): Promise<RawLine> {
    if (Socket === undefined) throw new Error("there is no WebSocket");
    const socket = new Socket(url);
    const line = new RawLine(socket);
    socket.onerror = () => {};
    await new Promise<void>((resolve) => {
      socket.onopen = () => resolve();
    });
    return line;
  }

  send(frame: object): void {
    this.sendText(JSON.stringify(frame));
  }

  sendText(text: string): void {
    this.socket.send(text);
  }

  async next(): Promise<Heard> {
    let isLate = false;
    const timer = setTimeout(() => {
      isLate = true;
      this.wake();
    }, PATIENCE_MS);
    while (this.waiting.length === 0 && !isLate) {
      await new Promise<void>((resolve) => {
        this.wake = resolve;
      });
    }
    clearTimeout(timer);
    const heard = this.waiting.shift();
    if (heard === undefined) throw new Error(`nothing has come for ${PATIENCE_MS} ms`);
    return heard;
  }

  /** Everything up to a frame of this type. */
  async until(type: string): Promise<Heard[]> {
    const all = [];
    for (;;) {
      const heard = await this.next();
      all.push(heard);
      if (heard.type === type) return all;
    }
  }

  close(): void {
    this.socket.close();
  }

  private push(heard: Heard): void {
    this.waiting.push(heard);
    this.wake();
  }
}
