// Events as they come: paused, filtered, searched, looked into.

import { type ReactElement, type RefObject, useEffect, useState, useSyncExternalStore } from "react";
import type { Actions, Desk } from "../console.js";
import type { Entry } from "../feed/entry.js";
import { type Filter, NO_FILTER } from "../feed/filter.js";
import { EVENTS_MAX, type View } from "../feed/store.js";
import { useKeys } from "../shell/keys.js";
import { count, counted, milliseconds, rate } from "../words.js";
import { Details } from "./details.js";
import { EmptyStream } from "./empty-stream.js";
import { FilterBar } from "./filter-bar.js";
import { StreamList, useStreamScroll } from "./stream-list.js";

/** Seconds that the rate is a mean of. */
const RECENT_S = 5;

/** Rows that PageUp and PageDown move by. */
const PAGE_ROWS = 20;

export function Stream(props: {
  desk: Desk;
  actions: Actions;
  search: RefObject<HTMLInputElement | null>;
}): ReactElement {
  const { store } = props.desk;
  const view = useSyncExternalStore(store.subscribe, store.view);
  const [filter, setFilter] = useState(store.filter);
  const [selected, setSelected] = useState<Entry>();
  const [isOpen, setIsOpen] = useState(false);
  const scroll = useStreamScroll(view);

  const select = (row: number): void => {
    const entry = view.at(Math.max(0, Math.min(view.length - 1, row)));
    if (!entry) return;
    setSelected(entry);
    scroll.reveal(view.rowOf(entry) ?? 0);
  };
  const move = (rows: number): void => {
    const at = selected && view.rowOf(selected);
    select(at === undefined ? (rows < 0 ? view.length - 1 : scroll.first()) : at + rows);
  };
  const show = (next: Filter): void => {
    // What is typed is there at once; what is found follows.
    setFilter(next);
    store.show(next);
    scroll.follow();
  };
  const close = (): void => {
    setIsOpen(false);
    // What had the focus may be gone.
    scroll.box.current?.focus();
  };
  const togglePause = (): void => (view.isPaused ? store.resume() : store.pause());
  const follow = (): void => {
    setSelected(undefined);
    scroll.follow();
  };
  useKeys({
    Space: () => void togglePause(),
    j: () => void move(1),
    k: () => void move(-1),
    ArrowDown: () => void move(1),
    ArrowUp: () => void move(-1),
    PageDown: () => void move(PAGE_ROWS),
    PageUp: () => void move(-PAGE_ROWS),
    Home: () => void select(0),
    End: () => void follow(),
    Enter: () => {
      if (!selected) return false;
      setIsOpen(true);
    },
    Escape: () => {
      if (document.activeElement instanceof HTMLInputElement) document.activeElement.blur();
      else close();
    },
  });

  const hasFilter = Object.values(view.filter).some(Boolean);
  return (
    <>
      <div className="toolbar">
        <button type="button" onClick={togglePause} aria-pressed={view.isPaused} aria-keyshortcuts="Space">
          {view.isPaused ? "Resume" : "Pause"}
        </button>
        <FilterBar store={store} filter={filter} onChange={show} search={props.search} />
        <button type="button" onClick={follow} aria-pressed={scroll.isFollowing} aria-keyshortcuts="End">
          Follow
        </button>
        <button type="button" onClick={() => store.clear()} disabled={view.kept === 0}>
          Clear
        </button>
      </div>
      <div className={isOpen && selected ? "split is-open" : "split"}>
        {view.length > 0 ? (
          <StreamList
            view={view}
            scroll={scroll}
            selected={selected}
            onSelect={(entry) => {
              setSelected(entry);
              setIsOpen(true);
              scroll.stay();
            }}
          />
        ) : (
          <EmptyStream
            desk={props.desk}
            actions={props.actions}
            view={view}
            hasFilter={hasFilter}
            showAll={() => show(NO_FILTER)}
          />
        )}
        {isOpen && selected && <Details entry={selected} close={close} />}
      </div>
      <StatusLine desk={props.desk} view={view} hasFilter={hasFilter} />
    </>
  );
}

function StatusLine({ desk, view, hasFilter }: { desk: Desk; view: View; hasFilter: boolean }): ReactElement {
  const seconds = useEverySecond(() => desk.store.meter.last(RECENT_S, Date.now()));
  const events = seconds.reduce((sum, second) => sum + second.events, 0);
  const lag = seconds.findLast(({ meanLagMs }) => meanLagMs !== undefined)?.meanLagMs;
  return (
    <footer className="status-line">
      <span>
        {hasFilter ? `${count(view.length)} of ${counted(view.kept, "event")}` : counted(view.kept, "event")}
        {view.kept === EVENTS_MAX && `, the last of ${count(view.received)}`}
      </span>
      {view.unsearched > 0 && hasFilter && <span>searching …</span>}
      {view.isPaused && <span className="waiting">paused: {counted(view.waiting, "event")} came since</span>}
      <span className="spring" />
      <span>{rate(events / RECENT_S)} /s</span>
      {lag !== undefined && <span>{milliseconds(lag)} late</span>}
    </footer>
  );
}

/** What `look` gives, looked at every second. */
function useEverySecond<Value>(look: () => Value): Value {
  const [value, setValue] = useState(look);
  useEffect(() => {
    const timer = setInterval(() => setValue(look), 1_000);
    return () => clearInterval(timer);
  });
  return value;
}
