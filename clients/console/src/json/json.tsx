// JSON for reading: indented, with its parts told apart.

import type { ReactElement, ReactNode } from "react";

/** More characters than this are shown without colours: each piece is an element. */
const COLOURED_CHARS_MAX = 20_000;

/** Most characters that are shown at all. */
const CHARS_MAX = 200_000;

/** Keys with their colon, other texts, numbers, and words. */
const PIECES = /("(?:[^"\\]|\\.)*")(\s*:)?|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|\b(?:true|false|null)\b/g;

/** A value of JSON, given as text. */
export function Json({ text, label }: { text: string; label: string }): ReactElement {
  const pretty = indent(text);
  const shown = pretty.slice(0, CHARS_MAX);
  return (
    // What scrolls has to be reached by the keyboard.
    // biome-ignore lint/a11y/noNoninteractiveTabindex: see above
    <section className="json" aria-label={label} tabIndex={0}>
      <pre>{shown.length > COLOURED_CHARS_MAX ? shown : coloured(shown)}</pre>
      {shown.length < pretty.length && <p>… and {(pretty.length - shown.length).toLocaleString()} characters more</p>}
    </section>
  );
}

/** Indented, where it is JSON. */
export function indent(text: string): string {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

function coloured(text: string): ReactNode[] {
  const nodes: ReactNode[] = [];
  let at = 0;
  for (const match of text.matchAll(PIECES)) {
    const [piece, quoted, colon] = match;
    nodes.push(text.slice(at, match.index));
    const kind = colon ? "key" : quoted ? "text" : /^[-\d]/.test(piece) ? "number" : "word";
    nodes.push(
      <span key={match.index} className={`json-${kind}`}>
        {quoted ?? piece}
      </span>,
      colon ?? "",
    );
    at = match.index + piece.length;
  }
  nodes.push(text.slice(at));
  return nodes;
}
