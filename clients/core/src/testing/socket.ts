// The wire of the fake server: WebSockets whose other end is in the same program. Frames arrive in order, each in a
// microtask of its own, so that no clock is needed and all runs of a test are the same.

import type { WebSocketLike } from "../types.js";

const CONNECTING = 0;
const OPEN = 1;
const CLOSING = 2;
const CLOSED = 3;

/** What the server end of a socket is told. */
export interface Wire {
  /** Takes a socket, or says with what code it dies before it opens. */
  accept(socket: FakeSocket): number | undefined;
  heard(socket: FakeSocket, text: string): void;
  /** The client has gone. */
  left(socket: FakeSocket): void;
}

/** How frames go at present; one for all sockets of a server. */
export class Traffic {
  private waiting: (() => void)[] | undefined;

  /** Nothing arrives any more, in either direction, and nobody is told. */
  stall(): void {
    this.waiting ??= [];
  }

  /** What was held up arrives. */
  flow(): void {
    const waiting = this.waiting ?? [];
    this.waiting = undefined;
    for (const go of waiting) go();
  }

  /** Ends when frames may pass. */
  pass(): Promise<void> {
    return new Promise((resolve) => {
      if (this.waiting === undefined) resolve();
      else this.waiting.push(resolve);
    });
  }
}

type SocketEvent = { readonly code: number; readonly reason: string; readonly data: unknown };
type Handler = ((event: SocketEvent & never) => void) | null;

/** Both ends of a WebSocket. */
export class FakeSocket implements WebSocketLike {
  static readonly CONNECTING: number = CONNECTING;
  static readonly OPEN: number = OPEN;
  static readonly CLOSING: number = CLOSING;
  static readonly CLOSED: number = CLOSED;

  readyState: number = CONNECTING;
  onopen: Handler = null;
  onmessage: Handler = null;
  onclose: Handler = null;
  onerror: Handler = null;

  /** How many more frames arrive before the line breaks. */
  framesLeft: number = Number.POSITIVE_INFINITY;

  readonly url: string;
  private readonly wire: Wire;
  private readonly traffic: Traffic;
  private toClient: Promise<void> = Promise.resolve();
  private toServer: Promise<void> = Promise.resolve();
  private isServed = false;

  constructor(url: string, wire: Wire, traffic: Traffic) {
    this.url = url;
    this.wire = wire;
    this.traffic = traffic;
    this.arrive(() => {
      // It may have been closed before it was open.
      if (this.readyState !== CONNECTING) return;
      const refusal = wire.accept(this);
      if (refusal !== undefined) {
        this.end(refusal, "");
        return;
      }
      this.isServed = true;
      this.readyState = OPEN;
      this.tell(this.onopen, {});
    });
  }

  /** The client's: sends a frame. */
  send(data: string): void {
    if (this.readyState === CONNECTING) throw new Error("the socket is not open yet");
    if (this.readyState !== OPEN) return;
    this.toServer = this.toServer
      .then(() => this.traffic.pass())
      .then(() => {
        if (this.isServed) this.wire.heard(this, data);
      });
  }

  /** The client's: leaves. */
  close(code = 1000, reason = ""): void {
    if (this.readyState >= CLOSING) return;
    this.readyState = CLOSING;
    this.toServer = this.toServer.then(() => this.leave());
    void this.toServer.then(() => this.end(code, reason));
  }

  /** The server's: says something. */
  push(text: string): void {
    this.arrive(() => {
      if (this.readyState !== OPEN) return;
      this.tell(this.onmessage, { data: text });
      this.framesLeft -= 1;
      if (this.framesLeft <= 0) this.cut();
    });
  }

  /** The server's: says goodbye, after what it has said. */
  finish(code: number, reason: string): void {
    this.leave();
    this.arrive(() => this.end(code, reason));
  }

  /** The line breaks: what is under way is lost. */
  cut(code = 1006): void {
    this.leave();
    this.end(code, "");
  }

  private leave(): void {
    if (!this.isServed) return;
    this.isServed = false;
    this.wire.left(this);
  }

  private arrive(what: () => void): void {
    this.toClient = this.toClient.then(() => this.traffic.pass()).then(what);
  }

  private end(code: number, reason: string): void {
    if (this.readyState === CLOSED) return;
    this.readyState = CLOSED;
    if (code === 1006) this.tell(this.onerror, {});
    this.tell(this.onclose, { code, reason });
  }

  private tell(handler: Handler, event: Partial<SocketEvent>): void {
    try {
      // As those of browsers, events cannot be sent to other tabs.
      handler?.call(this, { ...event, preventDefault() {} } as unknown as SocketEvent & never);
    } catch (error) {
      // As in a browser: it is reported, and the socket goes on.
      void Promise.reject(error);
    }
  }
}
