// A client, a scripted server, and a clock that stands still.

import { vi } from "vitest";

import {
  type Client,
  type ClientFrame,
  type ClientOptions,
  createClient,
  type Link,
  type LinkEnd,
  type LinkListener,
  type ServerFrame,
  type Status,
  type Transport,
  type TransportName,
} from "../../src/index.js";
import { FakeLifecycle } from "./lifecycle.js";

/** One link, as the server has it. */
export class FakeLink implements Link {
  readonly said: ClientFrame[] = [];
  closedWith: number | undefined;
  readonly name: TransportName;
  private readonly listener: LinkListener;

  constructor(name: TransportName, listener: LinkListener) {
    this.name = name;
    this.listener = listener;
  }

  send(frame: ClientFrame): void {
    this.said.push(structuredClone(frame));
  }

  close(code = 1000): void {
    this.closedWith = code;
  }

  get isOver(): boolean {
    return this.closedWith !== undefined;
  }

  open(): this {
    this.listener.opened();
    return this;
  }

  tell(...frames: ServerFrame[]): this {
    for (const frame of frames) if (!this.isOver) this.listener.frame(frame);
    return this;
  }

  /** Opens, welcomes, and confirms what `hello` asks for. */
  welcome(more: object = {}): this {
    this.open();
    const hello = this.said.at(-1);
    this.tell({ type: "welcome", id: 1, ...more });
    if (hello?.type === "hello" && hello.channels) this.confirm(hello);
    return this;
  }

  /** Confirms a request, and says that it has caught up. */
  confirm(frame: ClientFrame, cursor = "c0"): void {
    if (frame.type !== "hello" && frame.type !== "subscribe")
      throw new Error(`not a request for channels: ${frame.type}`);
    const { id = 0, channels = [], since } = frame;
    this.tell({ type: "subscribed", id, channels, cursor: since ?? cursor, recovered: since !== undefined });
    if (since !== undefined) this.tell({ type: "caught_up", id, cursor: since });
  }

  event(id: number, channel: string, cursor?: string): this {
    const event = { id, type: "row", payload: id, createdAt: `t${id}` };
    return this.tell({ type: "event", channels: [channel], event, ...(cursor === undefined ? {} : { cursor }) });
  }

  end(code = 1006, more: Partial<LinkEnd> = {}): void {
    if (this.isOver) return;
    this.closedWith = code;
    this.listener.closed({ code, reason: "", ...more });
  }
}

export class Scene {
  readonly links: FakeLink[] = [];
  readonly lifecycle = new FakeLifecycle();
  readonly statuses: Status[] = [];
  readonly errors: { code: string; message: string }[] = [];
  readonly client: Client;
  /** What the next random number is. */
  chance = 0.5;

  constructor(options: ClientOptions = {}) {
    this.client = createClient({
      url: "ws://server/ws",
      transports: [this.transport("ws")],
      ...options,
      environment: { lifecycle: this.lifecycle, random: () => this.chance, ...options.environment },
    });
    this.client.on("status", (status) => this.statuses.push(status));
    this.client.on("error", (error) => this.errors.push(error));
  }

  transport(name: TransportName): Transport {
    return {
      name,
      open: (_target, listener) => {
        const link = new FakeLink(name, listener);
        this.links.push(link);
        return link;
      },
    };
  }

  get states(): string[] {
    return this.statuses.map(({ state }) => state);
  }

  /** The newest link. */
  get link(): FakeLink {
    const link = this.links.at(-1);
    if (link === undefined) throw new Error("nothing was opened");
    return link;
  }

  /** Lets the present task end, and what it has begun. */
  async soon(): Promise<void> {
    await vi.advanceTimersByTimeAsync(1);
  }

  async wait(ms: number): Promise<void> {
    await vi.advanceTimersByTimeAsync(ms);
  }

  /** Subscribes, and is connected. */
  async connected(channel = "tasks", welcome: object = {}): Promise<FakeLink> {
    this.client.subscribe(channel, () => {});
    await this.soon();
    return this.link.welcome(welcome);
  }
}
