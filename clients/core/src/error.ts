// How errors of the client are made.

import type { RowcastError } from "./types.js";

/**
 * An error whose message says what is wrong and what to do. `retryable`: the client tries again by itself. `cause` is
 * what a function of the user has thrown.
 */
export function rowcastError(
  code: string,
  message: string,
  retryable = false,
  cause?: unknown,
  closeCode?: number,
): RowcastError {
  return Object.assign(new Error(message), { name: "RowcastError", code, retryable, closeCode, cause });
}
