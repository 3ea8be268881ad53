// Coding agents: Claude Code over messages and Codex over responses, each told to read a file by its own tool.

import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { assert, check, client, key, url } from "./harness.mjs";

const bin = (name) => fileURLToPath(new URL(`node_modules/.bin/${name}`, import.meta.url));
const home = mkdtempSync(join(tmpdir(), "clients-home-"));
const work = mkdtempSync(join(tmpdir(), "clients-work-"));
const note = join(work, "note.txt");
writeFileSync(note, "the word is heron\n");

// Standard output of a command that must end well, with none of this machine's own settings. `minutes` is generous:
// each takes seconds on a quiet machine.
function run(command, args, environment, minutes = 3) {
  const options = {
    cwd: work, env: { PATH: process.env.PATH, HOME: home, ...environment }, timeout: minutes * 60_000,
    maxBuffer: 2 ** 26,
  };
  return new Promise((resolve, reject) => {
    const child = execFile(command, args, options, (error, out, err) =>
      error ? reject(new Error(`${error.message.slice(0, 80)} ${(out + err).slice(-500)}`)) : resolve(out),
    );
    child.stdin.end();
  });
}

async function claude(model, prompt, ...more) {
  const environment = {
    ANTHROPIC_BASE_URL: url, ANTHROPIC_AUTH_TOKEN: key,
    ANTHROPIC_MODEL: model, ANTHROPIC_DEFAULT_HAIKU_MODEL: model,
    CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: "1", DISABLE_AUTOUPDATER: "1",
  };
  const reply = JSON.parse(await run(bin("claude"), ["-p", prompt, "--output-format", "json", ...more], environment));
  assert.equal(reply.is_error, false, reply.result);
  assert.ok(reply.usage.output_tokens > 0, "no usage");
  return reply.result;
}

async function codex(model, prompt, ...more) {
  const provider = `{name = "gateway", base_url = "${url}/v1", env_key = "GATEWAY_KEY", wire_api = "responses"}`;
  const settings = ["model_provider=gateway", `model_providers.gateway=${provider}`, 'sandbox_mode="workspace-write"'];
  const out = await run(
    bin("codex"),
    ["exec", ...more, "--json", "--skip-git-repo-check", "-m", model, ...settings.flatMap((one) => ["-c", one]), prompt],
    { GATEWAY_KEY: key },
  );
  const events = out.split("\n").filter((line) => line.startsWith("{")).map((line) => JSON.parse(line));
  const ended = events.find((event) => event.type === "turn.completed");
  assert.ok(ended?.usage.output_tokens > 0, out.slice(-500));
  return events.filter((event) => event.item?.type === "agent_message").at(-1).item.text;
}

async function cases(surface, provider, ask, read, again) {
  await check(surface, provider, "text", async () => assert.equal(await ask("say:Grüezi ✓"), "Grüezi ✓"));
  await check(surface, provider, "tool loop in streams", async () => {
    assert.match(await ask(`think:hmm\n${read}`), /^The tool said: [^]*the word is heron/);
  });
  await check(surface, provider, "conversation taken up again", async () => {
    assert.equal(await ask("say:once more", ...again), "once more");
  });
}

try {
  client("Claude Code", "@anthropic-ai/claude-code");
  const read = `call:Read {"file_path": ${JSON.stringify(note)}}`;
  for (const [provider, model] of [["openai", "gpt-5"], ["anthropic", "claude-sonnet-4-6"], ["ollama", "qwen3:8b"]]) {
    await cases("messages", provider, (...words) => claude(model, ...words), read, ["--continue"]);
  }
  // OpenAI's newest take tools with reasoning over responses only.
  client("Claude Code with a model of the newest", "@anthropic-ai/claude-code");
  await cases("messages", "openai", (...words) => claude("gpt-5.5", ...words), read, ["--continue"]);
  client("Codex", "@openai/codex");
  const cat = 'call:exec_command {"cmd": "cat note.txt"}';
  for (const [provider, model] of [["openai", "gpt-5"], ["anthropic", "claude-sonnet-4-6"], ["ollama", "qwen3:8b"]]) {
    await cases("responses", provider, (...words) => codex(model, ...words), cat, ["resume", "--last"]);
  }
  // To models that it knows by name it offers other tools than to strangers: one that takes text by a grammar, or, in
  // code mode, one that runs a program of the model's in which the others are functions.
  client("Codex with a model that it knows", "@openai/codex");
  for (const [provider, model] of [["openai", "gpt-5.5"], ["anthropic", "gpt-5.5-claude"], ["ollama", "gpt-5.5-local"]]) {
    await cases("responses", provider, (...words) => codex(model, ...words), cat, ["resume", "--last"]);
    // OpenAI's models write to such a tool without JSON, and the fake's orders have one line.
    if (provider !== "openai") {
      await check("responses", provider, "file written by a free-form tool", async () => {
        const added = `${provider}.txt`;
        const patch = `*** Begin Patch\n*** Add File: ${added}\n+Grüezi ✓ "heron"\n*** End Patch\n`;
        await codex(model, `call:apply_patch ${JSON.stringify({ input: patch })}`);
        assert.equal(readFileSync(join(work, added), "utf8"), 'Grüezi ✓ "heron"\n');
      });
    }
  }
  client("Codex in code mode", "@openai/codex");
  const program = 'text((await tools.exec_command({ cmd: "cat note.txt" })).output)';
  const code = `call:functions__exec ${JSON.stringify({ input: program })}`;
  for (const [provider, model] of [["anthropic", "gpt-5.6-sol"], ["ollama", "gpt-5.6-terra"]]) {
    await cases("responses", provider, (...words) => codex(model, ...words), code, ["resume", "--last"]);
  }
} finally {
  rmSync(home, { recursive: true, force: true });
  rmSync(work, { recursive: true, force: true });
}
