// The table of docs/BENCHMARKS.md, of what is in target/bench. `node benches/peers/table.mjs` prints it, and measures
// nothing.

import { copyFileSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

export const FOLDER = `${process.env.CARGO_TARGET_DIR ?? "target"}/bench`;

const DOCUMENT = "docs/BENCHMARKS.md";
/** The plot of the README. */
const PLOT = "docs/images/fanout.svg";
const BEGIN = "<!-- Written by benches/peers/run. -->";
const END = "<!-- Until here. -->";

/** What quick runs say is kept apart: it is in no document. */
export const QUICK_FOLDER = `${FOLDER}/quick`;

/** How servers are called for people, in the order of the table but for the figures. */
const TITLES = {
  limit: "the limit",
  rowcast: "**rowcast**",
  uwebsockets: "uWebSockets.js",
  nchan: "nchan",
  centrifuge: "Centrifuge (library of Centrifugo)",
  nats: "nats-server (WebSocket)",
  "ws-push": "node ws",
  "socket.io": "socket.io",
  mosquitto: "Mosquitto (WebSocket)",
  "ws-poll": "node ws that polls SQLite every 500 ms",
};

const MEASUREMENTS = ["batches", "channels", "latency", "connect", "idle"];

/** A column: its head, its measurement, and its cell of a server's report. */
const COLUMNS = [
  ["1 at a time", "batches", (server) => cost(server, 1)],
  ["10", "batches", (server) => cost(server, 10)],
  ["100", "batches", (server) => cost(server, 100)],
  ["1,000 channels", "channels", (server) => cost(server, 1)],
  ["latency p50 / p99", "latency", ({ sentMs }) => `${digits(sentMs.p50)} / ${digits(sentMs.p99)} ms`],
  ["connect", "connect", ({ cpuMicrosPerConnect }) => `${digits(cpuMicrosPerConnect?.median)} µs`],
  ["idle", "idle", ({ rssBytesPerClient }) => `${digits(rssBytesPerClient / 1024)} KB`],
];

export function table(folder = FOLDER) {
  const path = (name) => `${folder}/${name}.json`;
  const reports = Object.fromEntries(
    MEASUREMENTS.filter((name) => existsSync(path(name))).map((name) => [
      name,
      JSON.parse(readFileSync(path(name), "utf8")),
    ]),
  );
  const columns = COLUMNS.filter(([, name]) => name in reports);
  const lines = [
    `| server | ${columns.map(([head]) => head).join(" | ")} |`,
    `|---|${columns.map(() => "---:|").join("")}`,
  ];
  for (const [name, title] of Object.entries(TITLES)) {
    const cells = columns.map(([, measurement, cell]) => {
      const { servers, faulty } = reports[measurement];
      const server = servers.find((server) => server.name === name);
      if (server) {
        return cell(server);
      }
      return faulty.some((server) => server.name === name) ? "fails" : "–";
    });
    if (cells.some((cell) => cell !== "–")) {
      lines.push(`| ${title} | ${cells.join(" | ")} |`);
    }
  }
  return [...lines, "", ...notes(reports)].join("\n");
}

export function writeTable() {
  const text = readFileSync(DOCUMENT, "utf8");
  const [before, rest] = text.split(BEGIN);
  const after = rest?.split(END)[1];
  if (after === undefined) {
    throw new Error(`${DOCUMENT} lacks the lines ${BEGIN} and ${END}, between which the table goes`);
  }
  writeFileSync(DOCUMENT, `${before}${BEGIN}\n\n${table()}\n\n${END}${after}`);
  copyFileSync(`${FOLDER}/batches.svg`, PLOT);
  console.log(`${DOCUMENT} has the table, ${PLOT} the plot`);
}

/** What was delivered and what failed, when, on what, and of which versions. */
function notes(reports) {
  const notes = [];
  const totals = Object.values(reports).flatMap(({ servers }) => servers);
  const deliveries = totals.reduce((sum, { deliveries }) => sum + deliveries, 0);
  const checked = `Checked: ${deliveries.toLocaleString("en")} deliveries, each once and in order`;
  const failures = Object.entries(reports).flatMap(([measurement, { faulty }]) =>
    faulty.map(
      ({ name, lost, repeated, outOfOrder, cutOff }) =>
        `${TITLES[name]} (${measurement}): ${lost} lost, ${repeated} repeated, ${outOfOrder} out of order, ${cutOff} clients cut off`,
    ),
  );
  notes.push(
    failures.length === 0 ? `${checked}, of every server.` : `${checked}, but for these: ${failures.join("; ")}.`,
  );
  const shares = totals.flatMap(({ name, generatorShare, batches = [] }) =>
    [generatorShare, ...batches.map((batch) => batch.generatorShare)]
      .filter((share) => share > 1 / 3)
      .map(() => TITLES[name]),
  );
  if (shares.length > 0) {
    notes.push(
      `The generator took more than a third of the server's processor time with: ${[...new Set(shares)].join(", ")}.`,
    );
  }
  const made = Object.entries(reports).map(
    ([
      name,
      {
        date,
        machine: { commit, dirty },
      },
    ]) => {
      return `${name} ${date.slice(0, 10)} (${commit}${dirty ? " with changes" : ""})`;
    },
  );
  const [{ machine, versions }] = Object.values(reports);
  notes.push(
    `Measured: ${made.join(", ")}; ${machine.cores} cores of ${machine.processor}, ${machine.memoryGigabytes} GB, Linux ` +
      `${machine.kernel}, TCP ${machine.congestionControl}.`,
  );
  const named = Object.entries(versions).map(([name, version]) => `${TITLES[name].replaceAll("*", "")} ${version}`);
  notes.push(`Versions: ${named.join("; ")}.`);
  return notes.flatMap((note) => [note, ""]).slice(0, -1);
}

/** `0.97 (7.9 µs)`: times of the limit, and processor time for each delivery. */
function cost({ isBase, batches }, events) {
  const batch = batches.find((batch) => batch.events === events);
  const micros = `${digits(batch.cpuMicrosPerDelivery?.median)} µs`;
  const ratio = isBase ? 1 : batch.ratio?.median;
  return ratio === undefined ? micros : `${ratio.toFixed(2)} (${micros})`;
}

function digits(value) {
  if (value === undefined || value === null) {
    return "?";
  }
  return value >= 100 ? Math.round(value).toLocaleString("en") : value.toPrecision(value >= 10 ? 3 : 2);
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  console.log(table());
}
