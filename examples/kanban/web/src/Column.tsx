// A column: cards are dropped into it, and new ones are added at its end.

import { type DragEvent, type FormEvent, useState } from "react";
import type { Change } from "./api.js";
import { positionBefore } from "./board.js";
import { CardView } from "./CardView.js";
import type { Card, State } from "./feed.js";

/** What a drag carries. */
const CARD = "application/x-card";

/** A title that is being typed. It outlives the element of its card, which is another one in another column. */
export interface Draft {
  readonly id: string;
  readonly title: string;
}

interface ColumnProps {
  readonly name: string;
  readonly state: State;
  /** Its place among the columns, from 0. */
  readonly number: number;
  readonly cards: readonly Card[];
  /** The title that is being typed, of whichever card. */
  readonly draft: Draft | undefined;
  readonly setDraft: (draft: Draft | undefined) => void;
  readonly find: (id: string) => Card | undefined;
  readonly change: (change: Change) => void;
  readonly place: (card: Card, column: number, index: number) => void;
  readonly keepFocus: (id: string) => void;
}

/** A column of the board. */
export function Column(props: ColumnProps) {
  const { name, state, number, cards, draft, setDraft, find, change, place, keepFocus } = props;
  const [isOver, setIsOver] = useState(false);

  const drop = (event: DragEvent): void => {
    event.preventDefault();
    setIsOver(false);
    const card = find(event.dataTransfer.getData(CARD));
    if (!card) return;
    const others = [...event.currentTarget.querySelectorAll<HTMLElement>("li")].filter(({ id }) => id !== card.id);
    const index = others.findIndex((other) => {
      const { top, height } = other.getBoundingClientRect();
      return event.clientY < top + height / 2;
    });
    place(card, number, index < 0 ? others.length : index);
  };

  const add = (event: FormEvent<HTMLFormElement>): void => {
    event.preventDefault();
    const form = event.currentTarget;
    const title = String(new FormData(form).get("title")).trim();
    if (!title) return;
    const members = { title, state, position: positionBefore(cards, cards.length) };
    change({ kind: "add", id: crypto.randomUUID?.() ?? String(Math.random()).slice(2), members });
    form.reset();
  };

  return (
    <section
      aria-label={name}
      className={isOver ? "over" : undefined}
      onDragOver={(event) => {
        event.preventDefault();
        setIsOver(true);
      }}
      onDragLeave={() => setIsOver(false)}
      onDrop={drop}
    >
      <h2>
        {name} <span className="count">{cards.length}</span>
      </h2>
      <ul>
        {cards.map((card, index) => (
          <CardView
            key={card.id}
            card={card}
            draft={draft?.id === card.id ? draft.title : undefined}
            setDraft={(title) => setDraft(title === undefined ? undefined : { id: card.id, title })}
            change={change}
            move={(columns, rows) => {
              keepFocus(card.id);
              place(card, number + columns, columns === 0 ? index + rows : index);
            }}
            onDragStart={(event) => event.dataTransfer.setData(CARD, card.id)}
          />
        ))}
      </ul>
      <form onSubmit={add}>
        <input name="title" placeholder="Add a card" aria-label={`Add a card to ${name}`} maxLength={200} />
      </form>
    </section>
  );
}
