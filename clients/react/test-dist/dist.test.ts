// @vitest-environment node
// The packages as they are published: built, imported and required by their names.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { createElement, type FunctionComponent, type ReactNode } from "react";
import { renderToString } from "react-dom/server";
import { expect, test } from "vitest";

const require = createRequire(import.meta.url);
type Components = Record<string, FunctionComponent<Record<string, unknown>> & ((options?: object) => unknown)>;

/** Renders a component that uses hooks of both entries below the provider of one. */
function page(react: Components, tanstack: Components, element: typeof createElement, query: Components): ReactNode {
  // biome-ignore lint/correctness/noComponentHookFactories: it is made once for each kind of module, and rendered once.
  const Page = (): string => {
    tanstack.useRealtimeSync?.({ channel: "tasks", queryKey: ["tasks"] });
    return String(react.useWebSocketState?.());
  };
  return element(
    query.QueryClientProvider as FunctionComponent<Record<string, unknown>>,
    { client: new QueryClient() },
    element(react.RowcastProvider as FunctionComponent<Record<string, unknown>>, null, element(Page)),
  );
}

test("both entries share the context of the provider, as ES modules", async () => {
  const [react, tanstack] = [await import("@rowcast/react"), await import("@rowcast/react/tanstack")];
  const query = { QueryClientProvider } as unknown as Components;
  const made = page(react as unknown as Components, tanstack as unknown as Components, createElement, query);
  expect(renderToString(made)).toBe("disconnected");
});

test("and as CommonJS", () => {
  const element = require("react").createElement;
  const query = require("@tanstack/react-query");
  const made = page(require("@rowcast/react"), require("@rowcast/react/tanstack"), element, query);
  expect(require("react-dom/server").renderToString(made)).toBe("disconnected");
});

test("components are for the client, as frameworks that render on servers want to be told", () => {
  for (const name of ["@rowcast/react", "@rowcast/react/tanstack"]) {
    const file = require.resolve(name);
    for (const path of [file, file.replace(/\.cjs$/, ".mjs")]) {
      expect(readFileSync(path, "utf8")).toMatch(/^"use client";/);
    }
  }
});

test("what needs TanStack Query is in the entry of that name only", () => {
  const file = require.resolve("@rowcast/react").replace(/\.cjs$/, ".mjs");
  const seen = new Set<string>();
  const read = (path: string): string => {
    if (seen.has(path)) return "";
    seen.add(path);
    const text = readFileSync(path, "utf8");
    const parts = [...text.matchAll(/from "(\.[^"]+)"/g)].map(
      ([, part]) => new URL(part ?? "", `file://${path}`).pathname,
    );
    return text + parts.map(read).join("");
  };
  const text = read(file);
  expect(text).toContain("createContext");
  expect(text).not.toContain("@tanstack");
  expect(readFileSync(file.replace(/\.mjs$/, ".d.mts"), "utf8")).not.toContain("@tanstack");
});
