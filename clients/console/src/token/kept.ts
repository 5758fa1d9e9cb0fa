// Where the token is kept: for this tab, and no longer. It is never in a URL.

const KEY = "rowcast.console.token";

/** The token of this tab. */
export function keptToken(): string | undefined {
  try {
    return sessionStorage.getItem(KEY) ?? undefined;
  } catch {
    return;
  }
}

/** Keeps a token for this tab, or forgets it. */
export function keepToken(token: string | undefined): void {
  try {
    if (token) sessionStorage.setItem(KEY, token);
    else sessionStorage.removeItem(KEY);
  } catch {
    // A browser that stores nothing: it lasts until the page is left.
  }
}
