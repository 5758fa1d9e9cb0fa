// The list of events: of a hundred thousand rows, those that can be seen.

import { type ReactElement, type RefObject, type UIEvent, useEffect, useLayoutEffect, useRef, useState } from "react";
import type { Entry } from "../feed/entry.js";
import type { View } from "../feed/store.js";
import { clockTime } from "../words.js";

/** Height of a row, in pixels: `--row` of the style sheet. */
const ROW_PX = 26;

/** Rows above and below that are there before they are seen. */
const SPARE_ROWS = 4;

/** Characters of a payload that a row shows at most. */
const PREVIEW_CHARS = 300;

/** Where the list is. */
export interface StreamScroll {
  readonly box: RefObject<HTMLDivElement | null>;
  readonly isFollowing: boolean;
  /** The first row that is seen. */
  first(): number;
  /** Brings a row into sight. */
  reveal(row: number): void;
  /** Goes to the newest, and stays there. */
  follow(): void;
  /** Stays at what is seen now. */
  stay(): void;
  readonly heightPx: number;
  readonly topPx: number;
  readonly onScroll: (event: UIEvent<HTMLDivElement>) => void;
  readonly onUp: () => void;
}

/** Follows the newest event, or stays at what is seen while others come and go. */
export function useStreamScroll(view: View): StreamScroll {
  const box = useRef<HTMLDivElement>(null);
  const [isFollowing, setIsFollowing] = useState(true);
  const [heightPx, setHeightPx] = useState(600);
  /** Pixels from the first row that ever was: rows that go do not move it. */
  const [placePx, setPlacePx] = useState(0);
  /** What was set here, and not by the user. */
  const setTo = useRef(0);
  const bottomPx = Math.max(0, view.length * ROW_PX - heightPx);
  const topPx = isFollowing ? bottomPx : Math.max(0, Math.min(bottomPx, placePx - view.gone * ROW_PX));

  const hasRows = view.length > 0;
  useLayoutEffect(() => {
    const element = box.current;
    if (!element || !hasRows) return;
    const observer = new ResizeObserver(() => setHeightPx(element.clientHeight));
    observer.observe(element);
    setHeightPx(element.clientHeight);
    return () => observer.disconnect();
  }, [hasRows]);

  useLayoutEffect(() => {
    const element = box.current;
    if (!element || Math.abs(element.scrollTop - topPx) < 1) return;
    element.scrollTop = topPx;
    setTo.current = element.scrollTop;
  });

  const goTo = (px: number): void => {
    setIsFollowing(false);
    setPlacePx(px + view.gone * ROW_PX);
  };
  return {
    box,
    isFollowing,
    heightPx,
    topPx,
    first: () => Math.ceil(topPx / ROW_PX),
    reveal(row) {
      const px = row * ROW_PX;
      if (px < topPx) goTo(px);
      else if (px + ROW_PX > topPx + heightPx) goTo(px + ROW_PX - heightPx);
      else goTo(topPx);
    },
    follow: () => setIsFollowing(true),
    stay: () => goTo(topPx),
    onScroll(event) {
      const { scrollTop } = event.currentTarget;
      if (Math.abs(scrollTop - setTo.current) < 2) return;
      setTo.current = scrollTop;
      if (scrollTop >= bottomPx - 2) setIsFollowing(true);
      else goTo(scrollTop);
    },
    // While events come quickly, the way up would be undone before it is noticed.
    onUp: () => isFollowing && goTo(topPx),
  };
}

export function StreamList(props: {
  view: View;
  scroll: StreamScroll;
  selected: Entry | undefined;
  onSelect: (entry: Entry) => void;
}): ReactElement {
  const { view, scroll, selected } = props;
  const first = Math.max(0, Math.floor(scroll.topPx / ROW_PX) - SPARE_ROWS);
  const last = Math.min(view.length, first + Math.ceil(scroll.heightPx / ROW_PX) + 2 * SPARE_ROWS);
  const rows: ReactElement[] = [];
  for (let row = first; row < last; row += 1) {
    const entry = view.at(row);
    // Their elements are used again for others: making new ones for thousands in a second would cost more than all else.
    if (entry)
      rows.push(
        <Row
          key={row - first}
          entry={entry}
          row={row}
          of={view.length}
          isSelected={entry === selected}
          onSelect={props.onSelect}
        />,
      );
  }
  const { box } = scroll;
  useEffect(() => {
    const element = box.current;
    const up = (event: WheelEvent): void => {
      if (event.deltaY < 0) scroll.onUp();
    };
    element?.addEventListener("wheel", up, { passive: true });
    return () => element?.removeEventListener("wheel", up);
  });
  return (
    <div className="list">
      <div className="row list-head" aria-hidden>
        <span className="at">Time</span>
        <span className="type">Type</span>
        <span className="channels">Channel</span>
        <span className="entity">Entity</span>
        <span className="actor">Actor</span>
        <span className="payload">Payload</span>
      </div>
      <div
        ref={scroll.box}
        className="rows"
        role="listbox"
        tabIndex={0}
        aria-label="Events, the newest last"
        aria-activedescendant={selected && view.rowOf(selected) !== undefined ? "selected-event" : undefined}
        onScroll={scroll.onScroll}
      >
        <div role="presentation" style={{ height: view.length * ROW_PX }}>
          <div role="presentation" className="rows-seen" style={{ transform: `translateY(${first * ROW_PX}px)` }}>
            {rows}
          </div>
        </div>
      </div>
    </div>
  );
}

function Row(props: {
  entry: Entry;
  row: number;
  of: number;
  isSelected: boolean;
  onSelect: (entry: Entry) => void;
}): ReactElement {
  const { entry, isSelected } = props;
  return (
    // The list has the keys, for all of its rows.
    // biome-ignore lint/a11y/useKeyWithClickEvents: see above
    // biome-ignore lint/a11y/useFocusableInteractive: see above
    <div
      id={isSelected ? "selected-event" : undefined}
      className="row"
      role="option"
      aria-selected={isSelected}
      aria-posinset={props.row + 1}
      aria-setsize={props.of}
      onClick={() => props.onSelect(entry)}
    >
      <span className="at">{clockTime(entry.createdAt)}</span>
      <span className={`type type-${kindOf(entry.type)}`}>{entry.type}</span>
      <span className="channels">{entry.channels}</span>
      <span className="entity">{entry.entityId}</span>
      <span className="actor">{entry.actor}</span>
      <span className="payload">{entry.payload.slice(0, PREVIEW_CHARS)}</span>
    </div>
  );
}

/** What an event is about, as far as its name tells. */
function kindOf(type: string): "made" | "gone" | "other" {
  if (/created$|added$|opened$/i.test(type)) return "made";
  return /deleted$|removed$|closed$/i.test(type) ? "gone" : "other";
}
