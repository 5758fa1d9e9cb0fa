// Who cannot use a mouse, or does not see the page: the whole of it by the keyboard, names of all controls, contrast.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import type { AxeResults, RunOptions } from "axe-core";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { isLive, launch, open, type Served, serve } from "./scene.js";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const PANES = ["Stream", "Channels", "Connections", "Charts", "Publish", "Token"];

let server: Served;
let locked: Served;
let browser: Browser;

beforeAll(async () => {
  [server, locked, browser] = await Promise.all([serve(), serve({ isLocked: true }), launch()]);
});

afterAll(async () => {
  await browser?.close();
  server?.stop();
  locked?.stop();
});

describe.each(["light", "dark"] as const)("in %s", (colorScheme) => {
  test("nothing that axe knows of is wrong with any pane", async () => {
    const { page, errors } = await open(browser, server.url, { colorScheme });
    await isLive(page);
    await expectAccessible(page, "the empty stream");
    server.emit("tasks", "task.created", { title: "Order coffee", count: 3, done: false, by: null });
    server.emit("messages:1 project:7", "message.deleted");
    await page.getByRole("option").nth(1).waitFor();
    await page.keyboard.press("j");
    await page.keyboard.press("Enter");
    await page.getByRole("complementary").waitFor();
    await expectAccessible(page, "the stream with details");
    await page.keyboard.press("?");
    await page.getByRole("dialog").waitFor();
    await expectAccessible(page, "help");
    await page.keyboard.press("Escape");
    for (const [index, pane] of PANES.entries()) {
      await page.keyboard.press(String(index + 1));
      await page.getByRole("tab", { name: pane, selected: true }).waitFor();
      await expectAccessible(page, pane);
    }
    await page.keyboard.press("1");
    await page.keyboard.press("/");
    await page.keyboard.type("found nowhere");
    await page.getByText("None of 2 events matches").waitFor();
    await expectAccessible(page, "a search without results");
    expect(errors).toEqual([]);
    await page.context().close();
  });

  test("nor with asking for a token, and what a token is told", async () => {
    const { page } = await open(browser, locked.url, { colorScheme });
    await page.getByRole("heading", { name: "asks for a token" }).waitFor();
    await expectAccessible(page, "asking for a token");
    await page.getByRole("textbox", { name: "Token" }).fill(locked.mint("ann", "--channels", "tasks"));
    await expectAccessible(page, "a token, decoded");
    await page.getByRole("button", { name: "Look" }).click();
    await isLive(page);
    await page.keyboard.press("6");
    await expectAccessible(page, "the token in use");
    await page.keyboard.press("5");
    await expectAccessible(page, "may not publish");
    await page.context().close();
  });
});

test("all is done by the keyboard alone", async () => {
  const { page } = await open(browser, server.url);
  const { keyboard } = page;
  await isLive(page);
  const focused = (): Promise<string> =>
    page.evaluate(
      () => document.activeElement?.getAttribute("aria-label") ?? document.activeElement?.textContent ?? "",
    );

  // Publish: to the form, through its fields, and back to the stream.
  await keyboard.press("5");
  await page.getByRole("tab", { name: "Publish", selected: true }).waitFor();
  while ((await page.evaluate(() => document.activeElement?.tagName)) !== "INPUT") await keyboard.press("Tab");
  await keyboard.press("Control+A");
  await keyboard.type("keys:1");
  await keyboard.press("Tab");
  await keyboard.press("Control+A");
  await keyboard.type("key.pressed");
  await keyboard.press("Control+Enter");
  await page.getByText("Published as row").waitFor();
  await keyboard.type("12");
  expect(await page.getByRole("textbox", { name: "Type" }).inputValue(), "keys of a field are the field's").toContain(
    "12",
  );

  await keyboard.press("Tab");
  await keyboard.press("Tab");
  await keyboard.press("Tab");
  await keyboard.press("Tab");
  expect(await focused()).toBe("Publish");
  await keyboard.press("Enter");
  await keyboard.press("1");
  await page.getByRole("option", { name: /key\.pressed12/ }).waitFor();

  // Move, look, close.
  for (let n = 0; n < 5; n += 1) server.emit("keys:2", `event.number${n}`, { n });
  await page.getByRole("option", { name: /event\.number4/ }).waitFor();
  const selected = page.getByRole("option", { selected: true });
  await keyboard.press("Home");
  expect(await selected.textContent()).toContain("key.pressed");
  await keyboard.press("j");
  await keyboard.press("ArrowDown");
  await keyboard.press("j");
  await keyboard.press("k");
  expect(await selected.textContent()).toContain("event.number0");
  await keyboard.press("Enter");
  await page.getByRole("complementary", { name: "Details of the event" }).getByText("event.number0").waitFor();
  await keyboard.press("j");
  await page.getByRole("complementary").getByText("event.number1").waitFor();
  await keyboard.press("Escape");
  await page.getByRole("complementary").waitFor({ state: "detached" });

  // Pause, and go on.
  await keyboard.press("Space");
  await page.getByRole("button", { name: "Resume" }).waitFor();
  server.emit("keys:3", "while.paused");
  await page.getByText("paused: 1 event came since").waitFor();
  expect(await page.getByRole("option", { name: /while\.paused/ }).count()).toBe(0);
  await keyboard.press("Space");
  await page.getByRole("option", { name: /while\.paused/ }).waitFor();

  // Search, and leave the field.
  await keyboard.press("/");
  expect(await focused()).toBe("Search all events");
  await keyboard.type("number3");
  await page.getByText("1 of 8 events").waitFor();
  await keyboard.press("Escape");
  expect(await focused()).not.toBe("Search all events");

  // Help shows the keys, and takes them while it is there.
  await keyboard.press("?");
  await page.getByRole("dialog", { name: "Keys" }).waitFor();
  await keyboard.press("3");
  await keyboard.press("Escape");
  await page.getByRole("dialog").waitFor({ state: "hidden" });
  await page.getByRole("tab", { name: "Stream", selected: true }).waitFor();

  // The theme, and tabs by their arrows.
  await keyboard.press("t");
  expect(await page.evaluate(() => document.documentElement.dataset.theme)).toBe("light");
  await keyboard.press("t");
  expect(await page.evaluate(() => getComputedStyle(document.documentElement).colorScheme)).toBe("dark");
  while (!(await focused()).startsWith("Stream")) await keyboard.press("Tab");
  await keyboard.press("ArrowLeft");
  await page.getByRole("tab", { name: "Token", selected: true }).waitFor();
  await keyboard.press("ArrowRight");
  await page.getByRole("tab", { name: "Stream", selected: true }).waitFor();
  await page.context().close();
});

test("where the focus is can be seen, wherever it is", async () => {
  const { page } = await open(browser, server.url);
  await isLive(page);
  const seen = new Set<string>();
  for (let n = 0; n < 40; n += 1) {
    await page.keyboard.press("Tab");
    const { name, outline } = await page.evaluate(() => {
      const element = document.activeElement;
      if (!element || element === document.body) return { name: "", outline: 1 };
      const style = getComputedStyle(element);
      return {
        name: `${element.tagName} ${element.getAttribute("aria-label") ?? element.textContent}`,
        outline: style.outlineStyle === "none" ? 0 : Number.parseFloat(style.outlineWidth),
      };
    });
    expect(outline, name).toBeGreaterThanOrEqual(1);
    seen.add(name);
  }
  expect(seen.size).toBeGreaterThan(8);
  await page.context().close();
});

async function expectAccessible(page: Page, what: string): Promise<void> {
  await page.evaluate(AXE);
  const options: RunOptions = {
    runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    resultTypes: ["violations"],
  };
  const { violations } = await page.evaluate(
    (options) => (globalThis as unknown as { axe: { run(options: RunOptions): Promise<AxeResults> } }).axe.run(options),
    options,
  );
  const told = violations.flatMap(({ id, nodes }) =>
    nodes.map((node) => `${id}: ${node.html.slice(0, 200)} (${node.any.map(({ message }) => message).join("; ")})`),
  );
  expect(told, what).toEqual([]);
}
