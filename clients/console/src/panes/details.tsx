// One event, whole.

import { type ReactElement, useMemo } from "react";
import type { Entry } from "../feed/entry.js";
import { type Change, diff } from "../json/diff.js";
import { indent, Json } from "../json/json.js";
import { Copy } from "../shell/copy.js";
import { milliseconds } from "../words.js";

const SIGNS = { added: "+", removed: "−", changed: "~" };

/** Characters of a value in a list of changes. */
const VALUE_CHARS = 200;

export function Details({ entry, close }: { entry: Entry; close: () => void }): ReactElement {
  const rows: [name: string, value: string | number | undefined][] = [
    ["Id", entry.id],
    ["Channels", entry.channels],
    ["Entity", entry.entityId],
    ["Actor", entry.actor],
    ["Created", new Date(entry.createdAt).toISOString()],
    ["Arrived", `${milliseconds(Math.max(0, entry.receivedAt - entry.createdAt))} later`],
    ["Trace", entry.traceId],
    ["Origin", entry.origin],
  ];
  return (
    <aside className="details" aria-label="Details of the event">
      <div className="details-head">
        <h2>{entry.type}</h2>
        <Copy text={indent(entry.payload)} what="the payload" />
        <button type="button" className="quiet" onClick={close} aria-label="Close details" aria-keyshortcuts="Escape">
          ✕
        </button>
      </div>
      <dl className="facts">
        {rows.map(
          ([name, value]) =>
            value !== undefined &&
            value !== "" && (
              <div key={name}>
                <dt>{name}</dt>
                <dd>{value}</dd>
              </div>
            ),
        )}
      </dl>
      {entry.previous !== undefined && <Changes before={entry.previous} after={entry.payload} />}
      <h3>Payload</h3>
      <Json text={entry.payload} label="Payload" />
      {entry.previous !== undefined && (
        <>
          <h3>Previous</h3>
          <Json text={entry.previous} label="Previous" />
        </>
      )}
    </aside>
  );
}

function Changes({ before, after }: { before: string; after: string }): ReactElement {
  const changes = useMemo(() => diff(JSON.parse(before), JSON.parse(after)), [before, after]);
  return (
    <>
      <h3>Changes</h3>
      {changes.length === 0 && <p className="faint">Nothing differs between previous and payload.</p>}
      <ul className="changes">
        {changes.map((change) => (
          <li key={change.path} className={change.kind}>
            <span aria-hidden>{SIGNS[change.kind]}</span> <b>{change.path || "(all)"}</b> {valuesOf(change)}
          </li>
        ))}
      </ul>
    </>
  );
}

function valuesOf({ kind, before, after }: Change): ReactElement {
  const was = <del>{short(before)}</del>;
  const is = <ins>{short(after)}</ins>;
  if (kind === "added") return <>added: {is}</>;
  if (kind === "removed") return <>removed: {was}</>;
  return (
    <>
      {was} → {is}
    </>
  );
}

function short(value: unknown): string {
  const text = JSON.stringify(value) ?? "";
  return text.length > VALUE_CHARS ? `${text.slice(0, VALUE_CHARS)}…` : text;
}
