// What stands in place of the console while the server does not know who looks.

import { type ReactElement, type SyntheticEvent, useState } from "react";
import type { Page } from "../app.js";
import { Snippet } from "../shell/copy.js";
import { TokenSaid } from "./token.js";

export function AskForToken({ page, error }: { page: Page; error: string | undefined }): ReactElement {
  const [text, setText] = useState("");
  const use = (event: SyntheticEvent): void => {
    event.preventDefault();
    if (text.trim()) page.takeToken(text.trim());
  };
  return (
    <main className="alone">
      <h1>
        <img src="./console/icon.svg" alt="" width="22" height="22" /> rowcast
      </h1>
      <h2>This server asks for a token</h2>
      {error && (
        <p className="bad" role="alert">
          The server does not accept this one: {error}.
        </p>
      )}
      <form className="form" onSubmit={use}>
        <label className="wide">
          Token
          <textarea
            rows={5}
            value={text}
            required
            spellCheck={false}
            autoComplete="off"
            placeholder="eyJ…"
            onChange={(event) => setText(event.target.value)}
            onKeyDown={(event) => {
              if (event.key === "Enter" && !event.shiftKey) use(event);
            }}
          />
        </label>
        <button type="submit" className="primary">
          Look
        </button>
      </form>
      <p className="faint">
        You see what the token may see, and nothing else. It is kept for this tab only, and is in no URL. Where the
        server's secret is, this makes one:
      </p>
      <Snippet text="rowcast token mint --jwt-secret-file key --user ann --channels '*'" what="the command" />
      <TokenSaid token={text.trim() || page.token} />
    </main>
  );
}
