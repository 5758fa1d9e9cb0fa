// How many events come, and how late they are.

import { type ReactElement, useEffect, useState } from "react";
import type { Desk } from "../console.js";
import { SPAN_S } from "../feed/meter.js";
import { count, counted, milliseconds, rate } from "../words.js";
import { Chart } from "./chart.js";

/** Seconds that the numbers on top are a mean of. */
const RECENT_S = 5;

/** The present second is not over, and is in no chart. */
const SHOWN_S = SPAN_S - 1;

export function Charts({ desk: { store, history, status } }: { desk: Desk }): ReactElement {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now), 1_000);
    return () => clearInterval(timer);
  }, []);
  const seconds = store.meter.last(SHOWN_S, now);
  const rates = seconds.map(({ events }) => events);
  const recent = rates.slice(-RECENT_S).reduce((sum, events) => sum + events, 0) / RECENT_S;
  const means = seconds.map(({ meanLagMs }) => meanLagMs);
  const lag = means.slice(-RECENT_S).findLast((value) => value !== undefined);
  const { counters } = status;
  const number = (name: string): string => count(counters[name] ?? 0);
  return (
    <div className="page">
      <h2>Charts</h2>
      <dl className="tiles">
        <Tile name="Events a second" value={rate(recent)} />
        <Tile name="From insert to here" value={lag === undefined ? "–" : milliseconds(lag)} />
        <Tile name="Connections" value={number("connections")} />
        <Tile name="Subscriptions" value={number("subscriptions")} />
        <Tile name="Table looked at" value={`${milliseconds(status.lookedMsAgo)} ago`} />
        <Tile name="Deliveries in all" value={number("deliveries")} />
      </dl>
      <Chart
        title="Rate"
        series={[{ name: "events a second, here", values: rates, colour: 1 }]}
        format={rate}
        summary={`Events a second in the last five minutes: ${rate(recent)} now, ${counted(Math.max(...rates), "event")} at most.`}
      />
      <Chart
        title="Lag"
        series={[
          { name: "longest of a second, here", values: seconds.map(({ maxLagMs }) => maxLagMs), colour: 3 },
          { name: "mean, here", values: means, colour: 1 },
          { name: "mean, server to sockets", values: history.last(SHOWN_S, now), colour: 2 },
        ]}
        format={milliseconds}
        summary={`Time from insert to this page in the last five minutes: ${lag === undefined ? "nothing came lately" : `${milliseconds(lag)} now`}.`}
      />
      <p className="faint">
        Lag is from the row's time, which is the database's, until the event is here or was written to sockets. The
        table is looked at every {milliseconds(status.pollIntervalMs)} at least, and at once where writers wake the
        server.
      </p>
    </div>
  );
}

function Tile({ name, value }: { name: string; value: string }): ReactElement {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{value}</dd>
    </div>
  );
}
