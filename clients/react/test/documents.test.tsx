// What others have written for the hooks of their own servers works with ours.

import { createTestServer } from "@rowcast/client/testing";
import { QueryClient } from "@tanstack/react-query";
import { act, render, renderHook } from "@testing-library/react";
import type { ReactElement, ReactNode } from "react";
import { expect, test, vi } from "vitest";
import { ConnectionStatus, NewTask, type Task, TaskList } from "./documents/polling-channels.js";
import {
  type Gift,
  Indicators,
  ListDetailPage,
  Log,
  RootLayout,
  useAppended,
  useDebounced,
  useGifts,
  usePolled,
  useSelected,
  useUpdateGift,
} from "./documents/topics.js";
import { pass, stage } from "./harness.js";

test("channels: a list of tasks follows what happens to tasks, and only that", async () => {
  const { server, show } = stage();
  const rows: Task[] = [{ id: "1", title: "Coffee" }];
  const api = { tasks: vi.fn(async () => [...rows]), createTask: vi.fn(async () => {}) };
  const { getAllByRole } = show(<TaskList api={api} />);
  const titles = (): (string | null)[] => getAllByRole("listitem").map(({ textContent }) => textContent);
  await pass();
  rows.push({ id: "2", title: "Tea" });
  server.emit("tasks", "task.created", rows[1]);
  await pass(100);
  expect(titles()).toEqual(["Coffee", "Tea"]);
  rows[0] = { id: "1", title: "Espresso" };
  server.emit("tasks", "task.updated", rows[0]);
  await pass(100);
  expect(titles()).toEqual(["Espresso", "Tea"]);
  const fetches = api.tasks.mock.calls.length;
  server.emit("plans", "plan.created");
  await pass(100);
  expect(api.tasks.mock.calls.length).toBe(fetches);
});

test("channels: a mutation is shown at once, taken back when it fails, and fetched in the end", async () => {
  const { show } = stage();
  const api = { tasks: vi.fn(async () => [{ id: "1", title: "Coffee" }]), createTask: vi.fn(async () => {}) };
  const { getByRole, container } = show(
    <>
      <TaskList api={api} />
      <NewTask api={api} task={{ id: "2", title: "Tea" }} />
    </>,
  );
  await pass();
  api.createTask.mockImplementationOnce(() => new Promise((_, reject) => setTimeout(reject, 100, new Error("no"))));
  act(() => getByRole("button").click());
  await pass(50);
  expect(container.querySelector("ul")?.textContent).toBe("CoffeeTea");
  await pass(1_000);
  expect(container.querySelector("ul")?.textContent).toBe("Coffee");
});

test("channels: the state of the connection is shown", async () => {
  const { client, show } = stage();
  const { container } = show(<ConnectionStatus />);
  expect(container.textContent).toBe("Status: disconnected");
  act(() => client.connect());
  await pass();
  expect(container.textContent).toBe("Status: connected");
});

/** What the pages of topics live in. */
function topics() {
  vi.spyOn(console, "debug").mockImplementation(() => {});
  const server = createTestServer();
  const queryClient = new QueryClient({ defaultOptions: { queries: { retry: false } } });
  const rows: Gift[] = [{ id: "g1", list_id: "123", name: "Book" }];
  const apiClient = { get: vi.fn(async () => [...rows]), patch: vi.fn(async () => {}) };
  const wrapper = ({ children }: { children: ReactNode }): ReactElement => (
    <RootLayout queryClient={queryClient} environment={server.environment}>
      {children}
    </RootLayout>
  );
  return { server, queryClient, rows, apiClient, wrapper };
}

test("topics: a page shows what the backend inserts", async () => {
  const { server, rows, apiClient, wrapper } = topics();
  const { container } = render(<ListDetailPage params={{ id: "7" }} apiClient={apiClient} />, { wrapper });
  await pass(500);
  expect(container.textContent).toBe("Book");
  rows.push({ id: "g2", list_id: "7", name: "Ball" });
  server.emit("list-items:7", "list-item.created", rows[1]);
  await pass(200);
  expect(container.textContent).toBe("Book,Ball");
});

test("topics: by hand, with the state of the connection", async () => {
  const { server, wrapper } = topics();
  const { getByRole } = render(<Log />, { wrapper });
  await pass();
  server.emit({ channel: "gift-list:123", type: "gift.updated", entityId: "g1" });
  await pass();
  expect(getByRole("status").textContent).toBe("connected Event: UPDATED g1");
  act(() => getByRole("button", { name: "Unsubscribe" }).click());
  server.emit({ channel: "gift-list:123", type: "gift.updated", entityId: "g2" });
  await pass();
  expect(getByRole("status").textContent).toBe("connected Event: UPDATED g1");
  act(() => getByRole("button", { name: "Disconnect" }).click());
  await pass();
  expect(getByRole("status").textContent).toMatch(/^disconnected/);
  act(() => getByRole("button", { name: "Connect" }).click());
  await pass();
  expect(getByRole("status").textContent).toMatch(/^connected/);
});

test("topics: the cache is updated directly, or fetched, by choice or late", async () => {
  const { server, queryClient, rows, apiClient, wrapper } = topics();
  queryClient.setQueryData(["gifts", "123"], []);
  const heard: string[] = [];
  const appended = renderHook(
    () => {
      useSelected(({ event }) => heard.push(event));
      return useAppended();
    },
    { wrapper },
  );
  await pass(500);
  server.emit("gift-list:123", "gift.created", { name: "Ball" });
  server.emit("gift:456", "gift.deleted");
  server.emit({ channel: "gift:456", type: "gift.updated", payload: { status: "b" }, previous: { status: "a" } });
  await pass();
  expect(appended.result.current).toEqual([{ name: "Ball" }]);
  expect(heard).toEqual(["STATUS_CHANGED"]);
  appended.unmount();

  const gifts = renderHook(() => useGifts("123", apiClient).data, { wrapper });
  await pass(500);
  rows.push({ id: "g2", list_id: "123", name: "Bike" });
  server.emit("gift-list:123", "gift.created");
  await pass(100);
  expect(gifts.result.current?.map(({ name }) => name)).toEqual(["Book", "Bike"]);
  gifts.unmount();

  const late = renderHook(() => useDebounced(), { wrapper });
  await pass(500);
  queryClient.setQueryData(["gifts", "123"], []);
  server.emit("gift-list:123", "gift.created");
  await pass(490);
  expect(queryClient.getQueryState(["gifts", "123"])?.isInvalidated).toBe(false);
  await pass(10);
  expect(queryClient.getQueryState(["gifts", "123"])?.isInvalidated).toBe(true);
  late.unmount();
});

test("topics: an update is shown at once, and rolled back when it fails", async () => {
  const { apiClient, queryClient, wrapper } = topics();
  const { result } = renderHook(() => ({ update: useUpdateGift(apiClient), gifts: useGifts("123", apiClient).data }), {
    wrapper,
  });
  await pass(1_000);
  apiClient.patch.mockImplementationOnce(() => new Promise((_, reject) => setTimeout(reject, 100, new Error("no"))));
  act(() => result.current.update.mutate({ id: "g1", list_id: "123", name: "Comic" }));
  await pass(50);
  expect(result.current.gifts?.[0]?.name).toBe("Comic");
  await pass(100);
  expect(result.current.gifts?.[0]?.name).toBe("Book");
  expect(queryClient.isFetching()).toBe(0);
});

test("topics: polling begins without a connection", async () => {
  const { server, apiClient, wrapper } = topics();
  server.refuse();
  renderHook(
    () => {
      useGifts("123", apiClient);
      usePolled();
    },
    { wrapper },
  );
  await pass(20_500);
  expect(apiClient.get).toHaveBeenCalledTimes(3);
});

test("topics: indicators show", async () => {
  const { wrapper } = topics();
  const { getAllByRole } = render(
    <>
      <Log />
      <Indicators />
    </>,
    { wrapper },
  );
  await pass();
  expect(getAllByRole("status").map(({ textContent }) => textContent)).toEqual([
    "connected ",
    "Connected",
    "Connected",
    "",
  ]);
});
