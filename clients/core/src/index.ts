// What users import. No code of its own.

export type * from "./transport.js";
export type * from "./types.js";
