// What users import. No code of its own.

export { createClient } from "./client.js";
export { webSocket } from "./socket.js";
export type * from "./transport.js";
export type * from "./types.js";
