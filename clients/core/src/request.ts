// What is asked of the server, as long as it is not answered.

import type { Entry } from "./entry.js";

/** A frame that is answered. */
export interface Question {
  type: "hello" | "subscribe" | "unsubscribe" | "auth";
  id: number;
  channels?: string[];
  since?: string;
  token?: string | undefined;
  tokens?: string[];
}

/** What was asked of the server and is not answered yet. */
export interface Request {
  readonly frame: Question;
  readonly entries: readonly Entry[];
}
