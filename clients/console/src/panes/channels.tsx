// Channels: how many events they had, and how many subscriptions they reach.

import { type ReactElement, useCallback, useEffect, useState } from "react";
import type { Actions, Desk } from "../console.js";
import { NO_FILTER } from "../feed/filter.js";
import { CHANNELS_MAX, type ChannelTally } from "../feed/tally.js";
import type { Subscribers } from "../server/api.js";
import { useAsked } from "../server/use-asked.js";
import { count, duration } from "../words.js";

/** Channels that are listed, those with the most events first. */
const ROWS_MAX = 500;

/** How often clients are counted. */
const INTERVAL_MS = 2_000;

interface Line {
  readonly name: string;
  readonly tally: ChannelTally | undefined;
  /** Subscriptions that match. */
  readonly listening: number;
}

export function Channels({ desk, actions }: { desk: Desk; actions: Actions }): ReactElement {
  const { server, store } = desk;
  const ask = useCallback((signal: AbortSignal) => server.subscribers(signal), [server]);
  const { answer: subscribers, error } = useAsked(ask, INTERVAL_MS);
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now), 1_000);
    return () => clearInterval(timer);
  }, []);
  const lines = linesOf(store.tally.top(ROWS_MAX), subscribers);
  const show = (channel: string): void => {
    store.show({ ...NO_FILTER, channel });
    actions.open("stream");
  };
  return (
    <div className="page">
      <h2>Channels</h2>
      <p className="faint">
        Events are those that this page has received. Subscriptions are those of all clients that match and that you may
        know of: for <code>messages:42</code> these are <code>messages:42</code>, <code>messages</code>,{" "}
        <code>messages:*</code> and <code>*</code>. This page has one, too.
      </p>
      {error && <p className="bad">{error.message}</p>}
      {lines.length === 0 ? (
        <p>No channel has had an event yet. There is nothing to create: a channel is there when a row names it.</p>
      ) : (
        // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls has to be reached by the keyboard
        <section className="table-frame" tabIndex={0} aria-label="Channels">
          <table>
            <thead>
              <tr>
                <th scope="col">Channel</th>
                <th scope="col" className="number">
                  Events
                </th>
                <th scope="col" className="number">
                  Subscriptions
                </th>
                <th scope="col">Last event</th>
                <th scope="col">
                  <span className="hidden">Actions</span>
                </th>
              </tr>
            </thead>
            <tbody>
              {lines.map((line) => (
                <ChannelRow key={line.name} line={line} now={now + store.skewMs} show={show} />
              ))}
            </tbody>
          </table>
        </section>
      )}
      {store.tally.untold > 0 && (
        <p className="faint">
          {count(store.tally.untold)} events were on channels beyond the first {count(CHANNELS_MAX)}, and are not told
          apart.
        </p>
      )}
    </div>
  );
}

function ChannelRow(props: { line: Line; now: number; show: (channel: string) => void }): ReactElement {
  const { name, tally, listening } = props.line;
  return (
    <tr>
      <th scope="row" className="mono">
        {name}
      </th>
      <td className="number">{tally ? count(tally.count) : "0"}</td>
      <td className="number">{count(listening)}</td>
      <td>
        {tally ? (
          <>
            {tally.lastType} <span className="faint">{duration(props.now - tally.lastAt)} ago</span>
          </>
        ) : (
          <span className="faint">none yet</span>
        )}
      </td>
      <td>
        {tally && (
          <button
            type="button"
            className="quiet"
            onClick={() => props.show(name)}
            aria-label={`Show ${name} in the stream`}
          >
            Show
          </button>
        )}
      </td>
    </tr>
  );
}

/** Channels with events, then what is only subscribed to. */
function linesOf(tallies: readonly ChannelTally[], subscribers: Subscribers = {}): Line[] {
  const known = new Set(tallies.map(({ name }) => name));
  const others = Object.keys(subscribers).filter((name) => !known.has(name));
  return [
    ...tallies.map((tally) => ({ name: tally.name, tally, listening: listeningTo(tally.name, subscribers) })),
    ...others.sort().map((name) => ({ name, tally: undefined, listening: subscribers[name] ?? 0 })),
  ];
}

/** How many subscriptions an event on a channel matches: of its name, of the names above, and of patterns. */
export function listeningTo(channel: string, subscribers: Subscribers): number {
  const patterns = ["*", channel];
  for (let end = channel.lastIndexOf(":"); end > 0; end = channel.lastIndexOf(":", end - 1)) {
    const above = channel.slice(0, end);
    patterns.push(above, `${above}:*`);
  }
  return patterns.reduce((sum, pattern) => sum + (subscribers[pattern] ?? 0), 0);
}
