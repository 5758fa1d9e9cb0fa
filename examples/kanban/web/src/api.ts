// The backend's routes, and who asks.

import type { Card } from "./feed.js";

/** The state of the board, and the position in the feed that it belongs to. */
export interface Board {
  readonly cursor: string;
  readonly cards: readonly Card[];
}

/** The members of a card that people change. */
export type Members = Pick<Card, "title" | "state" | "position">;

/** What is to happen to a card. */
export type Change =
  | { readonly kind: "add"; readonly id: string; readonly members: Members }
  | { readonly kind: "change"; readonly id: string; readonly members: Partial<Members> }
  | { readonly kind: "remove"; readonly id: string };

const NAMES = ["Badger", "Crane", "Fox", "Hare", "Lynx", "Newt", "Otter", "Owl", "Seal", "Wren"];

/** Who sits at this tab. */
export const me = nameOfTab();

/** This tab, in what it changes: it shows its own changes already, and may ignore their echo. */
export const origin = String(Math.random());

/** Reads the state of the board. */
export async function fetchBoard(): Promise<Board> {
  return (await ask("/api/board")) as Board;
}

/** Has the server change a card. Throws with its words where it refuses. */
export async function send(change: Change): Promise<void> {
  const method = { add: "POST", change: "PATCH", remove: "DELETE" }[change.kind];
  const headers = { "content-type": "application/json", "x-actor": me, "x-origin": origin };
  const body = "members" in change ? JSON.stringify(change.members) : null;
  await ask(`/api/cards/${change.id}`, { method, headers, body });
}

async function ask(url: string, init?: RequestInit): Promise<unknown> {
  const response = await fetch(url, init);
  const answer: unknown = await response.json();
  if (!response.ok) throw new Error(typeof answer === "string" ? answer : response.statusText);
  return answer;
}

/** The same after a reload; another one in another tab. */
function nameOfTab(): string {
  const kept = sessionStorage.getItem("name") ?? NAMES[Math.floor(Math.random() * NAMES.length)] ?? "Somebody";
  sessionStorage.setItem("name", kept);
  return kept;
}
