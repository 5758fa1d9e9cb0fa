// Which channels a pattern reaches, and what a token grants of it: the rules of the server (src/event.rs, Grants::narrow).

/** Longest name of a channel, in bytes. */
const CHANNEL_BYTES_MAX = 200;

/** Whether an event on `channel` reaches a subscriber of `pattern`. */
export function matches(pattern: string, channel: string): boolean {
  if (pattern === "*") return true;
  if (pattern.endsWith(":*")) return channel.startsWith(pattern.slice(0, -1));
  return channel === pattern || channel.startsWith(`${pattern}:`);
}

/** Whether `wide` matches all that `narrow` does. */
function covers(wide: string, narrow: string): boolean {
  if (wide === "*" || wide === narrow) return true;
  return narrow !== "*" && matches(wide, narrow.endsWith(":*") ? narrow.slice(0, -2) : narrow);
}

/** What grants leave of a pattern: itself, the grants that lie within it, or nothing. */
export function narrow(pattern: string, grants: readonly string[]): readonly string[] {
  if (grants.some((grant) => covers(grant, pattern))) return [pattern];
  const within = grants.filter((grant) => covers(pattern, grant));
  return within.filter((grant) => !within.some((other) => other !== grant && covers(other, grant))).sort();
}

/** What is wrong with the name of a channel or a pattern, if anything is. */
export function channelError(text: string): string | undefined {
  if (text === "*") return undefined;
  const name = text.endsWith(":*") ? text.slice(0, -2) : text;
  if (new TextEncoder().encode(text).length > CHANNEL_BYTES_MAX)
    return `a channel has at most ${CHANNEL_BYTES_MAX} bytes`;
  return name.split(":").every((part) => /^[\p{L}\p{N}_.@/-]+$/u.test(part))
    ? undefined
    : "parts of a channel are joined by colons and have letters, digits and _ . @ / -";
}
