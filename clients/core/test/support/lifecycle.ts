// A page that goes through what the test says.

import type { Lifecycle, LifecycleChange } from "../../src/index.js";

export class FakeLifecycle implements Lifecycle {
  online = true;
  visible = true;
  private readonly handlers = new Set<(change: LifecycleChange) => void>();

  get listeners(): number {
    return this.handlers.size;
  }

  readonly isOnline = (): boolean => this.online;
  readonly isVisible = (): boolean => this.visible;
  readonly listen = (handler: (change: LifecycleChange) => void): (() => void) => {
    this.handlers.add(handler);
    return () => this.handlers.delete(handler);
  };

  change(change: LifecycleChange): void {
    if (change === "online" || change === "offline") this.online = change === "online";
    if (change === "visible" || change === "hidden") this.visible = change === "visible";
    for (const handler of this.handlers) handler(change);
  }
}
