// A WebSocket over HTTP/2 (RFC 8441), as browsers open one where a proxy offers that and they have a connection already.

import { type ClientHttp2Session, type ClientHttp2Stream, connect } from "node:http2";

const TEXT = 0x81;
const CLOSE = 0x88;
const PING = 0x89;
const PONG = 0x8a;

/** As much of a WebSocket as the library uses. Servers neither mask nor fragment here. */
export class Http2Socket {
  onopen: (() => void) | null = null;
  onmessage: ((event: { readonly data: unknown }) => void) | null = null;
  onclose: ((event: { readonly code: number; readonly reason: string }) => void) | null = null;
  onerror: (() => void) | null = null;
  private readonly session: ClientHttp2Session;
  private stream: ClientHttp2Stream | undefined;
  private unread = Buffer.alloc(0);
  private code = 1006;

  constructor(url: string) {
    const { origin, host, pathname } = new URL(url.replace(/^ws/, "http"));
    const session = connect(origin);
    this.session = session;
    session.on("error", () => {});
    session.on("close", () => this.onclose?.({ code: this.code, reason: "" }));
    session.once("remoteSettings", ({ enableConnectProtocol }) => {
      if (!enableConnectProtocol) {
        session.destroy();
        return;
      }
      const stream = session.request({
        ":method": "CONNECT",
        ":protocol": "websocket",
        ":scheme": "https",
        ":authority": host,
        ":path": pathname,
        "sec-websocket-version": "13",
      });
      this.stream = stream;
      stream.on("response", ({ ":status": status }) => {
        if (status === 200) this.onopen?.();
        else session.destroy();
      });
      stream.on("data", (bytes: Buffer) => this.read(bytes));
      stream.on("error", () => {});
      stream.on("close", () => session.destroy());
    });
  }

  send(text: string): void {
    this.write(TEXT, Buffer.from(text));
  }

  close(): void {
    this.session.destroy();
  }

  private read(bytes: Buffer): void {
    this.unread = Buffer.concat([this.unread, bytes]);
    for (;;) {
      const { unread } = this;
      const short = unread[1] ?? 0;
      const head = short === 126 ? 4 : short === 127 ? 10 : 2;
      if (unread.length < head) return;
      const length = head === 4 ? unread.readUInt16BE(2) : head === 10 ? Number(unread.readBigUInt64BE(2)) : short;
      if (unread.length < head + length) return;
      const payload = unread.subarray(head, head + length);
      this.unread = unread.subarray(head + length);
      if (unread[0] === TEXT) this.onmessage?.({ data: payload.toString() });
      if (unread[0] === PING) this.write(PONG, payload);
      if (unread[0] === CLOSE) {
        this.code = payload.readUInt16BE(0);
        this.session.destroy();
        return;
      }
    }
  }

  private write(kind: number, payload: Buffer): void {
    const { length } = payload;
    const size = length < 126 ? [0x80 | length] : [0x80 | 126, length >> 8, length & 0xff];
    // A mask of zeros is one, too.
    this.stream?.write(Buffer.concat([Buffer.from([kind, ...size, 0, 0, 0, 0]), payload]));
  }
}
