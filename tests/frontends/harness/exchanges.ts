// The exchanges of docs/protocol, and what their placeholders stand for. docs/protocol/README.md explains the format.

import { readFileSync, readdirSync } from "node:fs";
import path from "node:path";

import type { Claims, Row } from "../scenarios/env.js";

export type Json = null | boolean | number | string | Json[] | { [member: string]: Json };
export type Message = { [member: string]: Json };

export type Step =
  | { frame?: string; client: Message }
  | { client_text: string }
  | { frame: string; server: Message }
  | { insert: Row | Row[] }
  | { broadcast: { channel: string; event: Message } }
  | { enter: Guest }
  | { exit: Guest }
  | { nothing: string }
  | { close: { code: number; reason: string } }
  | { disconnect: true }
  | { connect: string }
  | { stop: string };

/** Who is on which channel by a connection of his own. */
export interface Guest {
  user: string;
  channel: string;
}

export interface Exchange {
  preset: string;
  title: string;
  about: string;
  path: string;
  token: Claims | null;
  subprotocol?: string;
  server?: { messages_per_minute?: number; ping_interval_ms?: number; grace_period_ms?: number; presence?: string };
  steps: Step[];
}

export const folder = path.resolve("../../docs/protocol");

export function exchanges(): [string, Exchange][] {
  const names = readdirSync(folder).filter((name) => name.endsWith(".json")).sort();
  return names.map((name) => [name.slice(0, -5), JSON.parse(readFileSync(path.join(folder, name), "utf8")) as Exchange]);
}

/** What `<cursor:NAME>` stood for. */
export type Seen = Map<string, string>;

export function fill(text: string, seen: Seen): string {
  return [...seen].reduce((text, [name, value]) => text.replaceAll(name, value), text);
}

/** Throws where what came is not as written. */
export function compare(wanted: Json | undefined, found: Json | undefined, seen: Seen, at = ""): void {
  const differ = (): never => {
    throw new Error(`${at || "it"} is ${JSON.stringify(found)} instead of ${JSON.stringify(wanted)}`);
  };
  if (typeof wanted === "string" && /^<.*>$/.test(wanted)) {
    if (!standsFor(wanted, found)) differ();
    if (wanted.includes(":") && typeof found === "string") seen.set(wanted, found);
  } else if (Array.isArray(wanted)) {
    if (!Array.isArray(found) || found.length !== wanted.length) return differ();
    wanted.forEach((item, n) => compare(item, found[n], seen, `${at}[${n}]`));
  } else if (typeof wanted === "object" && wanted !== null) {
    if (typeof found !== "object" || found === null || Array.isArray(found)) return differ();
    for (const member of new Set([...Object.keys(wanted), ...Object.keys(found)])) {
      compare(wanted[member], found[member], seen, `${at}.${member}`);
    }
  } else if (wanted !== found) differ();
}

function standsFor(placeholder: string, found: Json | undefined): boolean {
  const kind = /^<([^:>]*)/.exec(placeholder)?.[1];
  switch (kind) {
    case "id":
    case "ms":
      return typeof found === "number" && Number.isInteger(found) && found > 0;
    case "id as text":
    case "ms as text":
      return typeof found === "string" && /^\d+$/.test(found);
    case "time":
      return typeof found === "string" && /^\d{4}-\d\d-\d\dT[\d:.]+Z$/.test(found) && !Number.isNaN(Date.parse(found));
    case "cursor":
      return typeof found === "string" && /^[A-Za-z0-9_-]{4,}$/.test(found);
    case "text":
      return typeof found === "string" && found !== "";
    default:
      throw new Error(`${placeholder} stands for nothing that is known`);
  }
}
