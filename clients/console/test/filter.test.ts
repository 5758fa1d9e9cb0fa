// What typed texts find.

import type { FeedEvent } from "@rowcast/client";
import { expect, test } from "vitest";
import { type Entry, entryOf } from "../src/feed/entry.js";
import { type Filter, NO_FILTER, predicateOf } from "../src/feed/filter.js";

const EVENT = {
  id: 4711,
  type: "task.updated",
  channels: ["tasks", "project:7"],
  entityId: "T-1",
  actor: "Ann",
  payload: { title: 'Say "hello" (twice) [a|b] 50% \\ ünïcode\nnext', done: false },
  previous: { title: "before" },
  traceId: "trace-9",
  origin: "tab-3",
  createdAt: "2026-01-01T00:00:00.000Z",
} as unknown as FeedEvent;
const ENTRY: Entry = entryOf(EVENT, 0, 0);

const finds = (filter: Partial<Filter>): boolean => predicateOf({ ...NO_FILTER, ...filter })?.(ENTRY) ?? true;

test("nothing typed is no filter at all", () => {
  expect(predicateOf(NO_FILTER)).toBeUndefined();
  expect(predicateOf({ ...NO_FILTER, text: "  ", channel: "*" })).toBeUndefined();
});

test.each([
  "4711",
  "task.UPDATED",
  "project:7",
  "t-1",
  "ann",
  "twice",
  '"hello"',
  "(twice)",
  "[a|b]",
  "50%",
  "\\",
  "ÜNÏCODE",
  "before",
  "trace-9",
  "tab-3",
  '"done":false',
  "hello twice before",
])("finds %j anywhere in an event", (text) => {
  expect(finds({ text })).toBe(true);
});

test.each(["4712", "hello never", ".*", "task.updated$", "((", "hello\\s"])("does not find %j", (text) => {
  expect(finds({ text })).toBe(false);
});

test("names are found by a part, or by their beginning before a star", () => {
  expect(finds({ channel: "ject" })).toBe(true);
  expect(finds({ channel: "project:*" })).toBe(true);
  expect(finds({ channel: "ject*" })).toBe(false);
  expect(finds({ channel: "messages" })).toBe(false);
  expect(finds({ type: "updated" })).toBe(true);
  expect(finds({ type: "task*" })).toBe(true);
  expect(finds({ type: "updated*" })).toBe(false);
  expect(finds({ actor: "ANN", entity: "t-" })).toBe(true);
  expect(finds({ actor: "ann", entity: "x" })).toBe(false);
});

test("what was typed is text, and never a pattern of another kind", () => {
  expect(finds({ channel: "p.oject" })).toBe(false);
  expect(finds({ type: "(", actor: "[" })).toBe(false);
});
