// A browser with tabs, of which a test is the master: Web Locks, BroadcastChannels, tabs that crash, hang and lose messages.

import type { WebSocketConstructor } from "../src/index.js";
import { type Tabs, tabsWith } from "../src/tabs/index.js";
import { FakeLifecycle } from "../src/testing/lifecycle.js";

interface Request {
  readonly tab: FakeTab;
  readonly run: () => void;
  readonly fail: () => void;
}

interface Lock {
  holder: Request | undefined;
  readonly queue: Request[];
}

export class FakeBrowser {
  readonly tabs: FakeTab[] = [];
  readonly locks: Map<string, Lock> = new Map();
  private readonly WebSocket: WebSocketConstructor | undefined;

  constructor(WebSocket: WebSocketConstructor | undefined) {
    this.WebSocket = WebSocket;
  }

  open(): FakeTab {
    const tab = new FakeTab(this, this.WebSocket);
    this.tabs.push(tab);
    return tab;
  }

  /** Grants what can be granted, and forgets what nobody holds or wants. */
  settle(name: string): void {
    const lock = this.locks.get(name);
    if (lock === undefined || lock.holder !== undefined) return;
    const next = lock.queue.shift();
    if (next === undefined) this.locks.delete(name);
    else {
      lock.holder = next;
      next.run();
    }
  }
}

type Channel = Pick<BroadcastChannel, "onmessage" | "postMessage" | "close">;
type Options = { readonly steal?: boolean; readonly signal?: AbortSignal };

export class FakeTab {
  /** What its scripts find in `globalThis`. */
  readonly globals: { readonly navigator: unknown; readonly BroadcastChannel: new (name: string) => Channel };
  readonly lifecycle: FakeLifecycle = new FakeLifecycle();
  readonly WebSocket: WebSocketConstructor;
  readonly channels: Set<FakeChannel> = new Set();
  /** Its JavaScript does not run: what is sent to it waits. */
  isHung = false;
  /** So many of the messages that are sent to it next are lost. */
  losing = 0;
  isCrashed = false;
  private readonly browser: FakeBrowser;
  private readonly sockets: { close(): void; onmessage: unknown; onclose: unknown }[] = [];

  constructor(browser: FakeBrowser, WebSocket: WebSocketConstructor | undefined) {
    this.browser = browser;
    const tab = this;
    this.globals = {
      navigator: { locks: { request: this.request.bind(this) } },
      BroadcastChannel: class extends FakeChannel {
        constructor(name: string) {
          super(name, tab, browser);
        }
      },
    };
    if (WebSocket === undefined) throw new Error("there is no WebSocket");
    const Real = WebSocket;
    this.WebSocket = class {
      constructor(url: string) {
        const socket = new Real(url);
        tab.sockets.push(socket);
        // biome-ignore lint/correctness/noConstructorReturn: it is the same socket, known to the tab.
        return socket;
      }
    } as unknown as WebSocketConstructor;
  }

  /** `tabsWith` as it is in this tab. */
  share(options: { readonly key?: string } = {}): Tabs {
    return (transport, target) => {
      const before = { navigator: globalThis.navigator, BroadcastChannel: globalThis.BroadcastChannel };
      Object.assign(globalThis, this.globals);
      const shared = tabsWith(options)(transport, target);
      Object.assign(globalThis, before);
      return shared;
    };
  }

  /** The browser ends it: nothing of it says goodbye. */
  crash(): void {
    this.isCrashed = true;
    for (const channel of this.channels) channel.close();
    for (const socket of this.sockets) {
      socket.onmessage = socket.onclose = null;
      socket.close();
    }
    for (const [name, lock] of this.browser.locks) {
      lock.queue.splice(0, lock.queue.length, ...lock.queue.filter(({ tab }) => tab !== this));
      if (lock.holder?.tab === this) lock.holder = undefined;
      this.browser.settle(name);
    }
  }

  hang(): void {
    this.isHung = true;
  }

  recover(): void {
    this.isHung = false;
    for (const channel of this.channels) channel.flush();
  }

  private request(name: string, given: Options | (() => unknown), callback?: () => unknown): Promise<unknown> {
    if (this.isCrashed) return new Promise(() => {});
    const { steal, signal } = typeof given === "function" ? {} : given;
    const work = typeof given === "function" ? given : (callback ?? (() => {}));
    const { browser } = this;
    const lock = browser.locks.get(name) ?? { holder: undefined, queue: [] };
    browser.locks.set(name, lock);
    return new Promise((resolve, reject) => {
      const done = () => {
        if (lock.holder === request) lock.holder = undefined;
        browser.settle(name);
      };
      const fail = () => reject(new DOMException("stolen, or not wanted any more", "AbortError"));
      const run = () => {
        void Promise.resolve()
          .then(work)
          .then(resolve, reject)
          .then(() => (this.isCrashed ? undefined : done()));
      };
      const request: Request = { tab: this, run, fail };
      if (signal?.aborted) return fail();
      signal?.addEventListener("abort", () => {
        const at = lock.queue.indexOf(request);
        if (at < 0) return;
        lock.queue.splice(at, 1);
        fail();
        browser.settle(name);
      });
      if (steal) {
        lock.holder?.fail();
        lock.holder = request;
        run();
      } else {
        lock.queue.push(request);
        browser.settle(name);
      }
    });
  }
}

class FakeChannel implements Channel {
  onmessage: Channel["onmessage"] = null;
  private readonly waiting: unknown[] = [];
  private isClosed = false;
  private readonly name: string;
  private readonly tab: FakeTab;
  private readonly browser: FakeBrowser;

  constructor(name: string, tab: FakeTab, browser: FakeBrowser) {
    this.name = name;
    this.tab = tab;
    this.browser = browser;
    tab.channels.add(this);
  }

  postMessage(data: unknown): void {
    if (this.tab.isCrashed) return;
    if (this.isClosed) throw new DOMException("the channel is closed", "InvalidStateError");
    for (const tab of this.browser.tabs) {
      for (const channel of tab.channels) {
        if (channel === this || channel.name !== this.name) continue;
        if (tab !== this.tab && tab.losing > 0) tab.losing -= 1;
        else channel.receive(structuredClone(data));
      }
    }
  }

  close(): void {
    this.isClosed = true;
    this.tab.channels.delete(this);
  }

  flush(): void {
    while (!this.tab.isHung && !this.isClosed && this.waiting.length > 0) {
      this.onmessage?.call(this as never, { data: this.waiting.shift() } as MessageEvent);
    }
  }

  private receive(data: unknown): void {
    this.waiting.push(data);
    void Promise.resolve().then(() => this.flush());
  }
}
