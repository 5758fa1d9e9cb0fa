// A server, a client, a cache and a React tree for the tests of the hooks.

import { type Client, createClient } from "@rowcast/client";
import { createTestServer, type TestServer, type TestServerOptions } from "@rowcast/client/testing";
import { RowcastProvider } from "@rowcast/react";
import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { act, type RenderHookResult, type RenderResult, render, renderHook } from "@testing-library/react";
import { type ReactElement, type ReactNode, StrictMode } from "react";
import { vi } from "vitest";

/** All that a test of hooks talks to. */
export interface Stage {
  readonly server: TestServer;
  readonly client: Client;
  readonly queryClient: QueryClient;
  readonly show: (element: ReactElement) => RenderResult;
  readonly hook: <Result, Props>(
    use: (props: Props) => Result,
    initialProps?: Props,
  ) => RenderHookResult<Result, Props>;
  /** Frames of one type that the server has received, on whatever connection. */
  readonly sent: (type: string) => Readonly<Record<string, unknown>>[];
}

const STEP_MS = 500;

/** Lets time pass; what is under way arrives. */
export async function pass(ms = 0): Promise<void> {
  // Components render when `act` ends, so it must not take long.
  for (let left = ms; left >= 0; left -= STEP_MS) await act(() => vi.advanceTimersByTimeAsync(Math.min(left, STEP_MS)));
}

/** A server with one client, in StrictMode. */
export function stage(options: TestServerOptions = {}): Stage {
  const server = acting(createTestServer(options));
  const client = createClient({ url: "ws://test/ws", environment: server.environment });
  const queryClient = new QueryClient({ defaultOptions: { queries: { retry: false, refetchOnWindowFocus: false } } });
  const all = new Set<TestServer["connections"][number]>();
  const wrapper = ({ children }: { children: ReactNode }): ReactElement => (
    <StrictMode>
      <QueryClientProvider client={queryClient}>
        <RowcastProvider client={client}>{children}</RowcastProvider>
      </QueryClientProvider>
    </StrictMode>
  );
  return {
    server,
    client,
    queryClient,
    show: (element) => render(element, { wrapper }),
    hook: (use, initialProps) => renderHook(use, { wrapper, initialProps: initialProps as never }),
    sent: (type) => {
      for (const connection of server.connections) all.add(connection);
      return [...all].flatMap(({ frames }) => frames.filter((frame) => frame.type === type));
    },
  };
}

/** The same server; what it makes components do has been rendered when its functions return. */
function acting(server: TestServer): TestServer {
  const inAct = <Result,>(run: () => Result): Result => {
    const results: Result[] = [];
    act(() => void results.push(run()));
    return results[0] as Result;
  };
  const get = (target: TestServer, name: keyof TestServer): unknown => {
    const member: unknown = target[name];
    return typeof member === "function" ? (...given: unknown[]) => inAct(() => member.apply(target, given)) : member;
  };
  return new Proxy(server, { get: (target, name) => get(target, name as keyof TestServer) });
}
