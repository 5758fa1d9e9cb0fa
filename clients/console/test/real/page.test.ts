// What the page does with a server that asks nobody: what it teaches, how it finds its way back, narrow screens.

import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import type { Browser } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { isLive, launch, open, program, type Served, serve } from "./scene.js";

let server: Served;
let browser: Browser;

beforeAll(async () => {
  browser = await launch();
});
beforeEach(async () => {
  server = await serve();
});
afterEach(() => server?.stop());
afterAll(async () => browser?.close());

test("the command that the empty page shows makes an event arrive, and what it shows of it is true", async () => {
  const { page, errors } = await open(browser, server.url);
  await isLive(page);
  const command = await page.getByText(/^rowcast emit/).textContent();
  const statement = await page.getByText(/^INSERT INTO events/).textContent();
  expect(statement).toContain("(channel, type, payload) VALUES ('tasks', 'task.created'");
  const bin = join(mkdtempSync(join(tmpdir(), "rowcast-bin-")), "bin");
  mkdirSync(bin);
  symlinkSync(resolve(program()), join(bin, "rowcast"));
  execFileSync("sh", ["-c", command ?? ""], { env: { PATH: `${bin}:${process.env.PATH}` } });
  await page.getByRole("option", { name: /task\.created/ }).click();
  const details = page.getByRole("complementary");
  await details.getByText('"Order coffee"').waitFor();
  await details.getByText("tasks", { exact: true }).waitFor();

  await page.keyboard.press("2");
  const row = page.getByRole("row", { name: /^tasks/ });
  expect(await row.getByRole("cell").first().textContent()).toBe("1");
  await row.getByRole("button", { name: "Show tasks in the stream" }).click();
  await page.getByText("1 of 1 event").waitFor();

  await page.keyboard.press("3");
  await page.getByText("1 connection in all").waitFor();
  expect(await page.getByRole("row", { name: /WebSocket/ }).textContent()).toContain("Live");
  await page.keyboard.press("4");
  await page.getByRole("img", { name: /Events a second in the last five minutes/ }).waitFor();
  expect(errors).toEqual([]);
});

test("what changed between previous and payload is said member by member", async () => {
  const { page } = await open(browser, server.url);
  await isLive(page);
  await post({
    channel: "tasks",
    type: "task.updated",
    payload: { id: 1, title: "b", tags: ["x"] },
    previous: { id: 1, title: "a" },
  });
  await page.getByRole("option").click();
  const changes = await page.getByRole("complementary").getByRole("listitem").allTextContents();
  expect(changes.map((text) => text.replace(/\s+/g, " "))).toEqual(['~ title "a" → "b"', '+ tags added: ["x"]']);
});

test("what was stored before is shown on demand, once each", async () => {
  for (const n of [1, 2, 3]) server.emit("tasks", `stored.before${n}`);
  const { page } = await open(browser, server.url);
  await isLive(page);
  await page.getByRole("button", { name: "Show what is stored" }).click();
  await page.getByRole("option", { name: /before3/ }).waitFor();
  server.emit("tasks", "came.after");
  await page.getByRole("option", { name: /came\.after/ }).waitFor();
  const types = await page.getByRole("option").locator(".type").allTextContents();
  expect(types).toEqual(["stored.before1", "stored.before2", "stored.before3", "came.after"]);
});

test("an event that cannot be published is not sent, or is told why", async () => {
  const { page } = await open(browser, server.url);
  await isLive(page);
  await page.keyboard.press("5");
  const payload = page.getByRole("textbox", { name: "Payload" });
  await payload.fill("{nonsense");
  await page.getByText("The payload is not JSON").waitFor();
  expect(await page.getByRole("button", { name: "Publish", exact: true }).isDisabled()).toBe(true);
  await payload.fill('{"it\'s": 1}');
  await page.getByText(`'{"it''s":1}'`).waitFor();
  await page.getByRole("textbox", { name: "Channel" }).fill("not a channel!");
  await page.getByRole("button", { name: "Publish", exact: true }).click();
  await page.getByText("nothing was published").waitFor();
  await page.getByRole("textbox", { name: "Channel" }).fill("tasks");
  await page.getByRole("button", { name: "Publish", exact: true }).click();
  await page.getByText("Published as row 1.").waitFor();
});

test("it comes back by itself after a cut, and misses nothing", async () => {
  const { page } = await open(browser, server.url);
  await isLive(page);
  server.emit("tasks", "before.cut");
  await page.getByRole("option", { name: /before\.cut/ }).waitFor();
  await page.context().setOffline(true);
  await page.evaluate(() => dispatchEvent(new Event("offline")));
  server.emit("tasks", "while.away");
  await page.getByText("The server does not answer.").waitFor();
  await page.context().setOffline(false);
  await page.getByRole("option", { name: /while\.away/ }).waitFor();
  await isLive(page);
  const types = await page.getByRole("option").locator(".type").allTextContents();
  expect(types).toEqual(["before.cut", "while.away"]);
});

test("where no WebSocket gets through, events come all the same", async () => {
  const context = await browser.newContext();
  await context.addInitScript(() => {
    // As with a proxy that hangs up on an upgrade.
    const Real = WebSocket;
    window.WebSocket = class extends Real {
      constructor(url: string | URL, protocols?: string | string[]) {
        const nowhere = new URL("/healthz", url);
        super(nowhere, protocols);
      }
    };
  });
  const page = await context.newPage();
  const subscribed = page.waitForResponse(/\/sse\?/);
  await page.goto(`${server.url}/`);
  await isLive(page);
  await subscribed;
  server.emit("tasks", "came.otherwise");
  await page.getByRole("option", { name: /came\.otherwise/ }).waitFor();
  await page.keyboard.press("3");
  await page.getByRole("row", { name: /SSE/ }).waitFor();
  await context.close();
});

test("on a narrow screen nothing sticks out", async () => {
  const { page } = await open(browser, server.url, { width: 380, height: 700 });
  await isLive(page);
  server.emit("project:7:tasks", "task.with.a.long.name.created", { text: "x".repeat(2_000) });
  await page.getByRole("option").click();
  await page.getByRole("complementary").waitFor();
  for (const key of ["1", "2", "3", "4", "5", "6"]) {
    await page.keyboard.press(key);
    await page.getByRole("tabpanel").waitFor();
    const width = await page.evaluate(() => document.documentElement.scrollWidth);
    expect(width, `pane ${key}`).toBeLessThanOrEqual(380);
  }
});

test("what events contain is text, and never a part of the page", async () => {
  const { page, errors } = await open(browser, server.url);
  await isLive(page);
  const evil = "<img src=x onerror=alert(1)><script>alert(2)</script>";
  await post({
    channel: "tasks",
    type: "evil",
    actor: evil,
    entityId: evil,
    payload: { [evil]: evil },
    previous: evil,
  });
  await page.getByRole("option").click();
  await page.getByRole("complementary").getByText(evil).first().waitFor();
  expect(await page.locator("img:not([alt=''])").count()).toBe(0);
  expect(await page.locator("script").count()).toBe(1);
  expect(errors).toEqual([]);
});

async function post(event: unknown): Promise<void> {
  const response = await fetch(`${server.url}/events`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(event),
  });
  expect(response.status, await response.text()).toBe(201);
}
