// The panes there are, and the tabs that lead to them.

import type { KeyboardEvent, ReactElement } from "react";

export type PaneName = "stream" | "channels" | "connections" | "charts" | "publish" | "token";

/** In the order of their keys: 1 to 6. */
export const PANES: readonly { readonly name: PaneName; readonly title: string }[] = [
  { name: "stream", title: "Stream" },
  { name: "channels", title: "Channels" },
  { name: "connections", title: "Connections" },
  { name: "charts", title: "Charts" },
  { name: "publish", title: "Publish" },
  { name: "token", title: "Token" },
];

export function Tabs({ pane, open }: { pane: PaneName; open: (pane: PaneName) => void }): ReactElement {
  const move = (event: KeyboardEvent): void => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const at = PANES.findIndex(({ name }) => name === pane);
    const next = PANES[(at + step + PANES.length) % PANES.length];
    if (!next) return;
    open(next.name);
    document.getElementById(`tab-${next.name}`)?.focus();
  };
  return (
    <div role="tablist" aria-label="Panes" className="tabs" onKeyDown={move}>
      {PANES.map(({ name, title }, index) => (
        <button
          key={name}
          id={`tab-${name}`}
          type="button"
          role="tab"
          aria-selected={name === pane}
          aria-controls={name === pane ? "pane" : undefined}
          aria-keyshortcuts={String(index + 1)}
          tabIndex={name === pane ? 0 : -1}
          onClick={() => open(name)}
        >
          {title} <kbd aria-hidden>{index + 1}</kbd>
        </button>
      ))}
    </div>
  );
}
