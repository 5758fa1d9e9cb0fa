// The board: its state, kept fresh by the feed, and changes that are shown before the server has them.

import { createRealtimeEventsHook } from "@rowcast/react";
import { optimisticUpdate, usePollingFallback, useRealtimeSync } from "@rowcast/react/tanstack";
import { type QueryClient, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { type Board, type Change, fetchBoard, me, origin, send } from "./api.js";
import type { Card, Channels, Events, State } from "./feed.js";

/** The columns, from left to right. */
export const COLUMNS: readonly { readonly state: State; readonly name: string }[] = [
  { state: "todo", name: "To do" },
  { state: "doing", name: "Doing" },
  { state: "done", name: "Done" },
];

/** Where this board is on the feed. */
export const CHANNEL = "board:1";

const KEY = ["board"];

/** `useRealtimeEvents` with the types that `rowcast gen types` has written. */
export const useFeed = createRealtimeEventsHook<Events, Channels>();

/** The state of the board. */
export function useBoard() {
  return useQuery({ queryKey: KEY, queryFn: ({ client }) => fetchShown(client) });
}

/** The state that the server has, with the changes that are on their way to it: a refetch does not take them back. */
async function fetchShown(queryClient: QueryClient): Promise<Board> {
  const board = await fetchBoard();
  const pending = queryClient.getMutationCache().findAll({ mutationKey: KEY, status: "pending" });
  return pending.map(({ state }) => state.variables as Change).reduce(changed, board);
}

/** Keeps it fresh. `since` is the cursor of the first state: nothing is missed between that and the first event. */
export function useFreshBoard(since: string): void {
  useRealtimeSync({ channel: CHANNEL, queryKey: KEY, since, ignoreOrigin: origin });
  usePollingFallback({ queryKey: KEY });
}

/** Changes cards: on the page at once, and back again if the server refuses. */
export function useChange() {
  const queryClient = useQueryClient();
  return useMutation({
    mutationKey: KEY,
    // One after the other: two requests at once may overtake each other, and the older change would be the last one.
    scope: { id: "board" },
    mutationFn: send,
    onMutate: (change: Change) => optimisticUpdate<Board>(queryClient, KEY, (board) => changed(board, change)),
    onError: (_error, _change, rollback) => rollback?.(),
    // What the server has made of it. A fetch that read the board before the change is cancelled by that.
    onSettled: () => void queryClient.invalidateQueries({ queryKey: KEY }),
  });
}

/** The cards of a column, in their order. */
export function cardsOf(board: Board, state: State): Card[] {
  return board.cards.filter((card) => card.state === state).sort((a, b) => a.position - b.position);
}

/** The position that puts a card before another one, or at the end. */
export function positionBefore(cards: readonly Card[], index: number): number {
  const before = cards[index - 1]?.position;
  const after = cards[index]?.position;
  if (before === undefined) return (after ?? 2) - 1;
  return after === undefined ? before + 1 : (before + after) / 2;
}

function changed(board: Board, change: Change): Board {
  const others = board.cards.filter(({ id }) => id !== change.id);
  const old = board.cards.find(({ id }) => id === change.id);
  if (change.kind === "add") return { ...board, cards: [...others, { id: change.id, by: me, ...change.members }] };
  if (change.kind === "change" && old) return { ...board, cards: [...others, { ...old, ...change.members, by: me }] };
  return { ...board, cards: others };
}
