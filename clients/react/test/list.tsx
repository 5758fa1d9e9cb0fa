// A list that a backend has and a component shows, for the tests of useRealtimeSync.

import { type UseRealtimeSyncOptions, useRealtimeSync } from "@rowcast/react/tanstack";
import { useQuery } from "@tanstack/react-query";
import type { RenderHookResult } from "@testing-library/react";
import type { Stage } from "./harness.js";

/** A backend: rows in the order of their commit, read by a fetch that takes a while. */
export class Backend {
  readonly rows: string[] = [];
  fetches = 0;
  takesMs = 10;
  readonly server: Stage["server"];

  constructor(server: Stage["server"]) {
    this.server = server;
  }

  /** Commits a row and its event. */
  insert(row: string, event: { type?: string; origin?: string; channel?: string; previous?: unknown } = {}): void {
    this.rows.push(row);
    this.server.emit({ channel: "tasks", type: "task.created", payload: row, ...event });
  }

  /** What a fetch brings is what was there when the request reached the database, a while before it answers. */
  readonly fetch = async (): Promise<string[]> => {
    this.fetches += 1;
    const rows = [...this.rows];
    await new Promise((resolve) => setTimeout(resolve, this.takesMs));
    return rows;
  };
}

export type ListOptions = Partial<UseRealtimeSyncOptions<unknown>> & { staleTime?: number };

/** A component that shows a list and keeps it fresh. */
export function list(
  { hook, server }: Stage,
  options: ListOptions = {},
  backend: Backend = new Backend(server),
): RenderHookResult<string[] | undefined, ListOptions> & { backend: Backend } {
  const use = ({ staleTime = 0, ...more }: ListOptions): string[] | undefined => {
    const { data } = useQuery({ queryKey: ["tasks", { done: false }], queryFn: backend.fetch, staleTime });
    useRealtimeSync({ topic: "tasks", queryKey: ["tasks"], ...more } as UseRealtimeSyncOptions);
    return data;
  };
  return { ...hook(use, options), backend };
}
