// connect() after a refusal tries, whatever the token: somebody asked for it.

import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { createClient } from "../src/index.js";
import { createTestServer } from "../src/testing/index.js";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

test.each([
  ["without tokens", {}],
  ["with the same token", { getToken: () => "the same" }],
])("%s", async (_, options) => {
  const server = createTestServer();
  const client = createClient({ url: "ws://test/ws", environment: server.environment, ...options });
  const undo = server.refuse(4001, "token revoked");
  client.connect();
  await vi.advanceTimersByTimeAsync(0);
  expect(client.status.state).toBe("error");
  undo();
  client.connect();
  await vi.advanceTimersByTimeAsync(0);
  expect(client.status.state).toBe("connected");
  client.disconnect();
});
