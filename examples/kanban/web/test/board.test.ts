// The board as people use it: two tabs in Chromium, and the real backend.

import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { after, before, beforeEach, test } from "node:test";
import { type Browser, type BrowserContext, chromium, type Locator, type Page } from "playwright-core";
import { type Backend, startBackend } from "./backend.js";

/** Longest wait for what must come to pass, in milliseconds. */
const PATIENCE_MS = 20_000;
/** Longest wait of the client between two attempts, and then some, in milliseconds. */
const RETRY_MS = 45_000;
/** Headless, and quiet. */
const ARGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-dev-shm-usage",
  "--disable-quic",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--no-first-run",
];

let backend: Backend;
let browser: Browser;
let contexts: BrowserContext[] = [];

before(async () => {
  backend = await startBackend();
  const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
  assert.ok(existsSync(executablePath), `${executablePath}: there is no Chromium; CHROMIUM says where it is`);
  browser = await chromium.launch({ executablePath, args: ARGS });
});

after(async () => {
  await browser?.close();
  await backend?.stop();
});

beforeEach(async () => {
  await Promise.all(contexts.map((context) => context.close()));
  contexts = [];
});

/** A window of a user of its own. What goes wrong in it fails the test. */
async function open(options: { colorScheme?: "light" | "dark" } = {}): Promise<Page> {
  const context = await browser.newContext(options);
  context.setDefaultTimeout(PATIENCE_MS);
  contexts.push(context);
  const page = await context.newPage();
  page.on("pageerror", (error) => assert.fail(`in the page: ${error.stack}`));
  await page.goto(backend.url);
  await page.getByText("Live", { exact: true }).waitFor();
  return page;
}

const column = (page: Page, name: string): Locator => page.getByRole("region", { name });
const card = (page: Page, name: string, title: string): Locator =>
  column(page, name).getByRole("listitem", { name: title, exact: true });

async function add(page: Page, name: string, title: string): Promise<void> {
  const input = page.getByLabel(`Add a card to ${name}`);
  await input.fill(title);
  await input.press("Enter");
  await card(page, name, title).waitFor();
}

/** The titles of a column, from above. */
async function titles(page: Page, name: string): Promise<string[]> {
  return column(page, name).getByRole("listitem").locator("span").allTextContents();
}

async function hasFocus(element: Locator): Promise<void> {
  await until(`${element} has the focus`, () => element.evaluate((found) => found === document.activeElement));
}

async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  const end = Date.now() + PATIENCE_MS;
  while (!(await holds())) {
    assert.ok(Date.now() < end, `not within ${PATIENCE_MS} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

test("what one tab does, the other shows: adding, dragging, renaming, deleting", async () => {
  const [one, two] = await Promise.all([open(), open()]);
  const name = await one.locator("header b").textContent();
  await add(one, "To do", "shared");
  await card(two, "To do", "shared").waitFor();

  await card(one, "To do", "shared").dragTo(column(one, "Done").getByRole("heading"));
  await card(two, "Done", "shared").waitFor();
  assert.deepEqual(await titles(two, "To do"), await titles(one, "To do"));
  await two.getByRole("complementary").getByText(`${name} moved “shared” to Done`).waitFor();
  await card(two, "Done", "shared").getByText(`by ${name}`).waitFor();

  await card(two, "Done", "shared").dblclick();
  await two.getByLabel("Title").fill("renamed");
  await two.keyboard.press("Enter");
  await card(one, "Done", "renamed").waitFor();

  await one.getByRole("button", { name: "Delete renamed" }).click();
  await card(two, "Done", "renamed").waitFor({ state: "detached" });
  // Its own echo told the first tab nothing new, and the board is the same after a reload.
  await Promise.all([one.reload(), two.reload()]);
  await card(one, "Done", "Start the board").waitFor();
  assert.deepEqual(await titles(one, "Done"), ["Start the board"]);
});

test("a change is shown before the server has it, and once", async () => {
  const [one, two] = await Promise.all([open(), open()]);
  await add(one, "To do", "early");
  await card(two, "To do", "early").waitFor();
  let answer = (): void => {};
  const held = new Promise<void>((resolve) => (answer = resolve));
  await one.route("**/api/cards/**", async (route) => {
    await held;
    await route.continue();
  });
  await card(one, "To do", "early").press("ArrowRight");
  await card(one, "Doing", "early").waitFor();
  assert.equal(await card(two, "To do", "early").count(), 1);
  answer();
  await card(two, "Doing", "early").waitFor();
  assert.equal(await one.getByRole("listitem", { name: "early", exact: true }).count(), 1);
});

test("changes reach the server in the order in which they were made", async () => {
  const [one, two] = await Promise.all([open(), open()]);
  await add(one, "To do", "quick");
  await card(two, "To do", "quick").waitFor();
  let isFirst = true;
  await one.route("**/api/cards/**", async (route) => {
    // Long enough for another one to overtake the first, if it could.
    if (isFirst) setTimeout(() => void route.continue(), 500);
    else await route.continue();
    isFirst = false;
  });
  await card(one, "To do", "quick").press("ArrowRight");
  await card(one, "Doing", "quick").press("ArrowRight");
  await card(one, "Done", "quick").waitFor();
  const moves = two.getByRole("complementary").getByText("moved “quick” to");
  await moves.nth(1).waitFor();
  await card(two, "Done", "quick").waitFor();
  assert.equal(await card(one, "Done", "quick").count(), 1);
});

test("a title that is being typed stays when somebody else moves the card", async () => {
  const [one, two] = await Promise.all([open(), open()]);
  await add(one, "To do", "theirs");
  await card(two, "To do", "theirs").waitFor();
  await card(one, "To do", "theirs").press("Enter");
  await one.getByLabel("Title").fill("our");
  await card(two, "To do", "theirs").press("ArrowRight");
  await column(one, "Doing").getByLabel("Title").waitFor();
  await one.keyboard.type("s");
  await one.keyboard.press("Enter");
  await card(two, "Doing", "ours").waitFor();
  await hasFocus(card(one, "Doing", "ours"));
});

test("a move that the server refuses is taken back, and told", async () => {
  const [one, two] = await Promise.all([open(), open()]);
  const title = "fail: the server refuses to move this one";
  let answer = (): void => {};
  const held = new Promise<void>((resolve) => (answer = resolve));
  await one.route("**/api/cards/**", async (route) => {
    await held;
    await route.continue();
  });
  await card(one, "Doing", title).press("ArrowRight");
  await card(one, "Done", title).waitFor();
  // What others do meanwhile neither takes it back, nor is taken back with it.
  await add(two, "Doing", "of another");
  await card(one, "Doing", "of another").waitFor();
  assert.equal(await card(one, "Done", title).count(), 1);
  answer();
  await one.getByRole("alert").getByText("Taken back: the server refuses to move a card").waitFor();
  await card(one, "Doing", title).waitFor();
  assert.equal(await card(one, "Done", title).count(), 0);
  assert.equal(await card(two, "Doing", title).count(), 1);
  assert.equal(await card(one, "Doing", "of another").count(), 1);
  // The focus has come back with it.
  await hasFocus(card(one, "Doing", title));
  await one.getByRole("button", { name: "OK" }).click();
  await one.getByRole("alert").waitFor({ state: "detached" });
});

test("offline: a banner says so, and what happened meanwhile is there afterwards", async () => {
  const [one, two] = await Promise.all([open(), open()]);
  const context = one.context();
  await context.setOffline(true);
  await one.getByText("You are offline.").waitFor();
  await add(two, "To do", "while away");
  // What is done offline is shown, and sent later.
  const input = one.getByLabel("Add a card to Doing");
  await input.fill("done offline");
  await input.press("Enter");
  await card(one, "Doing", "done offline").waitFor();
  assert.equal(await card(two, "Doing", "done offline").count(), 0);

  await context.setOffline(false);
  await one.getByText("You are offline.").waitFor({ state: "detached" });
  await card(one, "To do", "while away").waitFor();
  await card(two, "Doing", "done offline").waitFor();
  await card(one, "Doing", "done offline").waitFor();
});

test("a server that goes away and comes back is waited for", async () => {
  const one = await open();
  await backend.kill();
  await one.getByText("The server does not answer.").waitFor();
  await backend.start();
  // Whoever opens the page now, and changes something, is heard of by the one that was there before.
  const two = await open();
  await add(two, "Done", "after the restart");
  await card(one, "Done", "after the restart").waitFor({ timeout: RETRY_MS });
  await one.getByText("The server does not answer.").waitFor({ state: "detached" });
});

test("with the keyboard alone", async () => {
  const one = await open();
  for (const title of ["first", "second"]) await add(one, "Done", title);
  const before = await titles(one, "Done");
  await card(one, "Done", "second").focus();
  await one.keyboard.press("ArrowUp");
  await until("second is above first", async () => {
    const now = await titles(one, "Done");
    return now.indexOf("second") < now.indexOf("first") && now.length === before.length;
  });
  // The focus goes along, wherever the card goes.
  for (const [key, where] of [
    ["ArrowLeft", "Doing"],
    ["ArrowLeft", "To do"],
    ["ArrowRight", "Doing"],
  ] as const) {
    await one.keyboard.press(key);
    await card(one, where, "second").waitFor();
    await hasFocus(card(one, where, "second"));
  }
  // Escape leaves the title as it is; the focus is on the card again after either key.
  await one.keyboard.press("Enter");
  await one.getByLabel("Title").fill("zweite");
  await one.keyboard.press("Escape");
  await hasFocus(card(one, "Doing", "second"));
  await one.keyboard.press("Enter");
  await one.getByLabel("Title").fill("zweite");
  await one.keyboard.press("Enter");
  await hasFocus(card(one, "Doing", "zweite"));
  await one.keyboard.press("Delete");
  await card(one, "Doing", "zweite").waitFor({ state: "detached" });
  await hasFocus(column(one, "Doing").locator(":focus"));
});

for (const colorScheme of ["light", "dark"] as const) {
  test(`texts can be read on a ${colorScheme} page`, async () => {
    const page = await open({ colorScheme });
    await page.context().setOffline(true);
    await page.getByText("You are offline.").waitFor();
    const faults = await page.evaluate(contrasts);
    assert.deepEqual(faults, []);
  });
}

/** Texts with less contrast than WCAG's 4.5:1, in the page. */
function contrasts(): string[] {
  const channels = (color: string): number[] => (color.match(/[\d.]+/g) ?? []).map(Number);
  const luminance = (color: string): number => {
    const [r = 0, g = 0, b = 0] = channels(color).map((value) =>
      value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4,
    );
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element: Element | null): string => {
    for (let at = element; at; at = at.parentElement) {
      const { backgroundColor } = getComputedStyle(at);
      if ((channels(backgroundColor)[3] ?? 1) > 0) return backgroundColor;
    }
    return "rgb(255, 255, 255)";
  };
  const faults: string[] = [];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = texts.nextNode(); node; node = texts.nextNode()) {
    const element = node.parentElement;
    if (!element || !node.textContent?.trim()) continue;
    const [a, b] = [luminance(getComputedStyle(element).color), luminance(ground(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) faults.push(`${ratio.toFixed(2)}: ${node.textContent}`);
  }
  return faults;
}
