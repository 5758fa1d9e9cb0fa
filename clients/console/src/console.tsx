// The console: header, panes, and the keys that lead from one to another.

import { useClient, useConnectionStatus } from "@rowcast/react";
import { type ReactElement, useEffect, useRef, useState } from "react";
import type { Page } from "./app.js";
import type { History } from "./feed/history.js";
import type { Store } from "./feed/store.js";
import { Channels } from "./panes/channels.js";
import { Charts } from "./panes/charts.js";
import { Connections } from "./panes/connections.js";
import { Publish } from "./panes/publish.js";
import { Stream } from "./panes/stream.js";
import { TokenPane } from "./panes/token.js";
import type { Refused, Server, Status } from "./server/api.js";
import { Header } from "./shell/header.js";
import { Help } from "./shell/help.js";
import { useKeys } from "./shell/keys.js";
import { PANES, type PaneName, Tabs } from "./shell/tabs.js";

/** What panes are given. */
export interface Desk {
  readonly page: Page;
  readonly server: Server;
  readonly status: Status;
  readonly store: Store;
  readonly history: History;
  /** The server does not answer any more. */
  readonly error: Refused | undefined;
}

/** The server closes a connection with this whose token it does not accept, or not any more. */
const TOKEN_REFUSED = 4001;

/** What panes may ask of the console. */
export interface Actions {
  readonly open: (pane: PaneName) => void;
  /** Receives what is stored, from the beginning. */
  readonly readAll: () => void;
}

export function Console(props: Desk & { refuse: (why: string) => void }): ReactElement {
  const { refuse, ...desk } = props;
  const [pane, setPane] = useState<PaneName>("stream");
  const [isHelpOpen, setIsHelpOpen] = useState(false);
  const [notice, setNotice] = useState<string>();
  const [since, setSince] = useState<"now" | "earliest">("now");
  const search = useRef<HTMLInputElement>(null);
  useFeed(desk.store, since, setNotice);
  useRefusal(refuse);

  const keys: Record<string, () => undefined> = {
    "?": () => void setIsHelpOpen(true),
    t: () => void desk.page.nextTheme(),
    "/": () => {
      setPane("stream");
      // It may have to be there first.
      setTimeout(() => search.current?.focus());
    },
  };
  PANES.forEach(({ name }, index) => {
    keys[String(index + 1)] = () => void setPane(name);
  });
  useKeys(keys);

  const actions: Actions = { open: setPane, readAll: () => setSince("earliest") };
  return (
    <>
      <Header desk={desk} openHelp={() => setIsHelpOpen(true)} open={setPane} />
      {notice && (
        <p className="notice" role="alert">
          {notice}
          <button type="button" className="quiet" onClick={() => setNotice(undefined)}>
            Dismiss
          </button>
        </p>
      )}
      <main>
        <Tabs pane={pane} open={setPane} />
        <div id="pane" role="tabpanel" aria-labelledby={`tab-${pane}`} className={`pane pane-${pane}`}>
          {pane === "stream" && <Stream desk={desk} actions={actions} search={search} />}
          {pane === "channels" && <Channels desk={desk} actions={actions} />}
          {pane === "connections" && <Connections desk={desk} />}
          {pane === "charts" && <Charts desk={desk} />}
          {pane === "publish" && <Publish desk={desk} />}
          {pane === "token" && <TokenPane desk={desk} />}
        </div>
      </main>
      <Help isOpen={isHelpOpen} close={() => setIsHelpOpen(false)} />
    </>
  );
}

/** Tells of a connection that was closed for its token. */
function useRefusal(refuse: (why: string) => void): void {
  const { state, error } = useConnectionStatus();
  const why = state === "error" && error?.closeCode === TOKEN_REFUSED ? error.message : undefined;
  useEffect(() => {
    if (why !== undefined) refuse(why);
  }, [why, refuse]);
}

/** Takes all events in, for as long as the console is there. */
function useFeed(store: Store, since: "now" | "earliest", tell: (notice: string) => void): void {
  const client = useClient();
  useEffect(
    () =>
      client.subscribe("*", (event) => store.push(event), {
        ...(since === "earliest" && { since }),
        onReset: ({ reason }) => tell(`Some events were missed and cannot be told (${reason}); it goes on from now.`),
      }),
    [client, store, since, tell],
  );
}
