// docs/protocol/asyncapi.yaml: which schema each message has.

import { readFileSync } from "node:fs";
import path from "node:path";

import { Ajv2020, type ValidateFunction } from "ajv/dist/2020.js";
import { parse } from "yaml";

import { type Json, type Message, folder } from "./exchanges.js";

export const text = readFileSync(path.join(folder, "asyncapi.yaml"), "utf8");

interface Contract {
  channels: Record<string, { address: string; messages: Record<string, { $ref: string }> }>;
  components: { messages: Record<string, { payload: Message }>; schemas: Record<string, Message> };
}

export const contract = parse(text) as Contract;

const ajv = new Ajv2020({ strict: false, allErrors: true });
ajv.addSchema(strict({ $id: "contract", components: contract.components } as unknown as Json) as Message);
const known = new Map<string, ValidateFunction>();

/** Clients ignore members that they do not know; a test does not. */
function strict(schema: Json): Json {
  if (Array.isArray(schema)) return schema.map(strict);
  if (typeof schema !== "object" || schema === null) return schema;
  const entries = Object.entries(schema).map(([key, value]) => [key, strict(value)] as const);
  const closed = schema["type"] === "object" && "properties" in schema ? { additionalProperties: false } : {};
  return { ...Object.fromEntries(entries), ...closed };
}

/** Which messages of this side (`client`, `server`) of a preset a message is, by the contract. */
export function namesOf(preset: string, side: "client" | "server", message: Json): string[] {
  const messages = Object.entries(contract.channels[preset]?.messages ?? {});
  const ofSide = messages.filter(([key]) => key.startsWith(`${side}.`));
  return ofSide.filter(([, { $ref }]) => validator($ref)(message)).map(([key]) => key.slice(side.length + 1));
}

/** What is wrong with a message that should be this one. */
export function complaint(preset: string, side: "client" | "server", name: string, message: Json): string {
  const reference = contract.channels[preset]?.messages[`${side}.${name}`];
  if (reference === undefined) return `asyncapi.yaml has no ${side}.${name} of ${preset}`;
  const validate = validator(reference.$ref);
  return validate(message) ? "" : ajv.errorsText(validate.errors);
}

function validator(reference: string): ValidateFunction {
  const found = known.get(reference) ?? ajv.compile({ $ref: `contract${reference}/payload` });
  known.set(reference, found);
  return found;
}
