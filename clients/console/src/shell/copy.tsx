// A button that copies a text, where the browser lets it.

import { type ReactElement, useEffect, useState } from "react";

/** How long it says that it has copied, in milliseconds. */
const SAID_MS = 2_000;

/** Nothing where pages may not write to the clipboard, as those that are neither of this machine nor encrypted. */
export function Copy({ text, what }: { text: string; what: string }): ReactElement | null {
  const [isCopied, setIsCopied] = useState(false);
  useEffect(() => {
    if (!isCopied) return;
    const timer = setTimeout(() => setIsCopied(false), SAID_MS);
    return () => clearTimeout(timer);
  }, [isCopied]);
  if (!navigator.clipboard) return null;
  const copy = (): void =>
    void navigator.clipboard.writeText(text).then(
      () => setIsCopied(true),
      () => undefined,
    );
  return (
    <button type="button" className="quiet" onClick={copy} aria-label={isCopied ? `Copied ${what}` : `Copy ${what}`}>
      {isCopied ? "Copied" : "Copy"}
    </button>
  );
}

/** Something to paste, with a button. */
export function Snippet({ text, what }: { text: string; what: string }): ReactElement {
  return (
    <div className="snippet">
      <code>{text}</code>
      <Copy text={text} what={what} />
    </div>
  );
}
