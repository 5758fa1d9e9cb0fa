// Answers of the server that are asked for again and again while somebody looks.

import { useEffect, useState } from "react";
import { Refused } from "./api.js";

/** What was answered last, and what went wrong since. */
export interface Asked<Answer> {
  readonly answer: Answer | undefined;
  readonly error: Refused | undefined;
}

/**
 * Asks now, and `intervalMs` after each answer, while the page is visible. It stops for good when the server refuses the
 * token: whoever asks on is taken for somebody who guesses.
 */
export function useAsked<Answer>(ask: (signal: AbortSignal) => Promise<Answer>, intervalMs: number): Asked<Answer> {
  const [asked, setAsked] = useState<Asked<Answer>>({ answer: undefined, error: undefined });
  useEffect(() => {
    const ended = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    let isAsking = false;
    let isOver = false;
    const next = async (): Promise<void> => {
      if (isAsking || isOver || document.hidden) return;
      clearTimeout(timer);
      isAsking = true;
      try {
        const answer = await ask(ended.signal);
        if (!ended.signal.aborted) setAsked({ answer, error: undefined });
      } catch (error) {
        if (ended.signal.aborted) return;
        const refused = error instanceof Refused ? error : new Refused(0, String(error));
        isOver = refused.status === 401;
        setAsked((before) => ({ answer: isOver ? undefined : before.answer, error: refused }));
      } finally {
        isAsking = false;
      }
      if (!isOver && !ended.signal.aborted) timer = setTimeout(next, intervalMs);
    };
    void next();
    document.addEventListener("visibilitychange", next, { signal: ended.signal });
    return () => {
      ended.abort();
      clearTimeout(timer);
    };
  }, [ask, intervalMs]);
  return asked;
}
