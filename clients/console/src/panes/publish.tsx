// A form that publishes one event, and says how to do the same elsewhere.

import { type KeyboardEvent, type ReactElement, type SyntheticEvent, useState } from "react";
import type { Desk } from "../console.js";
import { type Draft, Refused, urlOf } from "../server/api.js";
import { Snippet } from "../shell/copy.js";

const FIRST = {
  channel: "tasks",
  type: "task.created",
  payload: '{\n  "id": 1,\n  "title": "Order coffee"\n}',
  entityId: "",
  actor: "",
};

type Outcome =
  | { readonly isDone: true; readonly id: number | undefined }
  | { readonly isDone: false; readonly error: Refused };

export function Publish({ desk: { server, status } }: { desk: Desk }): ReactElement {
  const [fields, setFields] = useState(FIRST);
  const [outcome, setOutcome] = useState<Outcome>();
  const [isSending, setIsSending] = useState(false);
  const draft = draftOf(fields);
  if (status.publish.length === 0) return <MayNot asksForTokens={status.asksForTokens} />;

  const change = (part: Partial<typeof FIRST>): void => setFields((before) => ({ ...before, ...part }));
  const publish = async (event: SyntheticEvent): Promise<void> => {
    event.preventDefault();
    if (typeof draft === "string" || isSending) return;
    setIsSending(true);
    try {
      setOutcome({ isDone: true, id: await server.publish(draft) });
    } catch (error) {
      setOutcome({ isDone: false, error: error instanceof Refused ? error : new Refused(0, String(error)) });
    }
    setIsSending(false);
  };
  const onKeyDown = (event: KeyboardEvent<HTMLFormElement>): void => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) void publish(event);
  };
  return (
    <div className="page">
      <h2>Publish an event</h2>
      {!status.publish.includes("*") && <p className="faint">Your token may publish to {status.publish.join(", ")}.</p>}
      <form className="form" onSubmit={publish} onKeyDown={onKeyDown}>
        <Field name="Channel" value={fields.channel} set={(channel) => change({ channel })} isRequired />
        <Field name="Type" value={fields.type} set={(type) => change({ type })} isRequired />
        <Field name="Entity id" value={fields.entityId} set={(entityId) => change({ entityId })} />
        {!status.user && <Field name="Actor" value={fields.actor} set={(actor) => change({ actor })} />}
        <label className="wide">
          Payload, as JSON
          <textarea
            rows={7}
            value={fields.payload}
            spellCheck={false}
            aria-invalid={typeof draft === "string"}
            aria-describedby="payload-problem"
            onChange={(event) => change({ payload: event.target.value })}
          />
        </label>
        <p id="payload-problem" className="bad wide" aria-live="polite">
          {typeof draft === "string" && draft}
        </p>
        <button type="submit" className="primary" disabled={typeof draft === "string" || isSending}>
          Publish
        </button>
      </form>
      <Said outcome={outcome} />
      {typeof draft !== "string" && (
        <>
          <h3>The same elsewhere</h3>
          <Snippet text={curlOf(draft, status.asksForTokens)} what="the command" />
          <Snippet text={sqlOf(draft)} what="the statement" />
        </>
      )}
    </div>
  );
}

function Field(props: {
  name: string;
  value: string;
  set: (value: string) => void;
  isRequired?: boolean;
}): ReactElement {
  return (
    <label>
      {props.name}
      <input
        type="text"
        value={props.value}
        required={props.isRequired}
        autoComplete="off"
        spellCheck={false}
        onChange={(event) => props.set(event.target.value)}
      />
    </label>
  );
}

function Said({ outcome }: { outcome: Outcome | undefined }): ReactElement {
  return (
    <div role="status" className="said">
      {outcome?.isDone && (
        <p className="good">Published{outcome.id !== undefined && ` as row ${outcome.id}`}. It is in the stream.</p>
      )}
      {outcome?.isDone === false && (
        <>
          <p className="bad">{outcome.error.message}</p>
          <ul>
            {outcome.error.problems.map((problem) => (
              <li key={problem}>{problem}</li>
            ))}
          </ul>
        </>
      )}
    </div>
  );
}

function MayNot({ asksForTokens }: { asksForTokens: boolean }): ReactElement {
  return (
    <div className="page">
      <h2>Publish an event</h2>
      {asksForTokens ? (
        <>
          <p>
            Your token may publish nothing. Its claim <code>publish</code> would say where to:
          </p>
          <Snippet
            text={'{"sub": "ann", "exp": 1767225600, "channels": ["tasks"], "publish": ["tasks"]}'}
            what="the claims"
          />
        </>
      ) : (
        <p>
          This server asks nobody for a token, so only programs and pages of the machine it runs on may publish. Start
          it with a key (<code>--jwt-secret-file</code>), or with <code>--public-publish</code> if everybody may.
        </p>
      )}
    </div>
  );
}

/** What is to be published, or what is wrong with it. */
function draftOf(fields: typeof FIRST): Draft | string {
  let payload: unknown;
  try {
    payload = JSON.parse(fields.payload || "{}");
  } catch (error) {
    return `The payload is not JSON: ${error instanceof Error ? error.message : String(error)}`;
  }
  const { channel, type, entityId, actor } = fields;
  return { channel, type, payload, ...(entityId && { entityId }), ...(actor && { actor }) };
}

function curlOf(draft: Draft, asksForTokens: boolean): string {
  const token = asksForTokens ? ' -H "Authorization: Bearer $TOKEN"' : "";
  return `curl ${urlOf("events")}${token} -H 'content-type: application/json' -d '${quoted(JSON.stringify(draft), "'\\''")}'`;
}

function sqlOf({ channel, type, payload, entityId, actor }: Draft): string {
  const columns = Object.entries({
    channel,
    type,
    entity_id: entityId,
    actor,
    payload: JSON.stringify(payload),
  }).filter(([, value]) => value !== undefined);
  const values = columns.map(([, value]) => `'${quoted(String(value), "''")}'`);
  return `INSERT INTO events (${columns.map(([name]) => name).join(", ")}) VALUES (${values.join(", ")});`;
}

/** A text between apostrophes: those in it are written otherwise. */
function quoted(text: string, apostrophe: string): string {
  return text.replaceAll("'", apostrophe);
}
