// The token of this tab, and a decoder for any.

import { type ReactElement, useId, useState } from "react";
import type { Desk } from "../console.js";
import { Json } from "../json/json.js";
import { decode, rights, validity } from "../token/decode.js";

export function TokenPane({ desk: { page, status } }: { desk: Desk }): ReactElement {
  // The one in use is told of, and not shown: others may see the screen.
  const [text, setText] = useState("");
  const id = useId();
  return (
    <div className="page">
      <h2>Token</h2>
      {status.asksForTokens ? (
        <p>
          You look as <b>{status.user ?? "nobody in particular"}</b> and receive{" "}
          {status.channels.length ? <code>{status.channels.join(" ")}</code> : "nothing"}. The token is kept for this
          tab only.{" "}
          <button type="button" onClick={() => page.takeToken(undefined)}>
            Forget it
          </button>
        </p>
      ) : (
        <p>This server asks nobody for a token: whoever reaches it may read everything.</p>
      )}
      <div className="form">
        <label className="wide" htmlFor={id}>
          {page.token ? "Another token, to see what is in it" : "Any token, to see what is in it"}
          <textarea
            id={id}
            rows={5}
            value={text}
            spellCheck={false}
            autoComplete="off"
            placeholder="eyJ…"
            onChange={(event) => setText(event.target.value)}
          />
        </label>
        {status.asksForTokens && text.trim() && (
          <button type="button" className="primary" onClick={() => page.takeToken(text.trim())}>
            Use this one
          </button>
        )}
      </div>
      <TokenSaid token={text.trim() || page.token} />
    </div>
  );
}

/** What a token says. It is decoded here, and sent nowhere. */
export function TokenSaid({ token }: { token: string | undefined }): ReactElement | null {
  if (!token) return null;
  const decoded = decode(token);
  if ("why" in decoded) return <p className="bad">{decoded.why}</p>;
  const { isGood, text } = validity(decoded.claims, Date.now());
  return (
    <>
      <p className="faint">
        Decoded in this page and sent nowhere. Whether its signature is true, only the server can say.
      </p>
      <ul>
        <li className={isGood ? "good" : "bad"}>{text}</li>
        {rights(decoded.claims).map((right) => (
          <li key={right}>{right}</li>
        ))}
      </ul>
      <div className="halves">
        <div>
          <h3>Claims</h3>
          <Json text={JSON.stringify(decoded.claims)} label="Claims" />
        </div>
        <div>
          <h3>Header</h3>
          <Json text={JSON.stringify(decoded.header)} label="Header" />
        </div>
      </div>
    </>
  );
}
