// What people see and hear of the connection, and when.

import { useLostConnection, useRealtimeEvents } from "@rowcast/react";
import { ConnectionIndicator, ConnectionIndicatorCompact } from "@rowcast/react/indicator";
import { act } from "@testing-library/react";
import type { ReactElement, ReactNode } from "react";
import { expect, test } from "vitest";
import { pass, stage } from "./harness.js";

function Page({ children }: { children: ReactNode }): ReactElement {
  useRealtimeEvents({ channels: ["tasks"] });
  return <>{children}</>;
}

test("a short cut is not told, a longer one is", async () => {
  const { server, show } = stage({ random: () => 1 });
  const { getByRole, queryByRole } = show(
    <Page>
      <ConnectionIndicator />
    </Page>,
  );
  await pass();
  const says = (): string | null => getByRole("status").textContent;
  expect(says()).toBe("Connected");
  const undo = server.refuse();
  server.cut();
  await pass(4_900);
  expect(says()).toBe("Connected");
  await pass(200);
  expect(says()).toBe("Reconnecting");
  expect(getByRole("status").getAttribute("aria-live")).toBe("polite");
  undo();
  act(() => getByRole("button", { name: "Reconnect" }).click());
  await pass();
  expect(says()).toBe("Connected");
  expect(queryByRole("button")).toBeNull();
});

test("cuts that come again and again, each shorter than the grace, are never told", async () => {
  const { server, show } = stage();
  const { getByRole } = show(
    <Page>
      <ConnectionIndicator hideWhenConnected />
    </Page>,
  );
  await pass();
  for (let cuts = 0; cuts < 20; cuts += 1) {
    server.cut();
    for (let ms = 0; ms < 6_000; ms += 500) {
      await pass(500);
      expect(getByRole("status").textContent).toBe("");
    }
  }
});

test("no network is told apart from no server", async () => {
  const { server, show } = stage();
  const { getByRole, queryByRole } = show(
    <Page>
      <ConnectionIndicator />
    </Page>,
  );
  await pass();
  server.goOffline();
  await pass(30_000);
  expect(getByRole("status").textContent).toBe("Offline");
  expect(queryByRole("button")).toBeNull();
  server.goOnline();
  await pass(1_000);
  expect(getByRole("status").textContent).toBe("Connected");
});

test("a refused token is told at once, with a button that tries again", async () => {
  const { server, show } = stage();
  const undo = server.refuse(4001, "token expired");
  const { getByRole } = show(
    <Page>
      <ConnectionIndicatorCompact hideWhenConnected />
    </Page>,
  );
  await pass();
  expect(getByRole("status").textContent).toBe("Error");
  undo();
  act(() => getByRole("button", { name: "Reconnect" }).click());
  await pass();
  expect(getByRole("status").textContent).toBe("");
});

test("hidden while connected: the place for news is there, and empty", async () => {
  const { server, show } = stage();
  const { getByRole, container } = show(
    <Page>
      <ConnectionIndicator hideWhenConnected />
    </Page>,
  );
  expect(container.textContent?.trim()).toBe("");
  await pass();
  expect(container.textContent?.trim()).toBe("");
  expect(container.querySelectorAll("span")).toHaveLength(2);
  server.refuse();
  server.cut();
  await pass(6_000);
  expect(getByRole("status").textContent).toMatch(/^Reconnecting/);
});

test("disconnecting by hand is told as that", async () => {
  const { client, show } = stage();
  const { getByRole, queryByRole } = show(
    <Page>
      <ConnectionIndicator />
    </Page>,
  );
  await pass();
  act(() => client.disconnect());
  await pass();
  expect(getByRole("status").textContent).toBe("Disconnected");
  await pass(6_000);
  expect(getByRole("status").textContent).toBe("Disconnected");
  expect(queryByRole("button")).toBeNull();
});

test("where nobody listens, no connection is missed", async () => {
  const { show } = stage();
  const { container } = show(<ConnectionIndicator hideWhenConnected />);
  await pass(60_000);
  expect(container.textContent?.trim()).toBe("");
});

test("words can be translated, and a class takes the place of our style", async () => {
  const { server, show } = stage();
  const { container, getByRole } = show(
    <Page>
      <ConnectionIndicator className="badge" labels={{ connected: "Verbunden", reconnecting: "Verbinde neu" }} />
    </Page>,
  );
  await pass();
  expect(container.firstElementChild?.className).toBe("badge");
  expect(container.firstElementChild?.getAttribute("style")).toBeNull();
  expect(getByRole("status").textContent).toBe("Verbunden");
  server.refuse();
  server.cut();
  await pass(6_000);
  expect(getByRole("status").textContent).toMatch(/^Verbinde neu/);
});

test("the compact one shows a dot, and says its word to screen readers and as a tooltip", async () => {
  const { show } = stage();
  const { container, getByRole } = show(
    <Page>
      <ConnectionIndicatorCompact />
    </Page>,
  );
  await pass();
  expect(getByRole("status").textContent).toBe("Connected");
  expect(getByRole("status").style.position).toBe("absolute");
  expect(container.firstElementChild?.getAttribute("title")).toBe("Connected");
});

test("text has a contrast of 4.5 and dots of 3 in every state", async () => {
  const { server, show, client } = stage();
  const { container } = show(
    <Page>
      <ConnectionIndicator />
    </Page>,
  );
  const check = (): void => {
    const frame = container.firstElementChild as HTMLElement;
    const dot = frame.querySelector("[aria-hidden]") as HTMLElement;
    expect(contrast(frame.style.color, frame.style.background)).toBeGreaterThan(4.5);
    expect(contrast(dot.style.color, frame.style.background)).toBeGreaterThan(3);
    expect(container.innerHTML).not.toMatch(/animation|transition/);
  };
  check();
  await pass();
  check();
  server.goOffline();
  await pass(30_000);
  check();
  act(() => client.disconnect());
  await pass(6_000);
  check();
});

test("a lost connection is told after its grace, until it is back", async () => {
  const { server, hook } = stage();
  const { result } = hook(() => {
    useRealtimeEvents({ channels: ["tasks"] });
    return useLostConnection({ graceMs: 1_000 });
  });
  expect(result.current).toBe(false);
  await pass(10_000);
  const undo = server.refuse();
  server.cut();
  await pass(900);
  expect(result.current).toBe(false);
  await pass(200);
  expect(result.current).toBe(true);
  undo();
  await pass(60_000);
  expect(result.current).toBe(false);
  server.cut();
  await pass(10);
  expect(result.current).toBe(false);
});

test("going away by hand is no lost connection", async () => {
  const { client, hook } = stage();
  const { result } = hook(() => {
    useRealtimeEvents({ channels: ["tasks"] });
    return useLostConnection();
  });
  await pass();
  act(() => client.disconnect());
  await pass(60_000);
  expect(result.current).toBe(false);
});

/** As WCAG defines it, from 1 to 21. */
function contrast(one: string, other: string): number {
  const [a, b] = [luminance(one), luminance(other)];
  return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
}

function luminance(color: string): number {
  const hex = color.replace(/^#(.)(.)(.)$/, "#$1$1$2$2$3$3");
  const [r = 0, g = 0, b = 0] = [1, 3, 5].map((at) => {
    const part = Number.parseInt(hex.slice(at, at + 2), 16) / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
