// What differs between the value before and the value after, member by member.

/** A member that differs. */
export interface Change {
  /** `title`, `assignee.name`, `tags[2]`; empty for the value itself. */
  readonly path: string;
  readonly kind: "added" | "removed" | "changed";
  readonly before: unknown;
  readonly after: unknown;
}

/** Most changes that are told. */
export const CHANGES_MAX = 200;

/** The members that differ, in the order of the value after; at most 200. */
export function diff(before: unknown, after: unknown): Change[] {
  const changes: Change[] = [];
  compare("", before, after, changes);
  return changes;
}

function compare(path: string, before: unknown, after: unknown, changes: Change[]): void {
  if (changes.length >= CHANGES_MAX || Object.is(before, after)) return;
  if (!isContainer(before) || !isContainer(after) || Array.isArray(before) !== Array.isArray(after)) {
    changes.push({ path, kind: "changed", before, after });
    return;
  }
  const isList = Array.isArray(after);
  const keys = new Set([...Object.keys(after), ...Object.keys(before)]);
  for (const key of keys) {
    if (changes.length >= CHANGES_MAX) return;
    const inner = isList ? `${path}[${key}]` : path ? `${path}.${key}` : key;
    if (!Object.hasOwn(before, key)) changes.push({ path: inner, kind: "added", before: undefined, after: after[key] });
    else if (!Object.hasOwn(after, key))
      changes.push({ path: inner, kind: "removed", before: before[key], after: undefined });
    else compare(inner, before[key], after[key], changes);
  }
}

function isContainer(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}
