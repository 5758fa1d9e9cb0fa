// Who is connected, as far as whoever looks may know.

import { type ReactElement, useCallback } from "react";
import type { Desk } from "../console.js";
import type { Connection } from "../server/api.js";
import { useAsked } from "../server/use-asked.js";
import { bytes, count, counted, duration } from "../words.js";

/** How often the server is asked. */
const INTERVAL_MS = 2_000;

const STATES = {
  live: "Live",
  catching_up: "Catching up",
  idle: "Subscribes to nothing",
  no_token: "Has yet to say who it is",
};

export function Connections({ desk: { server, store } }: { desk: Desk }): ReactElement {
  const ask = useCallback((signal: AbortSignal) => server.connections(signal), [server]);
  const { answer, error } = useAsked(ask, INTERVAL_MS);
  if (!answer) {
    return (
      <div className="page">
        <h2>Connections</h2>
        <p role="status">{error?.message ?? "Asking the server …"}</p>
      </div>
    );
  }
  const { total, count: known, connections, why } = answer;
  const now = Date.now() + store.skewMs;
  return (
    <div className="page">
      <h2>Connections</h2>
      <p>
        <b>{counted(total, "connection")}</b> in all
        {known !== undefined && known !== total && `, ${count(known)} of them yours`}
        {known !== undefined &&
          known > connections.length &&
          `; the ${count(connections.length)} for which the most waits`}
      </p>
      {why && <p className="faint">Not all are shown: {why}.</p>}
      {error && <p className="bad">{error.message}</p>}
      {connections.length > 0 && (
        // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls has to be reached by the keyboard
        <section className="table-frame" tabIndex={0} aria-label="Connections">
          <table>
            <thead>
              <tr>
                <th scope="col">Id</th>
                <th scope="col">User</th>
                <th scope="col">Speaks</th>
                <th scope="col">For</th>
                <th scope="col">Channels</th>
                <th scope="col" className="number">
                  Waiting
                </th>
                <th scope="col">State</th>
              </tr>
            </thead>
            <tbody>
              {connections.map((connection) => (
                <ConnectionRow key={connection.id} connection={connection} now={now} />
              ))}
            </tbody>
          </table>
        </section>
      )}
    </div>
  );
}

function ConnectionRow({ connection, now }: { connection: Connection; now: number }): ReactElement {
  const { id, user, transport, preset, since, channels, channelCount, queuedBytes, state } = connection;
  const more = channelCount - channels.length;
  return (
    <tr>
      <th scope="row" className="mono">
        {id}
      </th>
      <td>{user ?? <span className="faint">–</span>}</td>
      <td>
        {transport === "sse" ? "SSE" : "WebSocket"}
        {preset !== "default" && ` · ${preset}`}
      </td>
      <td>{duration(now - Date.parse(since))}</td>
      <td className="mono wrap">
        {channels.join(" ")}
        {more > 0 && ` and ${count(more)} more`}
      </td>
      <td className="number">{bytes(queuedBytes)}</td>
      <td>
        <span className={`state state-${state}`} aria-hidden /> {STATES[state]}
      </td>
    </tr>
  );
}
