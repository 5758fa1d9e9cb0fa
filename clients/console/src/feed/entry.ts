// One event as the buffer keeps it: flat, with its JSON as text, which is small, cheap to collect, and quick to search.

import type { FeedEvent } from "@rowcast/client";

/** An event in the buffer. Times are milliseconds since 1970. */
export interface Entry {
  /** Its number among all that this page received. */
  readonly number: number;
  /** Of the row; undefined for what is no row. */
  readonly id: number | undefined;
  readonly type: string;
  /** The channels that the row addresses, with spaces between them. */
  readonly channels: string;
  readonly entityId: string;
  readonly actor: string;
  readonly payload: string;
  readonly previous: string | undefined;
  readonly traceId: string | undefined;
  readonly origin: string | undefined;
  readonly createdAt: number;
  readonly receivedAt: number;
}

/** What is kept of an event. `receivedAt` is the server's time, as far as the page knows it. */
export function entryOf(event: FeedEvent, number: number, receivedAt: number): Entry {
  return {
    number,
    id: typeof event.id === "number" ? event.id : undefined,
    type: String(event.type ?? ""),
    channels: event.channels.join(" "),
    entityId: text(event.entityId),
    actor: text(event.actor),
    payload: JSON.stringify(event.payload ?? null),
    previous: event.previous === undefined ? undefined : JSON.stringify(event.previous),
    traceId: event.traceId,
    origin: event.origin,
    createdAt: Date.parse(event.createdAt),
    receivedAt,
  };
}

/** What was broadcast without a row is whatever its sender made it. */
function text(value: unknown): string {
  if (value === undefined || value === null) return "";
  return typeof value === "string" ? value : JSON.stringify(value);
}
