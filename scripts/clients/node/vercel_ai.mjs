// Vercel's AI SDK by each of its providers that can be pointed at a base URL.

import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { createOpenRouter } from "@openrouter/ai-sdk-provider";
import { APICallError, embedMany, generateText, Output, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";
import {
  assert, check, client, key, pixel, providers, raised, report, reported, twoCalls, url, weather, words,
} from "./harness.mjs";

const openai = createOpenAI({ baseURL: `${url}/v1`, apiKey: key });
const anthropic = createAnthropic({ baseURL: `${url}/v1`, apiKey: key });
const compatible = createOpenAICompatible({
  name: "gateway", baseURL: `${url}/v1`, apiKey: key, includeUsage: true, supportsStructuredOutputs: true,
});
const openrouter = createOpenRouter({ baseURL: `${url}/v1`, apiKey: key });
const tools = {
  get_weather: tool({
    description: weather.description,
    inputSchema: z.object({ city: z.string() }),
    execute: ({ city }) => report(city),
  }),
};
const Person = z.object({ name: z.string(), age: z.number() });

await each("ai with @ai-sdk/openai", "@ai-sdk/openai", "chat", (name) => openai.chat(name));
await each("ai with @ai-sdk/openai", "@ai-sdk/openai", "responses", (name) => openai.responses(name));
await each("ai with @ai-sdk/anthropic", "@ai-sdk/anthropic", "messages", (name) => anthropic(name));
await each("ai with @ai-sdk/openai-compatible", "@ai-sdk/openai-compatible", "chat", (name) => compatible(name));
await embeddings("ai with @ai-sdk/openai", "@ai-sdk/openai", (name) => openai.embedding(name));
await embeddings("ai with @ai-sdk/openai-compatible", "@ai-sdk/openai-compatible", (name) =>
  compatible.textEmbeddingModel(name),
);

await signed("ai with @openrouter/ai-sdk-provider", "@openrouter/ai-sdk-provider", (name) => openrouter.chat(name));

// Of the clients of chat completions, one that sends signed thinking back: to a model that does not think on without.
async function signed(title, name, model) {
  client(title, "ai", name);
  const asked = {
    model: model("claude-sonnet-4-5"), maxRetries: 0, onError: () => {}, tools, stopWhen: stepCountIs(3),
    prompt: `think:hmm\n${twoCalls}`, providerOptions: { openrouter: { reasoning: { effort: "medium" } } },
  };
  await check("chat", "anthropic", "reasoning tool loop", async () => {
    const reply = await generateText(asked);
    assert.equal(reply.steps[0].reasoningText, "hmm");
    assert.equal(reply.text, `The tool said: ${reported}`);
  });
  await check("chat", "anthropic", "reasoning tool loop in streams", async () => {
    const reply = streamText(asked);
    await reply.consumeStream();
    assert.equal((await reply.steps)[0].reasoningText, "hmm");
    assert.equal(await reply.text, `The tool said: ${reported}`);
  });
}

async function embeddings(title, name, model) {
  client(title, "ai", name);
  for (const provider of ["openai", "ollama"]) {
    await check("embeddings", provider, "embedMany", async () => {
      const made = await embedMany({ model: model(providers[provider].embedding), values: ["one", "two"] });
      assert.ok(made.embeddings.length === 2 && made.embeddings[0].length >= 384);
      assert.ok(made.usage.tokens > 0);
    });
  }
}

async function each(title, name, surface, model) {
  client(title, "ai", name);
  for (const [provider, names] of Object.entries(providers)) {
    const plain = { model: model(names.text), maxRetries: 0, onError: () => {} };

    await check(surface, provider, "text", async () => {
      const reply = await generateText({ ...plain, system: "Be brief.", prompt: "say:Grüezi ✓", temperature: 0.2 });
      assert.equal(reply.text, "Grüezi ✓");
      assert.equal(reply.finishReason, "stop");
      assert.ok(reply.usage.inputTokens > 0 && reply.usage.outputTokens > 0);
    });
    await check(surface, provider, "stream", async () => {
      const reply = streamText({ ...plain, prompt: "count:9" });
      let text = "";
      for await (const delta of reply.textStream) text += delta;
      assert.equal(text, words);
      assert.equal(await reply.finishReason, "stop");
      assert.ok((await reply.usage).outputTokens > 0);
    });
    await check(surface, provider, "image", async () => {
      const content = [{ type: "text", text: "say:a pixel" }, { type: "image", image: pixel, mediaType: "image/png" }];
      const reply = await generateText({ ...plain, model: model(names.image), messages: [{ role: "user", content }] });
      assert.equal(reply.text, "a pixel");
    });
    const loop = { ...plain, tools, prompt: twoCalls, stopWhen: stepCountIs(3) };
    await check(surface, provider, "tool loop", async () => {
      const reply = await generateText(loop);
      assert.equal(reply.text, `The tool said: ${reported}`);
      assert.equal(reply.steps[0].finishReason, "tool-calls");
    });
    await check(surface, provider, "tool loop in streams", async () => {
      const reply = streamText(loop);
      await reply.consumeStream();
      assert.equal(await reply.text, `The tool said: ${reported}`);
    });
    await check(surface, provider, "reasoning tool loop", async () => {
      const reasoning = {
        openai: { reasoningEffort: "medium", reasoningSummary: "auto", store: false },
        anthropic: { thinking: { type: "enabled", budgetTokens: 2000 } },
        gateway: { reasoningEffort: "medium" },
      };
      const reply = streamText({
        ...loop, model: model(names.thinking), prompt: `think:hmm\n${twoCalls}`, providerOptions: reasoning,
      });
      await reply.consumeStream();
      assert.equal(await reply.text, `The tool said: ${reported}`);
    });
    await check(surface, provider, "structured output", async () => {
      // The Anthropic provider asks strangers by a forced tool of this name. Ollama cannot be held to one, so its model
      // calls it of its own accord; a model that has no such tool answers by the schema.
      const asked = { ...plain, prompt: 'call:json {"name": "Ada", "age": 36}', output: Output.object({ schema: Person }) };
      assert.equal(typeof (await generateText(asked)).output.age, "number");
      const streamed = streamText(asked);
      await streamed.consumeStream();
      assert.equal(typeof (await streamed.output).name, "string");
    });
    await check(surface, provider, "errors", async () => {
      const missing = await raised(() => generateText({ ...plain, model: model(names.missing), prompt: "Hi" }));
      assert.ok(APICallError.isInstance(missing) && missing.statusCode === 404, String(missing));
      const busy = await raised(() => generateText({ ...plain, prompt: "fault:busy" }));
      assert.ok(APICallError.isInstance(busy) && busy.statusCode === 429 && busy.isRetryable, String(busy));
      assert.match(busy.message, /busy/);
    });
    await check(surface, provider, "broken stream", async () => {
      const reply = streamText({ ...plain, prompt: "count:99\nfault:cut" });
      const parts = [];
      for await (const part of reply.fullStream) parts.push(part.type);
      assert.ok(parts.includes("error"), parts.join(" "));
    });
  }
}
