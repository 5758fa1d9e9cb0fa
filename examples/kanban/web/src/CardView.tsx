// A card: it is moved by keys, renamed in place, and deleted.

import { type DragEvent, type KeyboardEvent, useLayoutEffect, useRef } from "react";
import type { Change } from "./api.js";
import type { Card } from "./feed.js";

const MOVES: Record<string, readonly [columns: number, rows: number]> = {
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowUp: [0, -1],
  ArrowDown: [0, 1],
};

interface CardViewProps {
  readonly card: Card;
  /** The title as somebody is typing it here. */
  readonly draft: string | undefined;
  readonly setDraft: (draft: string | undefined) => void;
  readonly change: (change: Change) => void;
  readonly move: (columns: number, rows: number) => void;
  readonly onDragStart: (event: DragEvent) => void;
}

/** A card of the board. */
export function CardView({ card, draft, setDraft, change, move, onDragStart }: CardViewProps) {
  const isEdited = draft !== undefined;
  const element = useRef<HTMLLIElement>(null);
  // Whoever ends the editing by a key goes on with the card.
  const isLeftByKey = useRef(false);
  useLayoutEffect(() => {
    if (!isEdited && isLeftByKey.current) element.current?.focus();
    isLeftByKey.current = false;
  }, [isEdited]);

  const rename = (title: string): void => {
    setDraft(undefined);
    if (title.trim() && title.trim() !== card.title)
      change({ kind: "change", id: card.id, members: { title: title.trim() } });
  };
  const onKeyDown = (event: KeyboardEvent): void => {
    if (event.target !== event.currentTarget) return;
    const moves = MOVES[event.key];
    if (moves) move(...moves);
    else if (event.key === "Enter" || event.key === "F2") setDraft(card.title);
    else if (event.key === "Delete") {
      focusBeside(event.currentTarget);
      change({ kind: "remove", id: card.id });
    } else return;
    event.preventDefault();
  };

  return (
    <li
      id={card.id}
      ref={element}
      // biome-ignore lint/a11y/noNoninteractiveTabindex: keys move it
      tabIndex={0}
      aria-label={card.title}
      aria-keyshortcuts="ArrowLeft ArrowRight ArrowUp ArrowDown Enter Delete"
      draggable={!isEdited}
      onDragStart={onDragStart}
      onKeyDown={onKeyDown}
      onDoubleClick={() => setDraft(card.title)}
    >
      {isEdited ? (
        <input
          aria-label="Title"
          value={draft}
          maxLength={200}
          ref={focusAtEnd}
          onChange={(event) => setDraft(event.currentTarget.value)}
          onBlur={(event) => rename(event.currentTarget.value)}
          onKeyDown={(event) => {
            isLeftByKey.current = event.key === "Enter" || event.key === "Escape";
            if (event.key === "Enter") event.currentTarget.blur();
            if (event.key === "Escape") setDraft(undefined);
          }}
        />
      ) : (
        <span>{card.title}</span>
      )}
      <small>{card.by && `by ${card.by}`}</small>
      <button
        type="button"
        tabIndex={-1}
        aria-label={`Delete ${card.title}`}
        onClick={() => change({ kind: "remove", id: card.id })}
      >
        ×
      </button>
    </li>
  );
}

/** Typing goes on where it was, also after somebody else has moved the card to another column. */
function focusAtEnd(input: HTMLInputElement | null): void {
  input?.focus();
  input?.setSelectionRange(input.value.length, input.value.length);
}

/** The focus does not go down with a card. */
function focusBeside(card: Element): void {
  const beside =
    card.nextElementSibling ?? card.previousElementSibling ?? card.closest("section")?.querySelector("input");
  if (beside instanceof HTMLElement) beside.focus();
}
