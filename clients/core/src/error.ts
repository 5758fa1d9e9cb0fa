// How errors of the client are made.

import type { RowcastError } from "./types.js";

/** What an error has beside its code and its message. */
interface Details {
  readonly closeCode?: number | undefined;
  /** Default false. */
  readonly retryable?: boolean;
  readonly cause?: unknown;
}

/** An error whose message says what is wrong and what to do. */
export function rowcastError(code: string, message: string, details: Details = {}): RowcastError {
  const { closeCode, retryable = false, cause } = details;
  const error = cause === undefined ? new Error(message) : new Error(message, { cause });
  return Object.assign(error, { name: "RowcastError", code, closeCode, retryable });
}

/** The words of something that was thrown. */
export function wordsOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}
