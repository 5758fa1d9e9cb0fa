// The page: its head, the columns, and what has happened.

import { useConnectionStatus } from "@rowcast/react";
import { ConnectionIndicator } from "@rowcast/react/indicator";
import { useLayoutEffect, useRef, useState } from "react";
import { Activity } from "./Activity.js";
import type { Board, Change } from "./api.js";
import { me } from "./api.js";
import { Banner } from "./Banner.js";
import { COLUMNS, cardsOf, positionBefore, useBoard, useChange, useFreshBoard } from "./board.js";
import { Column, type Draft } from "./Column.js";
import type { Card } from "./feed.js";

/** Shows the board once it is there. */
export function App() {
  const { data, error, refetch } = useBoard();
  const { isOnline } = useConnectionStatus();
  return (
    <>
      <header>
        <h1>Board</h1>
        <p>
          You are <b>{me}</b>
        </p>
        {isOnline && <ConnectionIndicator className="indicator" labels={{ connected: "Live" }} />}
      </header>
      <Banner />
      {data ? (
        <BoardView board={data} />
      ) : (
        <main className="empty" role={error ? "alert" : "status"}>
          {error ? `The board cannot be read: ${error.message}` : "Reading the board…"}
          {error && (
            <button type="button" onClick={() => void refetch()}>
              Try again
            </button>
          )}
        </main>
      )}
    </>
  );
}

function BoardView({ board }: { readonly board: Board }) {
  const [since] = useState(board.cursor);
  useFreshBoard(since);
  const [draft, setDraft] = useState<Draft>();
  const change = useChange();
  const keepFocus = useKeptFocus();
  const make = (wanted: Change): void => change.mutate(wanted);

  /** Puts a card into a column, before the card that has this place without it. */
  const place = (card: Card, column: number, index: number): void => {
    const state = COLUMNS[column]?.state;
    if (!state) return;
    const others = cardsOf(board, state).filter(({ id }) => id !== card.id);
    const at = Math.max(0, Math.min(index, others.length));
    if (state === card.state && cardsOf(board, state)[at]?.id === card.id) return;
    make({ kind: "change", id: card.id, members: { state, position: positionBefore(others, at) } });
  };

  return (
    <>
      {change.error && (
        <div className="refusal" role="alert">
          Taken back: {change.error.message}
          <button type="button" onClick={change.reset}>
            OK
          </button>
        </div>
      )}
      <main>
        {COLUMNS.map(({ state, name }, number) => (
          <Column
            key={state}
            name={name}
            state={state}
            number={number}
            cards={cardsOf(board, state)}
            draft={draft}
            setDraft={setDraft}
            find={(id) => board.cards.find((card) => card.id === id)}
            change={make}
            place={place}
            keepFocus={keepFocus}
          />
        ))}
      </main>
      <Activity since={since} />
      <footer>
        Drag cards, or focus one: <kbd>←</kbd> <kbd>→</kbd> <kbd>↑</kbd> <kbd>↓</kbd> move it, <kbd>Enter</kbd> renames,{" "}
        <kbd>Delete</kbd> deletes. A card whose title begins with “fail” is refused when it is moved, so that you see a
        change being taken back.
      </footer>
    </>
  );
}

/** A card that is moved by keys keeps the focus, though its element is another one in another column. */
function useKeptFocus(): (id: string) => void {
  const kept = useRef<string>(undefined);
  useLayoutEffect(() => {
    if (kept.current && document.activeElement === document.body) document.getElementById(kept.current)?.focus();
  });
  useLayoutEffect(() => {
    const forget = ({ target }: Event): void => {
      if (target instanceof Element && target.id !== kept.current) kept.current = undefined;
    };
    document.addEventListener("focusin", forget);
    document.addEventListener("pointerdown", forget);
    return () => {
      document.removeEventListener("focusin", forget);
      document.removeEventListener("pointerdown", forget);
    };
  }, []);
  return (id) => {
    kept.current = id;
  };
}
