// Numbers and times as people read them.

const WHOLE = new Intl.NumberFormat("en");

/** `12,345`. */
export function count(value: number): string {
  return WHOLE.format(Math.round(value));
}

/** `1 event`, `2 events`. */
export function counted(value: number, one: string, many: string = `${one}s`): string {
  return `${count(value)} ${value === 1 ? one : many}`;
}

/** `14:03:27.120`, in the time of whoever looks. */
export function clockTime(at: number): string {
  const date = new Date(at);
  if (Number.isNaN(date.getTime())) return "–";
  const two = (value: number): string => String(value).padStart(2, "0");
  const milliseconds = String(date.getMilliseconds()).padStart(3, "0");
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}.${milliseconds}`;
}

/** `3 ms`, `1.2 s`. */
export function milliseconds(value: number): string {
  if (value < 10) return `${value.toFixed(1)} ms`;
  return value < 1_000 ? `${Math.round(value)} ms` : `${(value / 1_000).toFixed(1)} s`;
}

/** `0 B`, `12 KB`, `1.5 MB`. */
export function bytes(value: number): string {
  if (value < 1_000) return `${value} B`;
  return value < 1_000_000 ? `${Math.round(value / 1_000)} KB` : `${(value / 1_000_000).toFixed(1)} MB`;
}

/** `12.5` below a hundred, whole above. */
export function rate(value: number): string {
  return value > 0 && value < 100 ? value.toFixed(1) : count(value);
}

/** A length of time in its two largest units: `2 h 5 min`. */
export function duration(milliseconds: number): string {
  let left = Math.max(0, Math.floor(milliseconds / 1_000));
  if (left < 1) return "less than a second";
  const units: [string, number][] = [
    ["d", 86_400],
    ["h", 3_600],
    ["min", 60],
    ["s", 1],
  ];
  const parts: string[] = [];
  for (const [name, seconds] of units) {
    const count = Math.floor(left / seconds);
    left -= count * seconds;
    if (count > 0) parts.push(`${count} ${name}`);
    else if (parts.length) break;
    if (parts.length === 2) break;
  }
  return parts.join(" ");
}
