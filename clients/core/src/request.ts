// What is asked of the server, as long as it is not answered.

/** A frame that is answered. */
export interface Question {
  type: "hello" | "subscribe";
  id: number;
  channels?: string[];
  since?: string;
  token?: string | undefined;
  tokens?: string[];
}
