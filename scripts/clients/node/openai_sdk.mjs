// OpenAI's own client for Node: chat, legacy completions, responses, embeddings, models and errors.

import OpenAI from "openai";
import { zodResponseFormat, zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";
import {
  assert, check, client, collect, key, pixel, providers, raised, report, reported, twoCalls, twoCities, unforced,
  url, weather, words,
} from "./harness.mjs";

const options = { baseURL: `${url}/v1`, apiKey: key, maxRetries: 0 };
const openai = new OpenAI(options);
const Person = z.object({ name: z.string(), age: z.number().int() });
const user = (content) => [{ role: "user", content }];
const tools = [{ type: "function", function: { ...weather, strict: true } }];

client("openai");
for (const [provider, model] of Object.entries(providers)) {
  await chat(provider, model);
  await responses(provider, model);
  await errors(provider, model);
  if (model.embedding) await embeddings(provider, model.embedding);
  await check("models", provider, "list and retrieve", async () => {
    const listed = await collect(openai.models.list());
    assert.ok(listed.length > 0);
    assert.equal((await openai.models.retrieve(model.text)).id, model.text);
  });
}

async function chat(provider, model) {
  const ask = (body) => openai.chat.completions.create({ model: model.text, ...body });

  await check("chat", provider, "text", async () => {
    const reply = await ask({
      messages: [{ role: "developer", content: "Be brief." }, ...user("say:Grüezi ✓ 你好 👩‍🚀")],
      temperature: 0.2,
      max_completion_tokens: 100,
    });
    assert.equal(reply.choices[0].message.content, "Grüezi ✓ 你好 👩‍🚀");
    assert.equal(reply.choices[0].finish_reason, "stop");
    assert.ok(reply.usage.prompt_tokens > 0 && reply.usage.completion_tokens > 0);
  });
  await check("chat", provider, "stream", async () => {
    const chunks = await collect(
      await ask({ messages: user("count:9"), stream: true, stream_options: { include_usage: true } }),
    );
    assert.equal(chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join(""), words);
    assert.ok(chunks.at(-1).usage.completion_tokens > 0);
  });
  await check("chat", provider, "length stop", async () => {
    const reply = await ask({ messages: user("count:90"), max_tokens: 5 });
    assert.equal(reply.choices[0].finish_reason, "length");
  });
  await check("chat", provider, "image", async () => {
    const content = [
      { type: "text", text: "say:a pixel" },
      { type: "image_url", image_url: { url: `data:image/png;base64,${pixel}` } },
    ];
    const reply = await ask({ model: model.image, messages: user(content) });
    assert.equal(reply.choices[0].message.content, "a pixel");
  });
  for (const stream of [false, true]) {
    await check("chat", provider, stream ? "tool loop in streams" : "tool loop", async () => {
      const runner = openai.chat.completions.runTools({
        model: model.text,
        stream,
        ...(stream && { stream_options: { include_usage: true } }),
        messages: user(twoCalls),
        tools: [
          {
            type: "function",
            function: { ...weather, parse: JSON.parse, function: ({ city }) => report(city) },
          },
        ],
      });
      assert.equal(await runner.finalContent(), `The tool said: ${reported}`);
      assert.ok((await runner.totalUsage()).completion_tokens > 0);
      const calls = runner.messages.flatMap((message) => message.tool_calls ?? []);
      assert.deepEqual(calls.map((call) => JSON.parse(call.function.arguments).city), twoCities);
    });
  }
  await check("chat", provider, "forced tool", async () => {
    const choice = { type: "function", function: { name: "get_weather" } };
    const asked = ask({ messages: user('call:get_weather {"city": "Rom"}'), tools, tool_choice: choice });
    const { data, response } = await asked.withResponse();
    assert.equal(data.choices[0].message.tool_calls[0].function.name, "get_weather");
    assert.equal((response.headers.get("x-gateway-dropped") ?? "").includes("tool_choice"), unforced[provider]);
  });
  await check("chat", provider, "structured output", async () => {
    const body = { model: model.text, messages: user("Who?"), response_format: zodResponseFormat(Person, "person") };
    const reply = await openai.chat.completions.parse(body);
    assert.equal(typeof reply.choices[0].message.parsed.age, "number");
    const streamed = await openai.chat.completions.stream(body).finalChatCompletion();
    assert.equal(typeof streamed.choices[0].message.parsed.name, "string");
  });
  await check("completions", provider, "text and stream", async () => {
    const name = provider === "openai" ? "gpt-3.5-turbo-instruct" : model.text;
    const whole = await openai.completions.create({ model: name, prompt: "count:9", max_tokens: 100 });
    assert.equal(whole.choices[0].text.trim(), words);
    const chunks = await collect(
      await openai.completions.create({ model: name, prompt: "count:9", max_tokens: 100, stream: true }),
    );
    assert.equal(chunks.map((chunk) => chunk.choices[0]?.text ?? "").join("").trim(), words);
  });
}

async function responses(provider, model) {
  await check("responses", provider, "text", async () => {
    const reply = await openai.responses.create({
      model: model.text, instructions: "Be brief.", input: "say:Grüezi ✓", store: false,
    });
    assert.equal(reply.output_text, "Grüezi ✓");
    assert.equal(reply.status, "completed");
    assert.ok(reply.usage.input_tokens > 0 && reply.usage.output_tokens > 0);
  });
  await check("responses", provider, "stream", async () => {
    const stream = openai.responses.stream({ model: model.text, input: "count:9", store: false });
    const deltas = (await collect(stream)).filter((event) => event.type === "response.output_text.delta");
    assert.equal(deltas.map((event) => event.delta).join(""), words);
    assert.equal((await stream.finalResponse()).output_text, words);
  });
  for (const streamed of [false, true]) {
    await check("responses", provider, streamed ? "tool loop in streams" : "tool loop", async () => {
      const body = {
        model: model.thinking, store: false, include: ["reasoning.encrypted_content"], max_output_tokens: 8000,
        reasoning: { effort: "medium", summary: "auto" }, tools: [{ type: "function", ...weather, strict: true }],
      };
      const ask = (input) =>
        streamed ? openai.responses.stream({ ...body, input }).finalResponse() : openai.responses.create({ ...body, input });
      const input = user(`think:hmm\n${twoCalls}`);
      const first = await ask(input);
      const calls = first.output.filter((item) => item.type === "function_call");
      assert.deepEqual(calls.map((call) => JSON.parse(call.arguments).city), twoCities);
      assert.ok(first.output.some((item) => item.type === "reasoning"), "no reasoning item");
      input.push(
        ...first.output.map(({ parsed_arguments, ...item }) => item),
        ...calls.map((call) => ({
          type: "function_call_output", call_id: call.call_id, output: report(JSON.parse(call.arguments).city),
        })),
      );
      assert.equal((await ask(input)).output_text, `The tool said: ${reported}`);
    });
  }
  await check("responses", provider, "structured output", async () => {
    const reply = await openai.responses.parse({
      model: model.text, input: "Who?", store: false, text: { format: zodTextFormat(Person, "person") },
    });
    assert.equal(typeof reply.output_parsed.age, "number");
  });
}

async function embeddings(provider, name) {
  await check("embeddings", provider, "base64 and floats", async () => {
    // The client asks for base64 unless told otherwise, and decodes it.
    const packed = await openai.embeddings.create({ model: name, input: ["one", "two"] });
    const floats = await openai.embeddings.create({ model: name, input: ["one", "two"], encoding_format: "float" });
    assert.equal(packed.data.length, 2);
    assert.ok(packed.data[0].embedding.length >= 384);
    assert.deepEqual([...packed.data[1].embedding], floats.data[1].embedding);
  });
}

async function errors(provider, model) {
  const body = (text) => ({ model: model.text, messages: user(text) });
  await check("chat", provider, "errors", async () => {
    const wrongKey = new OpenAI({ ...options, apiKey: "gw-wrong" });
    assert.ok((await raised(() => wrongKey.chat.completions.create(body("Hi")))) instanceof OpenAI.AuthenticationError);
    const missing = await raised(() => openai.chat.completions.create({ ...body("Hi"), model: model.missing }));
    assert.ok(missing instanceof OpenAI.NotFoundError, String(missing));
    const bad = await raised(() => openai.chat.completions.create({ ...body("Hi"), messages: [{ role: "wizard" }] }));
    assert.ok(bad instanceof OpenAI.BadRequestError, String(bad));
    const busy = await raised(() => openai.chat.completions.create(body("fault:busy")));
    assert.ok(busy instanceof OpenAI.RateLimitError, String(busy));
    assert.match(busy.requestID, /^req_/);
    assert.equal(busy.headers.get("retry-after"), "1");
  });
  await check("chat", provider, "broken stream", async () => {
    const read = async () => collect(await openai.chat.completions.create({ ...body("count:99\nfault:cut"), stream: true }));
    assert.ok((await raised(read)) instanceof OpenAI.APIError);
  });
  await check("responses", provider, "broken stream", async () => {
    const events = [];
    const error = await raised(async () => {
      const stream = await openai.responses.create({ model: model.text, input: "count:99\nfault:cut", stream: true });
      for await (const event of stream) {
        events.push(event.type);
        if (event.type === "response.failed" || event.type === "error") throw new Error("told in-band");
      }
    });
    assert.ok(error.message === "told in-band" || error instanceof OpenAI.APIError, String(error));
    assert.ok(!events.includes("response.completed"));
  });
}
