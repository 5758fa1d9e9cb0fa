// `@rowcast/client/testing`: a server for your tests. No code of its own.

export type { NewEvent, ResetReason } from "./feed.js";
export {
  createTestServer,
  type TestConnection,
  type TestServer,
  type TestServerOptions,
} from "./server.js";
export type { TestUser } from "./session.js";
