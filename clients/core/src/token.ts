// Asks for tokens: one call at a time.

import type { GetToken, TokenReason } from "./types.js";

/** The tokens of a client. */
export interface Tokens {
  /** The same as the user's `getToken`, but who asks while a call is under way waits for that one. */
  ask(reason: TokenReason): Promise<string | undefined>;
  /** The call that is under way takes too long: whoever asks next calls anew. */
  forget(): void;
}

export function createTokens(getToken: GetToken): Tokens {
  let flight: Promise<string | undefined> | undefined;
  return {
    ask(reason) {
      const mine = flight ?? Promise.resolve().then(() => getToken({ reason }));
      flight = mine;
      const landed = (): void => {
        if (flight === mine) flight = undefined;
      };
      mine.then(landed, landed);
      return mine;
    },
    forget() {
      flight = undefined;
    },
  };
}
