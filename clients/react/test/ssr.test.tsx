// @vitest-environment node
// On a server: nothing is opened, and the browser takes over what was rendered without a word.

import { createClient } from "@rowcast/client";
import { createTestServer } from "@rowcast/client/testing";
import { RowcastProvider, type RowcastProviderProps, useLostConnection, useRealtimeEvents } from "@rowcast/react";
import { ConnectionIndicator } from "@rowcast/react/indicator";
import { useRealtimeSync } from "@rowcast/react/tanstack";
import { QueryClient, QueryClientProvider, useQuery } from "@tanstack/react-query";
import { Window } from "happy-dom";
import { act, type ReactElement, StrictMode } from "react";
import { renderToString } from "react-dom/server";
import { expect, test, vi } from "vitest";

function Page(): ReactElement {
  const { connectionState, lastEvent } = useRealtimeEvents({ channels: ["tasks"], onEvent: () => {} });
  useQuery({ queryKey: ["tasks"], queryFn: () => "fetched", initialData: "initial" });
  useRealtimeSync({ channel: "tasks", queryKey: ["tasks"] });
  const isLost = useLostConnection();
  return (
    <main>
      <ConnectionIndicator />
      {connectionState} {lastEvent?.type} {String(isLost)}
    </main>
  );
}

const app = (props: RowcastProviderProps): ReactElement => (
  <StrictMode>
    <QueryClientProvider client={new QueryClient()}>
      <RowcastProvider {...props}>
        <Page />
      </RowcastProvider>
    </QueryClientProvider>
  </StrictMode>
);

test("a page is rendered in Node without a DOM, and hydrated without a mismatch", async () => {
  const server = createTestServer();
  const client = createClient({ url: "ws://test/ws", environment: server.environment });
  expect(typeof document).toBe("undefined");
  const html = renderToString(app({ options: { url: "ws://test/ws" } }));
  expect(html).toContain("disconnected");
  await vi.advanceTimersByTimeAsync(60_000);
  expect(server.attempts).toBe(0);

  const window = new Window();
  const globals = { window, document: window.document, navigator: window.navigator };
  for (const [name, value] of Object.entries(globals)) vi.stubGlobal(name, value);
  const { hydrateRoot } = await import("react-dom/client");
  window.document.body.innerHTML = `<div id="root">${html}</div>`;
  const container = window.document.getElementById("root") as unknown as HTMLElement;
  const onRecoverableError = vi.fn();
  // The browser may be connected before React comes to this part of the page.
  client.connect();
  await vi.advanceTimersByTimeAsync(0);
  const root = await act(async () => hydrateRoot(container, app({ client }), { onRecoverableError }));
  await act(() => vi.advanceTimersByTimeAsync(0));
  server.emit("tasks", "task.created");
  await act(() => vi.advanceTimersByTimeAsync(0));
  expect(container.textContent).toContain("connected task.created");
  expect(onRecoverableError).not.toHaveBeenCalled();
  await act(async () => root.unmount());
  client.disconnect();
  vi.unstubAllGlobals();
});
