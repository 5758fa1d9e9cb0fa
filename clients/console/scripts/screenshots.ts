// Takes the pictures of the README from the real page: a server of its own, a little life in its feed, light and dark.
// `ROWCAST=../../target/release/rowcast npm run screenshots -w console`.

import { mkdirSync, statSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { isLive, launch, open, type Served, serve } from "../test/real/scene.js";

const FOLDER = fileURLToPath(new URL("../../../docs/images/", import.meta.url));
const SIZE = { width: 1120, height: 600 };

/** A picture of a README is loaded by everybody who reads it. */
const BYTES_MAX = 200_000;

const TITLES = [
  "Write the release notes",
  "Fix the login page",
  "Order coffee",
  "Plan the offsite",
  "Review the budget",
];
const TEXTS = ["On it.", "Looks good to me!", "Can somebody check this?", "Done, please have a look.", "Lunch?"];
const PEOPLE = ["ada", "grace", "linus", "margaret"];
const STATES = ["open", "in progress", "in review", "done"];

/** Events before and after the one that is looked at. */
const EVENTS = 40;
const LOOKED_AT = 33;
const PACE_MS = 75;

mkdirSync(FOLDER, { recursive: true });
for (const colorScheme of ["light", "dark"] as const) {
  const server = await serve();
  const browser = await launch();
  try {
    const { page } = await open(browser, server.url, { colorScheme, ...SIZE });
    await isLive(page);
    for (let n = 0; n < EVENTS; n += 1) {
      await publish(server, eventOf(n));
      // The pace of people, so that there is a rate to be seen.
      await page.waitForTimeout(PACE_MS);
    }
    await page.getByRole("option", { name: "task.updated" }).last().waitFor();
    await page.getByText(`${EVENTS} events`).waitFor();
    await page
      .getByRole("option", { name: /Fix the login page/ })
      .last()
      .click();
    await page.getByRole("complementary").waitFor();
    await page.mouse.move(0, 0);
    await page.getByText(/ late$/).waitFor();
    const path = `${FOLDER}console-${colorScheme}.png`;
    await page.screenshot({ path });
    const { size } = statSync(path);
    process.stdout.write(`docs/images/console-${colorScheme}.png: ${size} bytes\n`);
    if (size > BYTES_MAX) throw new Error(`${path} has ${size} bytes; ${BYTES_MAX} are enough for a README`);
  } finally {
    await browser.close();
    server.stop();
  }
}

/** Something that a small team does. The same every time. */
function eventOf(n: number): Record<string, unknown> {
  const pick = <Item>(items: readonly Item[], of: number): Item | undefined => items[of % items.length];
  const actor = pick(PEOPLE, n * 7 + (n >> 2));
  const id = 1 + (n % 9);
  if (n === LOOKED_AT) {
    const task = { id: 2, title: "Fix the login page", estimate: 3, labels: ["bug"] };
    return {
      channel: "tasks project:7",
      type: "task.updated",
      entityId: "2",
      actor: "grace",
      payload: { ...task, status: "in review", labels: ["bug", "login"], reviewer: "ada" },
      previous: { ...task, status: "in progress" },
    };
  }
  switch (n % 6) {
    case 0:
    case 4:
      return {
        channel: `messages:${1 + (n % 3)}`,
        type: "message.created",
        entityId: `m${n}`,
        actor,
        payload: { room: 1 + (n % 3), text: pick(TEXTS, n >> 1) },
      };
    case 1:
    case 3:
      return {
        channel: "tasks project:7",
        type: "task.updated",
        entityId: String(id),
        actor,
        payload: { id, title: pick(TITLES, id), status: pick(STATES, n) },
        previous: { id, title: pick(TITLES, id), status: pick(STATES, n + 3) },
      };
    case 2:
      return {
        channel: "tasks project:7",
        type: n % 4 ? "task.created" : "task.deleted",
        entityId: String(id),
        actor,
        payload: { id, title: pick(TITLES, id), status: "open" },
      };
    default:
      return {
        channel: `inbox:${pick(PEOPLE, n)}`,
        type: "notification.created",
        entityId: `n${n}`,
        actor,
        payload: { text: `${actor} mentioned you` },
      };
  }
}

async function publish(server: Served, event: Record<string, unknown>): Promise<void> {
  const response = await fetch(`${server.url}/events`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(event),
  });
  if (response.status !== 201) throw new Error(`${response.status}: ${await response.text()}`);
}
