// The top of the page: whose server, how the connection is, who looks, and how it looks.

import { ConnectionIndicator } from "@rowcast/react/indicator";
import type { ReactElement } from "react";
import type { Desk } from "../console.js";
import type { PaneName } from "./tabs.js";

const DATABASES = { sqlite: "SQLite", postgres: "Postgres" };
const THEMES = { auto: "Auto", light: "Light", dark: "Dark" };

export function Header(props: { desk: Desk; open: (pane: PaneName) => void; openHelp: () => void }): ReactElement {
  const { page, status, error } = props.desk;
  const version = status.server.replace("rowcast/", "");
  return (
    <header className="header">
      <h1>
        <Logo /> rowcast <small>{version}</small>
      </h1>
      <span className="of-server">
        {DATABASES[status.database]} · {location.host}
      </span>
      <ConnectionIndicator className="indicator" labels={{ connected: "Live" }} />
      {error && <span className="bad">{error.message}</span>}
      <span className="spring" />
      {status.asksForTokens && (
        <button type="button" className="quiet" onClick={() => props.open("token")}>
          {status.user ? `Token of ${status.user}` : "Token"}
        </button>
      )}
      <button type="button" className="quiet" onClick={page.nextTheme} aria-keyshortcuts="t">
        Theme: {THEMES[page.theme]}
      </button>
      <button type="button" className="quiet" onClick={props.openHelp} aria-label="Keys" aria-keyshortcuts="?">
        ?
      </button>
    </header>
  );
}

function Logo(): ReactElement {
  return <img src="./console/icon.svg" alt="" width="22" height="22" />;
}
