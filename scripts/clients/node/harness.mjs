// What the programs of this folder share: the gateway's address, the models, and one line of JSON for each case.
//
// A program prints {"client", "version"}, waits for a byte on its standard input (until then the gateway's log speaks of
// the client before it), and then prints for each case {"surface", "provider", "case", "error"}: what it did, and null
// or what was wrong. The models obey orders in the last user message, such as `call:NAME {json}`.

import assert from "node:assert/strict";
import { readFileSync, readSync } from "node:fs";

export { assert };
export const url = process.env.GATEWAY_URL;
export const key = process.env.GATEWAY_KEY;

// One model of each provider, and what it needs for the cases that not every model can do.
export const providers = {
  openai: {
    text: "gpt-4.1", missing: "gpt-99", image: "gpt-4.1", thinking: "gpt-5", embedding: "text-embedding-3-small",
  },
  anthropic: {
    text: "claude-sonnet-4-6", missing: "claude-none", image: "claude-sonnet-4-6", thinking: "claude-sonnet-4-6",
  },
  ollama: {
    text: "llama3.2", missing: "no-such-model", image: "llama3.2-vision", thinking: "qwen3:8b",
    embedding: "nomic-embed-text",
  },
};

export const weather = {
  name: "get_weather",
  description: "The weather of a city",
  parameters: {
    type: "object",
    properties: { city: { type: "string" } },
    required: ["city"],
    additionalProperties: false,
  },
};
export const person = {
  type: "object",
  properties: { name: { type: "string" }, age: { type: "integer" } },
  required: ["name", "age"],
  additionalProperties: false,
};
export const pixel =
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==";
export const twoCalls = 'call:get_weather {"city": "Paris"}\ncall:get_weather {"city": "Züri\\n\\"West\\""}';
export const twoCities = ["Paris", 'Züri\n"West"'];
export const report = (city) => `21 degrees in ${city}`;
export const reported = twoCities.map(report).join(" | ");
export const words = "word1 word2 word3 word4 word5 word6 word7 word8 word9";

// Whether `x-gateway-dropped` names a forced tool: Ollama cannot be held to one.
export const unforced = { openai: false, anthropic: false, ollama: true };

// The version of an installed package.
export function version(name) {
  return JSON.parse(readFileSync(new URL(`node_modules/${name}/package.json`, import.meta.url))).version;
}

// Names the client that the cases after it are about.
export function client(name, ...packages) {
  const versions = (packages.length ? packages : [name]).map(version);
  console.log(JSON.stringify({ client: name, version: versions.join(", ") }));
  readSync(0, Buffer.alloc(1));
}

// One case: `act` throws when the client did not get what it should have.
export async function check(surface, provider, name, act) {
  let error = null;
  try {
    await act();
  } catch (raised) {
    error = `${raised?.name}: ${raised?.message}`.slice(0, 600);
  }
  console.log(JSON.stringify({ surface, provider, case: name, error }));
}

// What the call raises; fails when it raises nothing.
export async function raised(act) {
  try {
    await act();
  } catch (error) {
    return error;
  }
  throw new Error("nothing was raised");
}

export async function collect(stream) {
  const items = [];
  for await (const item of stream) items.push(item);
  return items;
}
