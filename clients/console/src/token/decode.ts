// What a token says, without asking whether it is true.

import { duration } from "../words.js";

/** A token, taken apart. */
export interface Decoded {
  readonly header: Readonly<Record<string, unknown>>;
  readonly claims: Readonly<Record<string, unknown>>;
}

/** What cannot be decoded, and why. */
export interface Undecodable {
  readonly why: string;
}

/** Takes a JWT apart. Its signature is not looked at: only the server has the key. */
export function decode(token: string): Decoded | Undecodable {
  const text = token.trim().replace(/^Bearer\s+/i, "");
  const parts = text.split(".");
  if (parts.length === 5) return { why: "This is an encrypted token (JWE). Only who has its key can read it." };
  if (parts.length !== 3) {
    return { why: `A token has three parts with dots between them, and this has ${parts.length}.` };
  }
  const header = part(parts[0] ?? "");
  if (!header) return { why: "Its first part, the header, is not JSON in base64url." };
  const claims = part(parts[1] ?? "");
  if (!claims) return { why: "Its second part, the claims, is not JSON in base64url." };
  return { header, claims };
}

/** An object of JSON in base64url. */
function part(text: string): Record<string, unknown> | undefined {
  try {
    const binary = atob(text.replace(/-/g, "+").replace(/_/g, "/"));
    const bytes = Uint8Array.from(binary, (char) => char.charCodeAt(0));
    const value: unknown = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
    return typeof value === "object" && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : undefined;
  } catch {
    return;
  }
}

/** When it is good, in words. Times of claims are seconds since 1970. */
export function validity(claims: Readonly<Record<string, unknown>>, nowMs: number): { isGood: boolean; text: string } {
  const { exp, nbf } = claims;
  if (typeof nbf === "number" && nbf * 1_000 > nowMs) {
    return { isGood: false, text: `Not good yet: it begins in ${duration(nbf * 1_000 - nowMs)}.` };
  }
  if (exp === undefined)
    return { isGood: false, text: "It has no expiry (claim exp), and rowcast refuses such tokens." };
  if (typeof exp !== "number") return { isGood: false, text: "Its expiry (claim exp) is not a number of seconds." };
  const leftMs = exp * 1_000 - nowMs;
  if (leftMs <= 0) return { isGood: false, text: `Expired ${duration(-leftMs)} ago.` };
  return { isGood: true, text: `Expires in ${duration(leftMs)}.` };
}

/** What its own claims let it do, in words. The server may grant more to all. */
export function rights(claims: Readonly<Record<string, unknown>>): string[] {
  const said: string[] = [];
  const user = typeof claims.sub === "string" && claims.sub ? claims.sub : undefined;
  said.push(user ? `It is a token of ${user}.` : "It names no user (claim sub).");
  if (typeof claims.channel === "string") {
    said.push(`It permits the one channel ${claims.channel}, and opens no connection.`);
    return said;
  }
  const channels = namesOf(claims.channels);
  if (channels.includes("*")) said.push("It receives everything.");
  else if (channels.length) said.push(`It receives ${channels.join(", ")} and all below.`);
  else said.push("It has no claim channels, and receives only what the server grants to all.");
  if (user) said.push(`Unless the server was told otherwise, it receives inbox:${user} and user:${user}, too.`);
  const publish = namesOf(claims.publish);
  if (publish.includes("*")) said.push("It may publish everywhere.");
  else if (publish.length) said.push(`It may publish to ${publish.join(", ")} and all below.`);
  else said.push("It has no claim publish, and may publish nothing.");
  return said;
}

function namesOf(claim: unknown): string[] {
  if (typeof claim === "string") return claim.split(/[\s,]+/).filter(Boolean);
  return Array.isArray(claim) ? claim.filter((name): name is string => typeof name === "string") : [];
}
