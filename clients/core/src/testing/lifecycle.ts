// What the page goes through, at the test's command.

import type { Lifecycle, LifecycleChange, Undo } from "../types.js";

/** A lifecycle that a test drives. */
export class FakeLifecycle implements Lifecycle {
  private readonly handlers = new Set<(change: LifecycleChange) => void>();
  private online = true;
  private visible = true;

  readonly isOnline = (): boolean => this.online;
  readonly isVisible = (): boolean => this.visible;
  readonly listen = (handler: (change: LifecycleChange) => void): Undo => {
    this.handlers.add(handler);
    return () => void this.handlers.delete(handler);
  };

  tell(change: LifecycleChange): void {
    if (change === "online" || change === "offline") this.online = change === "online";
    if (change === "visible" || change === "hidden") this.visible = change === "visible";
    for (const handler of [...this.handlers]) handler(change);
  }
}
