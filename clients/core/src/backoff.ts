// How long to wait before the next attempt.

/**
 * Full jitter: a random part of a wait that doubles from attempt to attempt, so that those who were cut off together do
 * not come back together. In milliseconds; `attempt` counts from 1.
 */
export function backoffMs(attempt: number, firstMs: number, longestMs: number, random: () => number): number {
  return Math.round(random() * Math.min(longestMs, firstMs * 2 ** (attempt - 1)));
}
