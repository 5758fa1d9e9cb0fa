// A server that asks for tokens: the page asks, says what is wrong with one, and shows what it may see and no more.

import type { Browser, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { isLive, launch, open, type Served, serve } from "./scene.js";

let server: Served;
let browser: Browser;

beforeAll(async () => {
  browser = await launch();
});
beforeEach(async () => {
  server = await serve({ isLocked: true });
});
afterEach(() => server?.stop());
afterAll(async () => browser?.close());

async function give(page: Page, token: string): Promise<void> {
  await page.getByRole("textbox", { name: "Token" }).fill(token);
  await page.getByRole("button", { name: "Look" }).click();
}

test("it asks for a token, says that a wrong one is wrong, and shows what a right one may see", async () => {
  const { page } = await open(browser, server.url);
  const urls: string[] = [];
  page.on("request", (request) => urls.push(request.url()));
  page.on("websocket", (socket) => urls.push(socket.url()));
  await page.getByRole("heading", { name: "This server asks for a token" }).waitFor();
  expect(await page.getByRole("tab").count()).toBe(0);

  await give(page, "nonsense");
  await page.getByRole("alert").filter({ hasText: "does not accept this one" }).waitFor();

  const token = server.mint("ann", "--channels", "tasks");
  await give(
    page,
    token.replace(/.$/, (last) => (last === "A" ? "B" : "A")),
  );
  await page.getByRole("alert").filter({ hasText: "does not accept this one" }).waitFor();

  await give(page, token);
  await isLive(page);
  await page.getByRole("button", { name: "Token of ann" }).waitFor();
  await page.getByText("Your token receives inbox:ann, tasks, user:ann.").waitFor();
  server.emit("secrets", "never.seen");
  server.emit("inbox:bob", "never.seen");
  server.emit("tasks", "is.seen");
  server.emit("inbox:ann", "is.seen.too");
  await page.getByRole("option", { name: /is\.seen\.too/ }).waitFor();
  const types = await page.getByRole("option").locator(".type").allTextContents();
  expect(types).toEqual(["is.seen", "is.seen.too"]);
  await page.keyboard.press("2");
  await page.getByRole("row", { name: /^tasks/ }).waitFor();
  expect(await page.getByRole("tabpanel").textContent()).not.toContain("secrets");

  // It is told of, kept for this tab, and in no URL.
  await page.keyboard.press("6");
  await page.getByText("It is a token of ann.").waitFor();
  expect(await page.content()).not.toContain(token);
  expect(await page.evaluate(() => JSON.stringify([localStorage, document.cookie]))).not.toContain(token);
  expect(urls.length).toBeGreaterThan(3);
  for (const url of [...urls, page.url()]) expect(url).not.toContain(token.slice(0, 20));
  await page.reload();
  await isLive(page);
  const other = await page.context().newPage();
  await other.goto(`${server.url}/`);
  await other.getByRole("heading", { name: "This server asks for a token" }).waitFor();
});

test("connections are those of the token's user", async () => {
  const kim = await open(browser, server.url);
  await give(kim.page, server.mint("kim", "--channels", "tasks"));
  await isLive(kim.page);
  const bob = await open(browser, server.url);
  await give(bob.page, server.mint("bob", "--channels", "tasks"));
  await isLive(bob.page);
  await bob.page.keyboard.press("3");
  await bob.page.getByText("2 connections in all, 1 of them yours").waitFor();
  await bob.page.getByText("Not all are shown").waitFor();
  expect(await bob.page.getByRole("tabpanel").textContent()).not.toContain("kim");
});

test("another token begins anew: nothing that the first one was shown is left", async () => {
  const { page } = await open(browser, server.url);
  await give(page, server.mint("ann", "--channels", "tasks"));
  await isLive(page);
  server.emit("tasks", "for.ann");
  await page.getByRole("option", { name: /for\.ann/ }).waitFor();
  await page.keyboard.press("6");
  await page.getByRole("textbox", { name: /Another token/ }).fill(server.mint("bob", "--channels", "projects"));
  await page.getByText("It is a token of bob.").waitFor();
  await page.getByRole("button", { name: "Use this one" }).click();
  await isLive(page);
  await page.getByRole("button", { name: "Token of bob" }).waitFor();
  expect(await page.locator("body").textContent()).not.toContain("for.ann");
  await page.keyboard.press("2");
  await page.getByRole("heading", { name: "Channels" }).waitFor();
  expect(await page.getByRole("tabpanel").textContent()).not.toContain("inbox:ann");
  await page.keyboard.press("6");
  await page.getByRole("button", { name: "Forget it" }).click();
  await page.getByRole("heading", { name: "This server asks for a token" }).waitFor();
  expect(await page.evaluate(() => sessionStorage.getItem("rowcast.console.token"))).toBeNull();
});

test("a token that may publish nothing is told which claim is missing; one that may, publishes as its user", async () => {
  const { page } = await open(browser, server.url);
  await give(page, server.mint("ann", "--channels", "tasks"));
  await isLive(page);
  await page.keyboard.press("5");
  await page.getByText('"publish": ["tasks"]').waitFor();
  await page.keyboard.press("6");
  await page
    .getByRole("textbox", { name: /Another token/ })
    .fill(server.mint("ann", "--channels", "tasks", "--publish", "tasks"));
  await page.getByRole("button", { name: "Use this one" }).click();
  await isLive(page);
  await page.keyboard.press("5");
  await page.getByText("Your token may publish to tasks.").waitFor();
  expect(await page.getByRole("textbox", { name: "Actor" }).count()).toBe(0);
  await page.getByRole("button", { name: "Publish", exact: true }).click();
  await page.getByText("Published as row 1.").waitFor();
  await page.keyboard.press("1");
  expect(await page.getByRole("option").locator(".actor").textContent()).toBe("ann");
});

test("a token that grants nothing is told which claim is missing, and how to make one that has it", async () => {
  server.stop();
  server = await serve({ isLocked: true, flags: ["--no-default-grants"] });
  const { page } = await open(browser, server.url);
  await give(page, server.mint("ann"));
  await page.getByRole("heading", { name: "Your token receives nothing" }).waitFor();
  await page.getByText('"channels": ["tasks", "project:7"]').waitFor();
  const command = await page.getByText(/^rowcast token mint/).textContent();
  const flags = command?.split(" --user ann ")[1]?.split(" ") ?? [];
  await page.keyboard.press("6");
  await page.getByRole("textbox", { name: /Another token/ }).fill(server.mint("ann", ...flags));
  await page.getByRole("button", { name: "Use this one" }).click();
  await page.getByText("Your token receives project:7, tasks.").waitFor();
  expect(await page.getByText("It has no claim channels").count()).toBe(0);
});

test("a token that expires is said to have, and another is asked for", async () => {
  const { page } = await open(browser, server.url);
  await give(page, server.mint("ann", "--channels", "tasks", "--for", "3s"));
  await isLive(page);
  await page.getByRole("alert").filter({ hasText: "expired" }).waitFor({ timeout: 30_000 });
  await page.getByText(/^Expired .* ago\.$/).waitFor();
  await give(page, server.mint("ann", "--channels", "tasks"));
  await isLive(page);
});
