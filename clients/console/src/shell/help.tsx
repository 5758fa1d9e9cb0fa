// What keys do, for people.

import { type ReactElement, useEffect, useRef } from "react";

const KEYS: readonly (readonly [keys: string, what: string])[] = [
  ["1 – 6", "Stream, Channels, Connections, Charts, Publish, Token"],
  ["/", "Search the stream"],
  ["Space", "Pause, and go on"],
  ["j, ↓ · k, ↑", "The next event, the one before"],
  ["PageDown, PageUp", "A page further, a page back"],
  ["Home · End", "The oldest event; the newest, and follow"],
  ["Enter", "Details of the event"],
  ["Esc", "Close details, or leave a field"],
  ["Ctrl Enter", "Publish, in the form"],
  ["t", "Theme: as the system, light, dark"],
  ["?", "This"],
];

export function Help({ isOpen, close }: { isOpen: boolean; close: () => void }): ReactElement {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    if (isOpen) dialog.current?.showModal();
  }, [isOpen]);
  return (
    <dialog ref={dialog} onClose={close} aria-labelledby="help-title">
      <h2 id="help-title">Keys</h2>
      <dl className="keys">
        {KEYS.map(([keys, what]) => (
          <div key={keys}>
            <dt>
              <kbd>{keys}</kbd>
            </dt>
            <dd>{what}</dd>
          </div>
        ))}
      </dl>
      <form method="dialog">
        <button type="submit">Close</button>
      </form>
    </dialog>
  );
}
