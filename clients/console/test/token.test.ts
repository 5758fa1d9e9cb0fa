// What is said of tokens.

import { describe, expect, test } from "vitest";
import { decode, rights, validity } from "../src/token/decode.js";
import { duration } from "../src/words.js";

const encoded = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString("base64url");
const token = (claims: unknown, header: unknown = { alg: "HS256" }): string =>
  `${encoded(header)}.${encoded(claims)}.c2lnbmF0dXJl`;

describe("decoding", () => {
  test("gives header and claims, whatever the alphabet and what is pasted around it", () => {
    const claims = { sub: "Jürgen ✓ 日本", channels: ["tasks"], n: "~~~???>>>" };
    for (const text of [token(claims), `  Bearer ${token(claims)}\n`, `bearer ${token(claims)}`]) {
      expect(decode(text)).toEqual({ header: { alg: "HS256" }, claims });
    }
  });

  test.each([
    ["", "three parts"],
    ["abc", "three parts"],
    ["a.b", "three parts"],
    ["a.b.c.d", "three parts"],
    ["a.b.c.d.e", "encrypted"],
    [`!!!.${encoded({})}.x`, "header"],
    [`${encoded([])}.${encoded({})}.x`, "header"],
    [`${encoded({})}.${encoded("text")}.x`, "claims"],
    [`${encoded({})}.${Buffer.from([0x7b, 0xff, 0x7d]).toString("base64url")}.x`, "claims"],
    [`${encoded({})}..x`, "claims"],
  ])("says why %j is none", (text, why) => {
    const said = decode(text);
    expect("why" in said && said.why).toContain(why);
  });
});

describe("validity", () => {
  const now = 1_000_000_000_000;
  test.each([
    [{ exp: 1_000_000_090 }, true, "Expires in 1 min 30 s."],
    [{ exp: 999_996_400 }, false, "Expired 1 h ago."],
    [{ exp: 1_000_000_000 }, false, "Expired less than a second ago."],
    [{}, false, "no expiry"],
    [{ exp: "soon" }, false, "not a number"],
    [{ exp: 2_000_000_000, nbf: 1_000_000_060 }, false, "begins in 1 min"],
  ])("of %j", (claims, isGood, text) => {
    const said = validity(claims, now);
    expect(said.isGood).toBe(isGood);
    expect(said.text).toContain(text);
  });
});

describe("rights", () => {
  const said = (claims: Record<string, unknown>): string => rights(claims).join(" ");
  test("of a user's token", () => {
    const text = said({ sub: "ann", channels: ["tasks", "project:7"], publish: ["*"] });
    for (const part of ["token of ann", "tasks, project:7 and all below", "inbox:ann", "publish everywhere"]) {
      expect(text).toContain(part);
    }
  });

  test("of one that grants nothing", () => {
    const text = said({ channels: [1, null] });
    for (const part of ["no user", "no claim channels", "publish nothing"]) expect(text).toContain(part);
    expect(text).not.toContain("inbox:");
  });

  test("of one for everything, and of one for one channel", () => {
    expect(said({ channels: "*" })).toContain("everything");
    const one = said({ sub: "ann", channel: "messages:42" });
    expect(one).toContain("one channel messages:42");
    expect(one).not.toContain("publish");
  });
});

test("durations have their two largest units", () => {
  expect(duration(0)).toBe("less than a second");
  expect(duration(-5)).toBe("less than a second");
  expect(duration(59_999)).toBe("59 s");
  expect(duration(3_600_000)).toBe("1 h");
  expect(duration(3_661_000)).toBe("1 h 1 min");
  expect(duration(90_061_000)).toBe("1 d 1 h");
  expect(duration(86_400_000 * 400)).toBe("400 d");
});
