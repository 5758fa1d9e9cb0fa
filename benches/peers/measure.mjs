// Runs `rowcast bench` with the servers of peers.toml, and keeps what it says in target/bench. benches/peers/run is what
// people call.

import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { machine, versions } from "./machine.mjs";
import { FOLDER, QUICK_FOLDER, table, writeTable } from "./table.mjs";

const TARGET = process.env.CARGO_TARGET_DIR ?? "target";

// More clients than 10,000 would leave no room for the generator's own below the usual limit of 20,000 open files.
const MEASUREMENTS = {
  batches: ["fanout", "--clients", "1000", "--batch", "1,10,100", "--rounds", "11"],
  channels: ["fanout", "--clients", "1000", "--channels", "each", "--rounds", "11"],
  latency: ["latency", "--clients", "1000", "--rate", "10", "--for", "30s"],
  connect: ["connect", "--clients", "5000", "--rounds", "5"],
  idle: ["idle", "--clients", "10000", "--for", "10s"],
};

const QUICK = {
  batches: ["fanout", "--clients", "500", "--batch", "1,10,100", "--rounds", "1"],
  channels: ["fanout", "--clients", "500", "--channels", "each", "--rounds", "1"],
  latency: ["latency", "--clients", "500", "--rate", "10", "--for", "2s"],
  connect: ["connect", "--clients", "500", "--rounds", "1"],
  idle: ["idle", "--clients", "500", "--for", "1s"],
};

const { values, positionals } = usage(() =>
  parseArgs({
    allowPositionals: true,
    options: { quick: { type: "boolean" }, without: { type: "string", default: "" }, check: { type: "boolean" } },
  }),
);
const measurements = values.quick ? QUICK : MEASUREMENTS;
const wanted = positionals.length > 0 ? positionals : Object.keys(measurements);
const servers = readServers("benches/peers/peers.toml");
const without = values.without.split(",").filter(Boolean);
for (const name of wanted) {
  if (!(name in measurements)) {
    refuse(`there is no measurement ${name}; there are ${Object.keys(measurements).join(", ")}`);
  }
}
for (const name of without) {
  if (!servers.has(name)) {
    refuse(`there is no server ${name} in benches/peers/peers.toml; there are ${[...servers.keys()].join(", ")}`);
  }
}
if (values.check) {
  process.exit();
}

const folder = values.quick ? QUICK_FOLDER : FOLDER;
mkdirSync(folder, { recursive: true });
for (const name of wanted) {
  measure(name, measurements[name], new Set(without));
}
if (values.quick) {
  console.log(table(folder));
} else {
  writeTable();
}

/** Until every server that is left delivers everything, once and in order. */
function measure(name, flags, left) {
  const faulty = [];
  for (;;) {
    const file = `${folder}/peers.toml`;
    const texts = [...servers].filter(([server]) => !left.has(server)).map(([, text]) => text);
    writeFileSync(file, texts.join("\n"));
    const own = ["--pin", "--beside", file, "--plot", `${folder}/${name}.svg`, "--json"];
    console.error(`${name}: rowcast bench ${[...flags, ...own].join(" ")}`);
    const { status, stdout } = spawnSync(`${TARGET}/release/rowcast`, ["bench", ...flags, ...own], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "inherit"],
    });
    if (!stdout) {
      refuse(`${name}: it could not be measured (above)`, 1);
    }
    const report = JSON.parse(stdout);
    if (report.stopped) {
      refuse("it was stopped", 1);
    }
    const bad = report.servers.find(isFaulty);
    if (bad) {
      console.error(`${name}: ${bad.name} fails: ${faults(bad)}; again without it`);
      if (bad.name === "rowcast" || bad.isBase) {
        refuse(`${name}: without ${bad.name} there is nothing to compare`, 1);
      }
      faulty.push(bad);
      left.add(bad.name);
      continue;
    }
    if (status !== 0) {
      refuse(`${name}: it could not be measured (above)`, 1);
    }
    const made = { date: new Date().toISOString(), machine: machine(), versions: versions() };
    const text = JSON.stringify({ ...made, flags, faulty, ...report }, null, 1);
    writeFileSync(`${folder}/${name}.json`, `${text}\n`);
    return;
  }
}

function isFaulty({ lost, repeated, outOfOrder, strays, cutOff }) {
  return lost + repeated + outOfOrder + strays + cutOff > 0;
}

function faults({ lost, repeated, outOfOrder, cutOff }) {
  return `${lost} events lost, ${repeated} repeated, ${outOfOrder} out of order, ${cutOff} clients cut off`;
}

/** The tables `[[server]]` by name, each as it is written. */
function readServers(path) {
  const texts = readFileSync(path, "utf8")
    .split(/^(?=\[\[server\]\]$)/m)
    .slice(1);
  return new Map(texts.map((text) => [/^name = "(.*)"$/m.exec(text)[1], text]));
}

function usage(parse) {
  try {
    return parse();
  } catch (error) {
    return refuse(`${error.message}; benches/peers/run --help`);
  }
}

function refuse(message, status = 64) {
  console.error(`peers: ${message}`);
  process.exit(status);
}
