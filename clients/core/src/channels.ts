// Names of channels, and whom an event on one of them reaches. The rule is the server's.

/** Every name by which an event on `channel` is received: `*`, each parent, each `parent:*`, and the channel itself. */
export function patternsOf(channel: string): string[] {
  const patterns = ["*", channel];
  for (const { index } of channel.matchAll(/:/g)) {
    const parent = channel.slice(0, index);
    patterns.push(parent, `${parent}:*`);
  }
  return patterns;
}
