// RowcastProvider: whose client it is, how long it lives, and what happens on a server.

import { createClient } from "@rowcast/client";
import { createTestServer, type TestServer } from "@rowcast/client/testing";
import {
  RowcastProvider,
  useClient,
  useConnectionStatus,
  useRealtimeEvents,
  useWebSocket,
  useWebSocketState,
  WebSocketProvider,
} from "@rowcast/react";
import { act, render, renderHook } from "@testing-library/react";
import * as React from "react";
import { type ComponentType, type ReactElement, type ReactNode, StrictMode, useState } from "react";
import { expect, test, vi } from "vitest";
import { pass, stage } from "./harness.js";

function Tasks(): ReactElement {
  const { connectionState, lastEvent } = useRealtimeEvents({ channels: ["tasks"] });
  return (
    <p>
      {connectionState} {lastEvent?.type}
    </p>
  );
}

test("the provider makes a client from options, once, and disconnects it at the end", async () => {
  const server = createTestServer();
  const options = { url: "ws://test/ws", environment: server.environment, reconnect: true, reconnectInterval: 5_000 };
  const { container, unmount, rerender } = render(
    <StrictMode>
      <WebSocketProvider options={options}>
        <Tasks />
      </WebSocketProvider>
    </StrictMode>,
  );
  await pass();
  server.emit("tasks", "task.created");
  await pass();
  expect(container.textContent).toBe("connected task.created");
  rerender(
    <StrictMode>
      <WebSocketProvider options={{ ...options }}>
        <Tasks />
      </WebSocketProvider>
    </StrictMode>,
  );
  await pass();
  expect(container.textContent).toBe("connected task.created");
  expect(server.attempts).toBe(1);
  unmount();
  await pass();
  expect(server.connections).toHaveLength(0);
});

test("it disconnects its client even if somebody connected it by hand", async () => {
  const server = createTestServer();
  const { result, unmount } = renderHook(() => useWebSocket(), {
    wrapper: ({ children }) => (
      <RowcastProvider options={{ url: "ws://test/ws", environment: server.environment }}>{children}</RowcastProvider>
    ),
  });
  act(() => result.current.connect());
  await pass();
  expect(server.connections).toHaveLength(1);
  unmount();
  await pass(60_000);
  expect(server.connections).toHaveLength(0);
});

test("a client of one's own outlives the provider", async () => {
  const server = createTestServer();
  const client = createClient({ url: "ws://test/ws", environment: server.environment });
  client.connect();
  const { unmount } = render(
    <RowcastProvider client={client}>
      <Tasks />
    </RowcastProvider>,
  );
  await pass();
  unmount();
  await pass(60_000);
  expect(client.status.state).toBe("connected");
  client.disconnect();
});

function Session({ server }: { server: TestServer }): ReactElement {
  const [user, setUser] = useState("ann");
  return (
    <RowcastProvider key={user} options={{ url: `ws://test/ws?user=${user}`, environment: server.environment }}>
      <Tasks />
      <button type="button" onClick={() => setUser("bob")} />
    </RowcastProvider>
  );
}

const { Activity } = React as { Activity?: ComponentType<{ mode: "visible" | "hidden"; children: ReactNode }> };

test.runIf(Activity)("a provider that React hides for a while goes on where it was", async () => {
  const server = createTestServer();
  const options = { url: "ws://test/ws", environment: server.environment };
  const Hideable = Activity as NonNullable<typeof Activity>;
  const page = (mode: "visible" | "hidden"): ReactElement => (
    <Hideable mode={mode}>
      <RowcastProvider options={options}>
        <Tasks />
      </RowcastProvider>
    </Hideable>
  );
  const { container, rerender } = render(page("visible"));
  await pass();
  rerender(page("hidden"));
  await pass(60_000);
  expect(server.connections).toHaveLength(0);
  rerender(page("visible"));
  await pass();
  server.emit("tasks", "task.created");
  await pass();
  expect(container.textContent).toBe("connected task.created");
});

test("another key is another client", async () => {
  const server = createTestServer();
  const { getByRole } = render(<Session server={server} />);
  await pass();
  expect(server.connections.map(({ url }) => new URL(url).searchParams.get("user"))).toEqual(["ann"]);
  act(() => getByRole("button").click());
  await pass();
  expect(server.connections.map(({ url }) => new URL(url).searchParams.get("user"))).toEqual(["bob"]);
});

test("nothing is opened while nobody listens", async () => {
  const { server, hook } = stage();
  const { result } = hook(() => [useWebSocketState(), useConnectionStatus().attempt, useClient().cursor]);
  await pass(60_000);
  expect(result.current).toEqual(["disconnected", 0, undefined]);
  expect(server.attempts).toBe(0);
});

test("hooks without a provider say what to do", () => {
  vi.mocked(console.error).mockImplementation(() => {});
  expect(() => renderHook(() => useRealtimeEvents())).toThrow(/put <RowcastProvider> above/);
  expect(() => renderHook(() => useWebSocket())).toThrow(/put <RowcastProvider> above/);
  expect(() => renderHook(() => useWebSocketState())).toThrow(/put <RowcastProvider> above/);
  vi.mocked(console.error).mockClear();
});

test("a client that is given needs no provider", async () => {
  const { server, client } = stage();
  const { result } = renderHook(() => [useWebSocketState(client), useRealtimeEvents({ client }).isConnected]);
  await pass();
  expect(result.current).toEqual(["connected", true]);
  expect(server.attempts).toBe(1);
});
