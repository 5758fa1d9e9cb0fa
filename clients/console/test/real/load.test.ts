// The bars: 5,000 events a second for 10 s into a buffer that is full, and a search through all of it, without a task that
// anybody would notice, and without more memory afterwards.

import type { Browser, CDPSession, Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { isLive, launch, open, type Served, serve } from "./scene.js";
import { type Watched, watch } from "./watch.js";

const EVENTS_MAX = 100_000;
const RATE_PER_SECOND = 5_000;
const SECONDS = 10;

/** Milliseconds from one request that publishes to the next. */
const STEP_MS = 50;

/** Requests that publish, at a time. */
const REQUESTS_MAX = 4;

/** No task of the page may take longer. */
const TASK_MS_MAX = 100;

/** By how much the heap may have grown after 50,000 events came and 50,000 went. In bytes. */
const GROWTH_MAX = 8 * 1024 * 1024;

let server: Served;
let browser: Browser;
let page: Page;
let devtools: CDPSession;
let errors: string[];
let published = 0;

beforeAll(async () => {
  server = await serve();
  browser = await launch();
  ({ page, errors } = await open(browser, server.url));
  devtools = await page.context().newCDPSession(page);
  await isLive(page);
  while (published < EVENTS_MAX) await publish(1_000);
  await hasCome();
}, 120_000);

afterAll(async () => {
  await browser?.close();
  server?.stop();
});

test("5,000 events a second for 10 s: no long task, memory flat", async () => {
  const before = await heapBytes();
  let tookS = 0;
  const watched = await watch(browser, page, async () => {
    tookS = await publishSteadily();
    await hasCome();
  });
  const after = await heapBytes();
  report("5,000/s", watched, {
    rate: Math.round((RATE_PER_SECOND * SECONDS) / tookS),
    heapBefore: before,
    heapAfter: after,
  });
  expectNoLongTask(watched);
  if (!watched.isStarved) expect(tookS).toBeLessThan(SECONDS * 1.2);
  expect(after - before).toBeLessThan(GROWTH_MAX);
  expect(errors).toEqual([]);
});

test("a search through 100,000 events: no long task, and only what matches is shown", async () => {
  const search = page.getByRole("searchbox", { name: "Search all events" });
  const channel = page.getByRole("combobox", { name: "Filter by channel" });
  // Of the last 100,000 numbers, those that begin with 7777.
  const all = Array.from({ length: EVENTS_MAX }, (_, index) => `needle-${published - EVENTS_MAX + index}`);
  const count = all.filter((name) => name.includes("needle-7777")).length;
  const watched = await watch(browser, page, async () => {
    await search.pressSequentially("needle-7777", { delay: 30 });
    await page.getByText(`${count} of 100,000 events`).waitFor();
    await page.getByText("searching …").waitFor({ state: "detached" });
    const rows = await page.getByRole("option").allTextContents();
    expect(rows.length).toBe(count);
    for (const row of rows) expect(row).toContain("needle-7777");
    await search.fill("");
    await page.getByText(/^100,000 events/).waitFor();
    await channel.fill("load:3");
    await page.getByText("10,000 of 100,000 events").waitFor();
  });
  await channel.fill("");
  await page.getByText(/^100,000 events/).waitFor();
  report("search", watched);
  expectNoLongTask(watched);
});

test("scrolling up and down 100,000 rows: no long task, and rows stay where they are while others come", async () => {
  const list = page.getByRole("listbox");
  const frames = (): Promise<unknown> =>
    page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
  const watched = await watch(browser, page, async () => {
    for (let step = 0; step <= 50; step += 1) {
      await list.evaluate(
        (element, part) => {
          element.scrollTop = part * element.scrollHeight;
        },
        Math.abs(1 - step / 25) * 0.9,
      );
      await frames();
    }
  });
  await list.evaluate((element) => {
    element.scrollTop = element.scrollHeight / 2;
  });
  await frames();
  const seen = (): Promise<string | null> => list.getByRole("option").nth(8).locator(".payload").textContent();
  const before = await seen();
  await publish(1_000);
  await hasCome();
  expect(await seen()).toBe(before);
  report("scroll", watched);
  expectNoLongTask(watched);
});

function expectNoLongTask(watched: Watched): void {
  expect(watched.busiestMs).toBeLessThanOrEqual(TASK_MS_MAX);
  if (!watched.isStarved) expect(watched.longestMs).toBeLessThanOrEqual(TASK_MS_MAX);
}

/** Publishes 5,000 events a second for 10 s, if the server takes them; gives how long it took, in seconds. */
async function publishSteadily(): Promise<number> {
  const start = performance.now();
  const perStep = (RATE_PER_SECOND * STEP_MS) / 1_000;
  const underWay = new Set<Promise<void>>();
  for (let step = 0; step * perStep < RATE_PER_SECOND * SECONDS; step += 1) {
    const dueMs = step * STEP_MS - (performance.now() - start);
    // The pace of the load, and nothing that is waited for.
    if (dueMs > 1) await new Promise((resolve) => setTimeout(resolve, dueMs));
    const publishing = publish(perStep).finally(() => underWay.delete(publishing));
    underWay.add(publishing);
    if (underWay.size >= REQUESTS_MAX) await Promise.race(underWay);
  }
  await Promise.all(underWay);
  return (performance.now() - start) / 1_000;
}

/** Publishes so many events at once. */
async function publish(count: number): Promise<void> {
  const first = published;
  published += count;
  const events = Array.from({ length: count }, (_, index) => {
    const n = first + index;
    return {
      channel: `load:${n % 10}`,
      type: n % 3 ? "task.updated" : "task.created",
      entityId: `t${n % 1_000}`,
      actor: `user${n % 7}`,
      payload: { id: n, name: `needle-${n}`, title: "Write the release notes", done: n % 2 === 0, tags: ["a", "b"] },
      ...(n % 3 && { previous: { id: n, title: "Write notes", done: false } }),
    };
  });
  const response = await fetch(`${server.url}/events`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ events }),
  });
  if (response.status !== 201) throw new Error(`${response.status}: ${await response.text()}`);
}

/** Waits until the page says that it has all of them. */
async function hasCome(): Promise<void> {
  const text = published > EVENTS_MAX ? `the last of ${published.toLocaleString("en")}` : "100,000 events";
  await page.locator(".status-line").getByText(text).waitFor({ timeout: 60_000 });
}

async function heapBytes(): Promise<number> {
  // What is only held weakly goes with the second.
  await devtools.send("HeapProfiler.collectGarbage");
  await devtools.send("HeapProfiler.collectGarbage");
  const { usedSize } = (await devtools.send("Runtime.getHeapUsage")) as { usedSize: number };
  return usedSize;
}

function report(what: string, watched: Watched, more: Record<string, number> = {}): void {
  process.stdout.write(`${what}: ${JSON.stringify({ ...watched, ...more })}\n`);
}
