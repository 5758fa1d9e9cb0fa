// Who looks: with which token, and what the server says to it. The console is for those whom it lets in.

import { webSocket } from "@rowcast/client";
import { longPoll, sse } from "@rowcast/client/fallback";
import { RowcastProvider } from "@rowcast/react";
import { type ReactElement, useCallback, useMemo, useState } from "react";
import { Console } from "./console.js";
import { History } from "./feed/history.js";
import { Store } from "./feed/store.js";
import { AskForToken } from "./panes/ask-for-token.js";
import { Server, urlOf } from "./server/api.js";
import { useAsked } from "./server/use-asked.js";
import { type Theme, useTheme } from "./shell/theme.js";
import { keepToken, keptToken } from "./token/kept.js";

/** How often the server is asked how it does. */
const STATUS_INTERVAL_MS = 2_000;

/** Clocks that differ by less than this are taken for the same: a request takes its time. */
const SKEW_MIN_MS = 250;

/** The best first: a proxy may let no WebSocket through. */
const TRANSPORTS = [webSocket, sse, longPoll];

/** What a session is given of the page. */
export interface Page {
  readonly token: string | undefined;
  readonly theme: Theme;
  readonly nextTheme: () => void;
  /** Begins anew with another token, or without. */
  readonly takeToken: (token: string | undefined) => void;
}

export function App(): ReactElement {
  const [{ token, session }, setSession] = useState(() => ({ token: keptToken(), session: 0 }));
  const [theme, nextTheme] = useTheme();
  const takeToken = useCallback((token: string | undefined) => {
    keepToken(token);
    setSession((before) => ({ token, session: before.session + 1 }));
  }, []);
  // Nothing that one token was shown is there for the next.
  return <Session key={session} token={token} theme={theme} nextTheme={nextTheme} takeToken={takeToken} />;
}

function Session(page: Page): ReactElement {
  const { token } = page;
  const [store] = useState(() => new Store());
  const [history] = useState(() => new History());
  const server = useMemo(() => new Server(token), [token]);
  const ask = useCallback(
    async (signal: AbortSignal) => {
      const sentAt = Date.now();
      const status = await server.status(signal);
      const skewMs = Date.parse(status.time) - (sentAt + Date.now()) / 2;
      store.skewMs = Math.abs(skewMs) < SKEW_MIN_MS ? 0 : skewMs;
      history.add(status, Date.now());
      return status;
    },
    [server, store, history],
  );
  const { answer: status, error } = useAsked(ask, STATUS_INTERVAL_MS);
  const [refusal, setRefusal] = useState<string>();
  const options = useMemo(
    () => ({ url: urlOf("ws"), transports: TRANSPORTS, ...(token && { getToken: () => token }) }),
    [token],
  );
  const isRefused = error?.status === 401 || refusal !== undefined;
  if (isRefused) return <AskForToken page={page} error={token ? (refusal ?? error?.message) : undefined} />;
  if (!status) return <Waiting error={error?.message} />;
  return (
    <RowcastProvider options={options}>
      <Console
        page={page}
        server={server}
        status={status}
        store={store}
        history={history}
        error={error}
        refuse={setRefusal}
      />
    </RowcastProvider>
  );
}

function Waiting({ error }: { error: string | undefined }): ReactElement {
  return (
    <main className="alone">
      <h1>rowcast</h1>
      <p role="status">{error ?? "Asking the server …"}</p>
      {error && <p>It is asked again every two seconds. Does the process run, and is a proxy between?</p>}
    </main>
  );
}
