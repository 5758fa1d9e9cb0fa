// What the figures were measured on, and which versions of the servers.

import { execFileSync, spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { cpus, release, totalmem } from "node:os";

const PEERS = `${process.env.CARGO_TARGET_DIR ?? "target"}/peers`;

export function machine() {
  return {
    cores: cpus().length,
    processor: cpus()[0].model.trim(),
    memoryGigabytes: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    congestionControl: readFileSync("/proc/sys/net/ipv4/tcp_congestion_control", "utf8").trim(),
    commit: execFileSync("git", ["rev-parse", "--short", "HEAD"], { encoding: "utf8" }).trim(),
    dirty: execFileSync("git", ["status", "--porcelain", "--", "src", "Cargo.lock"], { encoding: "utf8" }) !== "",
  };
}

/** For people, by the names of peers.toml. */
export function versions() {
  const node = `node ${process.versions.node}`;
  return {
    rowcast: said("cargo", ["pkgid"], /([0-9.]+)$/m),
    nchan: `${debian("libnginx-mod-nchan")}, nginx ${debian("nginx")}`,
    mosquitto: debian("mosquitto"),
    centrifuge: debian("golang-github-centrifugal-centrifuge-dev"),
    nats: said(`${PEERS}/bin/nats-server`, ["--version"], /v([0-9.]+)/),
    "ws-push": `${npm("ws")}, ${node}`,
    "ws-poll": `${npm("ws")}, ${node}, better-sqlite3 ${npm("better-sqlite3")}`,
    "socket.io": `${npm("socket.io")}, ${node}`,
    uwebsockets: `20 (uwebsockets ${npm("uwebsockets")} on npm), ${node}`,
  };
}

/** Without Debian's own additions. */
function debian(name) {
  return said("dpkg-query", ["--show", "--showformat", "${Version}", name], /^(?:\d+:)?([0-9.]+)/);
}

function npm(name) {
  return JSON.parse(readFileSync(`${PEERS}/node/node_modules/${name}/package.json`, "utf8")).version;
}

function said(program, flags, version) {
  const { stdout } = spawnSync(program, flags, { encoding: "utf8" });
  return version.exec(stdout ?? "")?.[1] ?? "?";
}
