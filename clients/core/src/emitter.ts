// Handlers by name.

import type { Undo } from "./types.js";

/** Who wants to be told what. */
export interface Emitter<Values> {
  on<Name extends keyof Values>(name: Name, handler: (value: Values[Name]) => void): Undo;
  emit<Name extends keyof Values>(name: Name, value: Values[Name]): void;
  /** Whether anybody wants to be told. */
  has(name: keyof Values): boolean;
}

/** `failed` is told what a handler throws: the others are called nevertheless. */
export function createEmitter<Values>(failed: (thrown: unknown) => void): Emitter<Values> {
  // Each `on` is a handler of its own, though the function be the same.
  const handlers = new Map<keyof Values, Set<{ call: (value: never) => void }>>();
  return {
    on(name, call) {
      const all = handlers.get(name) ?? new Set();
      handlers.set(name, all);
      const own = { call };
      all.add(own);
      return () => void all.delete(own);
    },
    emit(name, value) {
      for (const own of [...(handlers.get(name) ?? [])]) {
        try {
          own.call(value as never);
        } catch (thrown) {
          failed(thrown);
        }
      }
    },
    has: (name) => Boolean(handlers.get(name)?.size),
  };
}
