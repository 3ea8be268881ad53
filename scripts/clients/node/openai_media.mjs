// OpenAI's client for Node and Vercel's AI SDK beyond text: images, sound, moderation, files and batches.

import { createOpenAI } from "@ai-sdk/openai";
import {
  experimental_generateSpeech as generateSpeech, experimental_transcribe as transcribe, generateImage,
} from "ai";
import OpenAI, { toFile } from "openai";
import { assert, check, client, collect, key, pixel, raised, url } from "./harness.mjs";

const openai = new OpenAI({ baseURL: `${url}/v1`, apiKey: key, maxRetries: 0 });
const image = "gpt-image-2";
const speaker = "gpt-4o-mini-tts";
const listener = "gpt-4o-transcribe";
const png = Buffer.from(pixel, "base64");
const recording = Buffer.alloc(200_000, "sound");
const heard = `I heard ${recording.length} bytes.`;
const on = (surface, name, act) => check(surface, "openai", name, act);
const isPng = (encoded) => Buffer.from(encoded, "base64").subarray(1, 4).toString() === "PNG";

client("openai (images, sound, files)", "openai");

await on("images", "generate", async () => {
  const made = await openai.images.generate({ model: image, prompt: "a fox", n: 2 });
  assert.equal(made.data.length, 2);
  assert.ok(isPng(made.data[0].b64_json));
  assert.ok(made.usage.output_tokens > 0);
});
await on("images", "stream", async () => {
  const stream = await openai.images.generate({ model: image, prompt: "a fox", stream: true, partial_images: 2 });
  const types = (await collect(stream)).map((event) => event.type.split(".")[1]);
  assert.deepEqual(types, ["partial_image", "partial_image", "completed"]);
});
await on("image_edits", "edit", async () => {
  const files = await Promise.all(["a.png", "b.png"].map((name) => toFile(png, name, { type: "image/png" })));
  const made = await openai.images.edit({ model: image, image: files, prompt: "žlutý kůň" });
  assert.ok(isPng(made.data[0].b64_json));
});
await on("speech", "sound", async () => {
  const response = await openai.audio.speech.create({ model: speaker, voice: "alloy", input: "Grüezi" });
  const sound = Buffer.from(await response.arrayBuffer());
  assert.equal(response.headers.get("content-type"), "audio/mpeg");
  assert.ok(sound.length > 16_000 && sound.subarray(0, 3).toString() === "ID3");
});
await on("transcriptions", "text", async () => {
  const file = await toFile(recording, "žluťoučký.mp3", { type: "audio/mpeg" });
  const said = await openai.audio.transcriptions.create({ model: listener, file });
  assert.equal(said.text, heard);
});
await on("transcriptions", "stream", async () => {
  const file = await toFile(recording, "a.mp3");
  const stream = await openai.audio.transcriptions.create({ model: listener, file, stream: true });
  const events = await collect(stream);
  assert.equal(events.at(-1).text, heard);
});
await on("moderations", "one and several", async () => {
  const said = await openai.moderations.create({ model: "omni-moderation-latest", input: ["a fox", "kill"] });
  assert.deepEqual(said.results.map((result) => result.flagged), [false, true]);
});
await on("files", "create, list, read, delete", async () => {
  const made = await openai.files.create({ file: await toFile(recording, "a.bin"), purpose: "user_data" });
  assert.equal(made.bytes, recording.length);
  assert.ok((await collect(openai.files.list())).some((file) => file.id === made.id));
  const content = Buffer.from(await (await openai.files.content(made.id)).arrayBuffer());
  assert.ok(content.equals(recording));
  assert.ok((await openai.files.delete(made.id)).deleted);
  assert.equal((await raised(() => openai.files.retrieve(made.id))).status, 404);
});
await on("batches", "create, list, cancel", async () => {
  const line = { custom_id: "1", method: "POST", url: "/v1/chat/completions", body: { model: "gpt-4.1", messages: [] } };
  const lines = Buffer.from(`${JSON.stringify(line)}\n`);
  const input = await openai.files.create({ file: await toFile(lines, "batch.jsonl"), purpose: "batch" });
  const made = await openai.batches.create({
    input_file_id: input.id, endpoint: "/v1/chat/completions", completion_window: "24h",
  });
  assert.ok((await collect(openai.batches.list())).some((batch) => batch.id === made.id));
  assert.equal((await openai.batches.cancel(made.id)).status, "cancelling");
});

client("ai with @ai-sdk/openai (images, sound)", "ai", "@ai-sdk/openai");
const provider = createOpenAI({ baseURL: `${url}/v1`, apiKey: key });

await on("images", "generateImage", async () => {
  const made = await generateImage({ model: provider.image(image), prompt: "a fox", maxRetries: 0 });
  assert.ok(isPng(made.image.base64));
});
await on("speech", "generateSpeech", async () => {
  const made = await generateSpeech({ model: provider.speech(speaker), text: "Grüezi", voice: "alloy", maxRetries: 0 });
  assert.ok(made.audio.uint8Array.length > 16_000);
});
await on("transcriptions", "transcribe", async () => {
  const made = await transcribe({ model: provider.transcription(listener), audio: recording, maxRetries: 0 });
  assert.match(made.text, /^I heard \d+ bytes\.$/);
});
