// What the stream says where it has nothing to show, and what to do about it.

import { useConnectionStatus } from "@rowcast/react";
import type { ReactElement, ReactNode } from "react";
import type { Actions, Desk } from "../console.js";
import type { View } from "../feed/store.js";
import { Snippet } from "../shell/copy.js";
import { decode } from "../token/decode.js";
import { counted } from "../words.js";

export function EmptyStream(props: {
  desk: Desk;
  actions: Actions;
  view: View;
  hasFilter: boolean;
  showAll: () => void;
}): ReactElement {
  const { desk, actions, view } = props;
  const { state, error } = useConnectionStatus();
  if (props.hasFilter && view.kept > 0) {
    if (view.unsearched > 0) return <Empty title="Searching …" />;
    return (
      <Empty title={`None of ${counted(view.kept, "event")} matches`}>
        <p>All words have to be in the event; small and capital letters are the same.</p>
        <button type="button" onClick={props.showAll}>
          Show all
        </button>
      </Empty>
    );
  }
  if (desk.status.channels.length === 0) return <NothingGranted />;
  if (state !== "connected" && error) return <NotConnected why={error.message} />;
  return <NothingYet desk={desk} actions={actions} />;
}

function Empty({ title, children }: { title: string; children?: ReactNode }): ReactElement {
  return (
    <div className="empty">
      <h2>{title}</h2>
      {children}
    </div>
  );
}

function NothingYet({ desk, actions }: { desk: Desk; actions: Actions }): ReactElement {
  const { status } = desk;
  const url = status.databaseUrl ? `'${status.databaseUrl}'` : '"$DATABASE_URL"';
  return (
    <Empty title="No events since this page was opened">
      <p>Insert a row, with any client of the database, and it is here in a moment:</p>
      <Snippet text={status.insert} what="the statement" />
      <p>or from a shell:</p>
      <Snippet
        text={`rowcast emit --database-url ${url} tasks task.created '{"title": "Order coffee"}'`}
        what="the command"
      />
      <p>
        <button type="button" onClick={() => actions.open("publish")}>
          Publish one from here
        </button>{" "}
        <button type="button" onClick={actions.readAll}>
          Show what is stored
        </button>
      </p>
      {status.asksForTokens && (
        <p className="faint">
          Your token receives {status.channels.join(", ")}.
          {isWithoutChannels(desk.page.token) &&
            " It has no claim channels; with one it would receive what that names, too."}
        </p>
      )}
    </Empty>
  );
}

function isWithoutChannels(token: string | undefined): boolean {
  const decoded = decode(token ?? "");
  return "claims" in decoded && decoded.claims.channels === undefined;
}

function NothingGranted(): ReactElement {
  return (
    <Empty title="Your token receives nothing">
      <p>
        It has no claim <code>channels</code>, and the server grants nothing to all. With this claim it would receive{" "}
        <code>tasks</code>, <code>project:7</code> and all below:
      </p>
      <Snippet text={'{"sub": "ann", "exp": 1767225600, "channels": ["tasks", "project:7"]}'} what="the claims" />
      <p>To make one for a try:</p>
      <Snippet
        text="rowcast token mint --jwt-secret-file key --user ann --channels tasks,project:7"
        what="the command"
      />
    </Empty>
  );
}

function NotConnected({ why }: { why: string }): ReactElement {
  return (
    <Empty title="Not connected">
      <p role="alert">{why}</p>
      <ul>
        <li>Does the server run? It answers at /healthz.</li>
        <li>Does a proxy between pass WebSockets on? It has to forward the headers Upgrade and Connection.</li>
        <li>Is this page's address the server's own? Others have to be let in with --allow-origin.</li>
      </ul>
    </Empty>
  );
}
