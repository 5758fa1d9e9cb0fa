// useRealtimeSync under random schedules: however events, fetches, cuts and components meet, what is shown in the end is what
// the database has. A failure prints its seed; FC_SEED and FC_PATH run it again, RUNS runs more.

import { optimisticUpdate, type UseRealtimeSyncOptions, useRealtimeSync } from "@rowcast/react/tanstack";
import { useQuery } from "@tanstack/react-query";
import { act, type RenderHookResult } from "@testing-library/react";
import fc from "fast-check";
import { expect, test, vi } from "vitest";
import { pass, type Stage, stage } from "./harness.js";

// A page has a wait of its own after a reset, which it draws once: here it is always the same.
vi.hoisted(() => vi.spyOn(Math, "random").mockReturnValue(0.4));

const KEY = ["rows"];
const ME = "me";

/** A state that everybody reads, and events of it. */
class World {
  private readonly all: Stage;
  private readonly rows: number[] = [];
  private readonly options: Partial<UseRealtimeSyncOptions>;
  private takesMs = 10;
  private enabled = true;
  private shown: RenderHookResult<number[] | undefined, { enabled: boolean }> | undefined;

  /** `jitter`: which part of a wait the client takes before it comes back. */
  constructor(options: Partial<UseRealtimeSyncOptions>, jitter: number) {
    this.options = options;
    this.all = stage({ random: () => jitter });
  }

  async run(step: Step): Promise<void> {
    if (step.do === "insert") for (let times = 0; times < step.times; times += 1) this.insert();
    else if (step.do === "mutate") await this.mutate(step.ms);
    else if (step.do === "fetchTakes") this.takesMs = step.ms;
    else if (step.do === "focus") act(() => void this.all.queryClient.refetchQueries({ queryKey: KEY }));
    else if (step.do === "cut") this.all.server.cut();
    else if (step.do === "reset") this.reset();
    else if (step.do === "show") this.show();
    else if (step.do === "hide") this.hide();
    else if (step.do === "toggle") this.toggle();
    await pass(step.do === "wait" ? step.ms : 0);
  }

  /** All has settled: what is shown then. */
  async outcome(): Promise<void> {
    this.show();
    if (!this.enabled) this.toggle();
    await pass(60_000);
    expect(this.shown?.result.current?.toSorted((a, b) => a - b)).toEqual(this.rows);
    this.hide();
    this.all.client.disconnect();
    this.all.queryClient.clear();
  }

  private insert(origin?: string): void {
    const row = this.rows.length;
    this.rows.push(row);
    this.all.server.emit({ channel: "rows", type: "row.created", payload: row, ...(origin && { origin }) });
  }

  /** A mutation of this page: shown at once, then committed; its echo is ignored. */
  private async mutate(ms: number): Promise<void> {
    if (!this.shown || !this.enabled) return;
    const add = (old: number[]): number[] => [...old, this.rows.length];
    await act(() => optimisticUpdate(this.all.queryClient, KEY, add));
    // What comes before the commit may take the change from the screen; a backend's answer would bring it back.
    await pass(ms);
    const row = this.rows.length;
    this.insert(ME);
    act(() => {
      const put = (old?: number[]): number[] | undefined => (old && !old.includes(row) ? [...old, row] : old);
      this.all.queryClient.setQueryData<number[]>(KEY, put);
    });
  }

  /** Something happens of which nobody is told but by a reset. */
  private reset(): void {
    this.rows.push(this.rows.length);
    this.all.server.reset("epoch");
  }

  private show(): void {
    const fetch = (): Promise<number[]> => this.fetch();
    this.shown ??= this.all.hook(({ enabled }: { enabled: boolean }) => useRows(fetch, { ...this.options, enabled }), {
      enabled: this.enabled,
    });
  }

  private hide(): void {
    this.shown?.unmount();
    this.shown = undefined;
  }

  private toggle(): void {
    this.enabled = !this.enabled;
    this.shown?.rerender({ enabled: this.enabled });
  }

  private async fetch(): Promise<number[]> {
    const rows = [...this.rows];
    await new Promise((resolve) => setTimeout(resolve, this.takesMs));
    return rows;
  }
}

/** What a component does that shows the rows. */
function useRows(queryFn: () => Promise<number[]>, options: Partial<UseRealtimeSyncOptions>): number[] | undefined {
  const { data } = useQuery({ queryKey: KEY, queryFn, staleTime: Number.POSITIVE_INFINITY });
  useRealtimeSync({ channel: "rows", queryKey: KEY, ignoreOrigin: ME, ...options } as UseRealtimeSyncOptions);
  return data;
}

type Step =
  | { do: "insert"; times: number }
  | { do: "mutate" | "wait" | "fetchTakes"; ms: number }
  | { do: "focus" | "cut" | "reset" | "show" | "hide" | "toggle" };

const ms = fc.constantFrom(0, 1, 10, 75, 149, 150, 151, 400, 2_100);
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ do: fc.constant("insert" as const), times: fc.integer({ min: 1, max: 3 }) }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant("wait" as const), ms }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constantFrom("mutate" as const, "fetchTakes" as const), ms }) },
  {
    weight: 4,
    arbitrary: fc.record({ do: fc.constantFrom("focus", "cut", "reset", "show", "hide", "toggle" as const) }),
  },
);

const append: UseRealtimeSyncOptions<number>["onEvent"] = ({ payload }, queryClient) =>
  queryClient.setQueryData<number[]>(KEY, (old) => (old && !old.includes(payload) ? [...old, payload] : old));

const env = (name: string): string | undefined => process.env[name];

test.each([
  ["invalidated", {}],
  ["collected", { debounceMs: 300 }],
  ["updated by a handler", { onEvent: append as NonNullable<UseRealtimeSyncOptions["onEvent"]> }],
])("what is shown in the end is what is there: %s", { timeout: 120_000 }, async (_, options) => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 30 }), fc.constantFrom(0.01, 0.3, 0.5, 1), async (steps, jitter) => {
      const world = new World(options, jitter);
      for (const each of [{ do: "show" } as const, ...steps]) await world.run(each);
      await world.outcome();
    }),
    {
      numRuns: Number(env("RUNS") ?? 100),
      ...(env("FC_SEED") && { seed: Number(env("FC_SEED")), path: env("FC_PATH") ?? "" }),
    },
  );
});
