// Handlers by name.

import { rowcastError } from "./error.js";
import type { AnyEvents, ClientEvents, Undo } from "./types.js";

type Values = ClientEvents<AnyEvents>;

/** Who wants to be told what. */
export interface Emitter {
  on<Name extends keyof Values>(name: Name, handler: (value: Values[Name]) => void): Undo;
  /** Gives whether there was anybody. */
  emit<Name extends keyof Values>(name: Name, value: Values[Name]): boolean;
  /** Calls a function of the user. What it throws stops nobody: it becomes an `error`. */
  guard(call: () => void, isOfError?: boolean): void;
}

export function createEmitter(): Emitter {
  // Each `on` is a handler of its own, though the function be the same.
  const handlers = new Set<{ readonly name: keyof Values; readonly call: (value: never) => void }>();

  const emit: Emitter["emit"] = (name, value) => {
    const all = [...handlers].filter((handler) => handler.name === name);
    for (const { call } of all) guard(() => call(value as never), name === "error");
    return all.length > 0;
  };

  const guard: Emitter["guard"] = (call, isOfError) => {
    try {
      call();
    } catch (thrown) {
      // Who fails while told of a failure is not told of that.
      if (isOfError || !emit("error", rowcastError("HANDLER", `a handler failed: ${thrown}`, false, thrown))) {
        // As with the listeners of a page.
        // biome-ignore lint/suspicious/noConsole: there is nowhere else to say it, and it must not be lost.
        (globalThis.reportError ?? console.error)(thrown);
      }
    }
  };

  return {
    on(name, call) {
      const own = { name, call };
      handlers.add(own);
      return () => void handlers.delete(own);
    },
    emit,
    guard,
  };
}
