// Who did what: the events of the feed, as they are.

import type { EventOn } from "@rowcast/client";
import { useState } from "react";
import { CHANNEL, COLUMNS, useFeed } from "./board.js";
import type { Channels, Events } from "./feed.js";

type BoardEvent = EventOn<Events, Channels, typeof CHANNEL>;

/** Lines that are kept. */
const LINES_MAX = 6;

/** The newest events since a position. */
export function Activity({ since }: { readonly since: string }) {
  const [events, setEvents] = useState<readonly BoardEvent[]>([]);
  useFeed({
    channels: [CHANNEL],
    since,
    onEvent: (event) => setEvents((older) => [event, ...older].slice(0, LINES_MAX)),
  });
  return (
    <aside aria-label="What has happened">
      <h2>What has happened</h2>
      {events.length === 0 && <p>Nothing yet. Move a card, here or in another tab.</p>}
      <ol aria-live="polite">
        {events.map((event) => (
          <li key={event.id}>
            <b>{event.actor ?? "Somebody"}</b> {told(event)}
          </li>
        ))}
      </ol>
    </aside>
  );
}

/** Payloads are narrowed by the type of the event: see feed.ts. */
function told({ type, payload, previous }: BoardEvent): string {
  const title = `“${payload.title}”`;
  if (type === "card.created") return `added ${title}`;
  if (type === "card.deleted") return `deleted ${title}`;
  if (previous && previous.title !== payload.title) return `renamed “${previous.title}” to ${title}`;
  const column = COLUMNS.find(({ state }) => state === payload.state)?.name;
  return previous?.state === payload.state ? `moved ${title} within ${column}` : `moved ${title} to ${column}`;
}
