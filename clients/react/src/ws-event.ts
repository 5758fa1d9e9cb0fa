// Events as the hooks hand them out: ours, and in the words of topics. No React.

import type { AnyEvents, ConnectionState, EventMap, FeedEvent } from "@rowcast/client";

/** What happened to the entity. Other verbs are in capitals, too: `task.archived` is `ARCHIVED`. */
export type WSEventType = "ADDED" | "UPDATED" | "DELETED" | "STATUS_CHANGED" | (string & {});

/** An event of a topic. */
export interface WSEvent<Payload = unknown> {
  /** The channel that was subscribed to; for a pattern or a parent, the event's own first channel. */
  topic: string;
  /** `STATUS_CHANGED` is an update whose `status` differs from that of `previous`. */
  event: WSEventType;
  data: {
    /** The row's entity id, else the payload's `id`, else "". */
    entity_id: string;
    payload: Payload;
    /** The row's actor, else "". */
    user_id: string;
    /** ISO 8601, UTC. */
    timestamp: string;
  };
  trace_id?: string;
}

/** An event of the feed that is an event of a topic as well. */
export type TopicEvent<Payload = unknown> = FeedEvent<Record<string, Payload>> & WSEvent<Payload>;

/** `task.created` is of the kind `task`, with the verb `created`. Without a dot or a colon it is all verb. */
export function partsOf(type: string): [whole: string, kind?: string, verb?: string] {
  return /^(?:(.*)[.:])?(.*)/.exec(type) as unknown as [string, string, string];
}

/** A member of a JSON object; undefined if it is none, or no object. */
function memberOf(json: unknown, name: string): unknown {
  return (json as Record<string, unknown> | null | undefined)?.[name];
}

/** The id of what the event is about, or "". */
export function entityIdOf<Events extends EventMap = AnyEvents>(event: FeedEvent<Events>): string {
  return String(event.entityId ?? memberOf(event.payload ?? event.previous, "id") ?? "");
}

/** Adds the members of a `WSEvent` to an event of the feed. */
export function toWSEvent<Payload>(event: FeedEvent<Record<string, Payload>>, topic: string): TopicEvent<Payload> {
  return {
    ...event,
    topic: event.channels.includes(topic) ? topic : (event.channels[0] ?? topic),
    event: nameOf(event),
    data: {
      entity_id: entityIdOf(event),
      payload: event.payload,
      user_id: event.actor ?? "",
      timestamp: event.createdAt,
    },
    ...(event.traceId && { trace_id: event.traceId }),
  };
}

/** As the preset `topic-action` of the server calls it. */
function nameOf({ type, payload, previous }: FeedEvent): WSEventType {
  const [, , verb = ""] = partsOf(type);
  const status = (json: unknown): string => JSON.stringify(memberOf(json, "status"));
  if (verb === "updated" && previous !== undefined && status(payload) !== status(previous)) return "STATUS_CHANGED";
  return verb === "created" ? "ADDED" : verb.toUpperCase().replaceAll("-", "_");
}

/** The state of the connection, by the name that topics have for it. */
export type WSConnectionState = ConnectionState;
