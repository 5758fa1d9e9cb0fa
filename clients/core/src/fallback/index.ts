// What users import from `@rowcast/client/fallback`. No code of its own.

export { longPoll } from "./long-poll.js";
export { sse } from "./sse.js";
