// What the stream shows: texts that a person types, and what they make of an event.

import type { Entry } from "./entry.js";

/** What is typed. Empty: everything. */
export interface Filter {
  /** Anywhere in the event: names, ids, payload, previous. All words have to be there. */
  readonly text: string;
  readonly channel: string;
  readonly type: string;
  readonly actor: string;
  readonly entity: string;
}

export const NO_FILTER: Filter = { text: "", channel: "", type: "", actor: "", entity: "" };

/** Whether an event is shown. */
export type Predicate = (entry: Entry) => boolean;

/** Undefined where everything is shown. */
export function predicateOf(filter: Filter): Predicate | undefined {
  const tests: Predicate[] = [];
  const channel = nameTest(filter.channel);
  const type = nameTest(filter.type);
  const actor = nameTest(filter.actor);
  const entity = nameTest(filter.entity);
  if (channel) tests.push((entry) => entry.channels.split(" ").some(channel));
  if (type) tests.push((entry) => type(entry.type));
  if (actor) tests.push((entry) => actor(entry.actor));
  if (entity) tests.push((entry) => entity(entry.entityId));
  for (const word of filter.text.trim().split(/\s+/)) if (word) tests.push(wordTest(word));
  return tests.length ? (entry) => tests.every((test) => test(entry)) : undefined;
}

/** `task` is anywhere in the name, `task*` at its beginning. Small and capital letters are the same. */
function nameTest(typed: string): ((name: string) => boolean) | undefined {
  const wanted = typed.trim();
  if (!wanted || wanted === "*") return;
  const pattern = wanted.endsWith("*")
    ? new RegExp(`^${escaped(wanted.slice(0, -1))}`, "i")
    : new RegExp(escaped(wanted), "i");
  return (name) => pattern.test(name);
}

/** A regular expression without a copy in small letters: a hundred thousand payloads are searched with it. */
function wordTest(word: string): Predicate {
  const pattern = new RegExp(escaped(word), "i");
  // Quotes stand escaped in JSON, unless they are of the JSON itself.
  const inJson = new RegExp(`${escaped(word)}|${escaped(JSON.stringify(word).slice(1, -1))}`, "i");
  return (entry) =>
    inJson.test(entry.payload) ||
    pattern.test(entry.type) ||
    pattern.test(entry.channels) ||
    pattern.test(entry.entityId) ||
    pattern.test(entry.actor) ||
    (entry.previous !== undefined && inJson.test(entry.previous)) ||
    (entry.id !== undefined && pattern.test(String(entry.id))) ||
    (entry.traceId !== undefined && pattern.test(entry.traceId)) ||
    (entry.origin !== undefined && pattern.test(entry.origin));
}

function escaped(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|/-]/g, "\\$&");
}
