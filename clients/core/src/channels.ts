// Names of channels, and whom an event on one of them reaches. The rule is the server's.

/** Every name by which an event on `channel` is received: `*`, each parent, each `parent:*`, and the channel itself. */
export function patternsOf(channel: string): string[] {
  const patterns = ["*", channel];
  for (let colon = channel.indexOf(":"); colon > 0; colon = channel.indexOf(":", colon + 1)) {
    const parent = channel.slice(0, colon);
    patterns.push(parent, `${parent}:*`);
  }
  return patterns;
}
