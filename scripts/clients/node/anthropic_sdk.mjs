// Anthropic's own client for Node: messages, counting, models and errors.

import Anthropic from "@anthropic-ai/sdk";
import { betaZodTool } from "@anthropic-ai/sdk/helpers/beta/zod";
import { z } from "zod";
import {
  assert, check, client, collect, key, person, pixel, providers, raised, report, reported, twoCalls, twoCities,
  unforced, url, weather, words,
} from "./harness.mjs";

const options = { baseURL: url, apiKey: key, maxRetries: 0 };
const anthropic = new Anthropic(options);
const user = (content) => [{ role: "user", content }];
const tools = [{ name: weather.name, description: weather.description, input_schema: weather.parameters }];
const text = (message) => message.content.filter((block) => block.type === "text").map((block) => block.text).join("");

client("@anthropic-ai/sdk");
for (const [provider, model] of Object.entries(providers)) {
  const body = (content) => ({ model: model.text, max_tokens: 1000, messages: user(content) });

  await check("messages", provider, "text", async () => {
    const reply = await anthropic.messages.create({
      ...body("say:Grüezi ✓ 你好 👩‍🚀"),
      system: [{ type: "text", text: "Be brief.", cache_control: { type: "ephemeral" } }],
    });
    assert.equal(text(reply), "Grüezi ✓ 你好 👩‍🚀");
    assert.equal(reply.stop_reason, "end_turn");
    assert.ok(reply.usage.input_tokens + (reply.usage.cache_creation_input_tokens ?? 0) > 0);
  });
  await check("messages", provider, "stream", async () => {
    const stream = anthropic.messages.stream(body("count:9"));
    const deltas = [];
    stream.on("text", (delta) => deltas.push(delta));
    const final = await stream.finalMessage();
    assert.equal(deltas.join(""), words);
    assert.ok(final.usage.output_tokens > 0);
  });
  await check("messages", provider, "stop sequence", async () => {
    const reply = await anthropic.messages.create({ ...body("count:9"), stop_sequences: ["word4"] });
    assert.equal(text(reply).trim(), "word1 word2 word3");
  });
  await check("messages", provider, "length stop", async () => {
    const reply = await anthropic.messages.create({ ...body("count:90"), max_tokens: 5 });
    assert.equal(reply.stop_reason, "max_tokens");
  });
  await check("messages", provider, "image", async () => {
    const source = { type: "base64", media_type: "image/png", data: pixel };
    const content = [{ type: "image", source }, { type: "text", text: "say:a pixel" }];
    assert.equal(text(await anthropic.messages.create({ ...body(content), model: model.image })), "a pixel");
  });
  await check("messages", provider, "tool loop with thinking", async () => {
    const thinking = {
      ...body(`think:hmm\n${twoCalls}`),
      model: model.thinking, max_tokens: 8000, thinking: { type: "enabled", budget_tokens: 2000 }, tools,
    };
    const first = await anthropic.messages.create(thinking);
    assert.equal(first.stop_reason, "tool_use");
    const calls = first.content.filter((block) => block.type === "tool_use");
    assert.deepEqual(calls.map((call) => call.input.city), twoCities);
    const results = calls.map((call) => ({ type: "tool_result", tool_use_id: call.id, content: report(call.input.city) }));
    const messages = [...thinking.messages, { role: "assistant", content: first.content }, { role: "user", content: results }];
    assert.equal(text(await anthropic.messages.create({ ...thinking, messages })), `The tool said: ${reported}`);
  });
  await check("messages", provider, "tool loop in streams", async () => {
    const tool = betaZodTool({
      name: weather.name,
      description: weather.description,
      inputSchema: z.object({ city: z.string() }),
      run: ({ city }) => report(city),
    });
    const runner = anthropic.beta.messages.toolRunner({ ...body(twoCalls), tools: [tool], stream: true });
    let last;
    for await (const stream of runner) last = await stream.finalMessage();
    assert.equal(text(last), `The tool said: ${reported}`);
  });
  await check("messages", provider, "forced tool", async () => {
    const choice = { type: "tool", name: "get_weather" };
    const asked = { ...body('call:get_weather {"city": "Rom"}'), tools, tool_choice: choice };
    const { data, response } = await anthropic.messages.create(asked).withResponse();
    assert.deepEqual(data.content.map((block) => block.type), ["tool_use"]);
    assert.equal((response.headers.get("x-gateway-dropped") ?? "").includes("tool_choice"), unforced[provider]);
  });
  await check("messages", provider, "structured output", async () => {
    const format = { type: "json_schema", schema: person };
    const reply = await anthropic.messages.create({ ...body("Who?"), output_config: { format } });
    assert.equal(typeof JSON.parse(text(reply)).age, "number");
  });
  await check("messages", provider, "count tokens", async () => {
    const { max_tokens, ...counted } = body("Hello");
    assert.ok((await anthropic.messages.countTokens({ ...counted, tools })).input_tokens > 0);
  });
  await check("models", provider, "list and retrieve", async () => {
    const listed = await collect(anthropic.models.list());
    assert.ok(listed.length > 0);
    assert.equal((await anthropic.models.retrieve(model.text)).id, model.text);
  });
  await check("messages", provider, "errors", async () => {
    const wrongKey = new Anthropic({ ...options, apiKey: "gw-wrong" });
    assert.ok((await raised(() => wrongKey.messages.create(body("Hi")))) instanceof Anthropic.AuthenticationError);
    const missing = await raised(() => anthropic.messages.create({ ...body("Hi"), model: model.missing }));
    assert.ok(missing instanceof Anthropic.NotFoundError, String(missing));
    const bad = await raised(() => anthropic.messages.create({ ...body("Hi"), messages: [{ role: "wizard", content: "x" }] }));
    assert.ok(bad instanceof Anthropic.BadRequestError, String(bad));
    const busy = await raised(() => anthropic.messages.create(body("fault:busy")));
    assert.ok(busy instanceof Anthropic.RateLimitError, String(busy));
    assert.match(busy.requestID, /^req_/);
    assert.equal(busy.headers.get("retry-after"), "1");
  });
  await check("messages", provider, "broken stream", async () => {
    const read = () => anthropic.messages.stream(body("count:99\nfault:cut")).finalMessage();
    assert.ok((await raised(read)) instanceof Anthropic.AnthropicError);
  });
}
