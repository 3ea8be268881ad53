// The playground: asks the gateway's own API, streaming, on one or two sides. The key is in this script's memory alone.
(() => {
  const root = document.getElementById("playground");
  const field = (name) => root.querySelector(`[name="${name}"]`);
  const problem = root.querySelector("[data-problem]");
  let key = null;
  let running = [];

  const forged = () => field("csrfmiddlewaretoken").value;
  const form = (fields) => new URLSearchParams({ csrfmiddlewaretoken: forged(), ...fields });

  async function theKey() {
    const team = field("team").value;
    if (key && key.team === team && key.until > Date.now()) return key.key;
    end();
    const reply = await fetch(root.dataset.key, { method: "POST", body: form({ team }) });
    if (!reply.ok) throw new Error(`No key was issued (${reply.status}).`);
    const said = await reply.json();
    // Refused after half an hour: another one is taken before that.
    key = { ...said, team, until: Date.now() + 25 * 60 * 1000 };
    return key.key;
  }

  function end() {
    // Sent also when the page goes.
    if (key) fetch(root.dataset.end, { method: "POST", body: form({ id: key.id }), keepalive: true });
    key = null;
  }

  function image() {
    const file = field("image").files[0];
    if (!file) return null;
    return new Promise((done, failed) => {
      const reader = new FileReader();
      reader.onload = () => done(reader.result);
      reader.onerror = () => failed(new Error("The image cannot be read."));
      reader.readAsDataURL(file);
    });
  }

  class Pane {
    constructor(section) {
      this.model = section.querySelector("input");
      this.log = section.querySelector("[data-log]");
      this.facts = section.querySelector("[data-facts]");
      this.turns = [];
    }

    say(who, text) {
      const line = document.createElement("div");
      const name = document.createElement("strong");
      name.textContent = `${who} `;
      const words = document.createElement("span");
      words.textContent = text;
      line.append(name, words);
      this.log.append(line);
      return words;
    }

    clear() {
      this.turns = [];
      this.log.replaceChildren();
      this.facts.textContent = "";
    }

    async ask(content, extra, secret, signal) {
      const system = field("system").value;
      this.turns.push({ role: "user", content });
      const messages = system ? [{ role: "system", content: system }, ...this.turns] : this.turns;
      this.say("You", typeof content === "string" ? content : `${content[0].text} [image]`);
      const words = this.say(this.model.value, "");
      const began = performance.now();
      const body = { stream_options: { include_usage: true }, ...extra, model: this.model.value, messages, stream: true };
      let reply;
      try {
        const send = () => fetch("/v1/chat/completions", {
          method: "POST",
          signal,
          headers: { "Authorization": `Bearer ${secret}`, "Content-Type": "application/json" },
          body: JSON.stringify(body),
        });
        reply = await send();
        // A worker may hear of a new key a moment after the one that issued it.
        for (let turn = 0; reply.status === 401 && turn < 10 && !this.turns[1]; turn += 1) {
          await new Promise((done) => setTimeout(done, 200));
          reply = await send();
        }
        this.told(reply, began, null);
        if (!reply.ok) {
          const said = await reply.json();
          throw new Error(`${reply.status} ${said.error.code}: ${said.error.message}`);
        }
        await this.read(reply, words, began);
      } catch (error) {
        this.say("Error", signal.aborted ? "stopped" : error.message);
        this.turns.pop();
      }
      if (reply) await this.look(reply.headers.get("x-request-id"));
    }

    async read(reply, words, began) {
      const calls = [];
      const turn = { role: "assistant", content: "" };
      let first = null;
      for await (const said of events(reply)) {
        if (said.error) throw new Error(`${said.error.code}: ${said.error.message}`);
        for (const choice of said.choices ?? []) {
          const delta = choice.delta ?? {};
          if (delta.content) turn.content += delta.content;
          for (const piece of delta.tool_calls ?? []) {
            const call = (calls[piece.index] ??= { id: piece.id, type: "function", function: { name: "", arguments: "" } });
            call.function.name += piece.function?.name ?? "";
            call.function.arguments += piece.function?.arguments ?? "";
          }
          if (first === null && (delta.content || delta.tool_calls)) {
            first = performance.now() - began;
            this.told(reply, began, first);
          }
        }
        words.textContent = turn.content + calls.map((call) => `\n${call.function.name}(${call.function.arguments})`).join("");
        this.log.scrollTop = this.log.scrollHeight;
      }
      if (calls.length) turn.tool_calls = calls;
      this.turns.push(turn);
      this.told(reply, began, first, performance.now() - began);
    }

    told(reply, began, first, total) {
      const parts = [`asked ${reply.headers.get("x-gateway-provider") ?? "nobody"}`];
      const cache = reply.headers.get("x-gateway-cache");
      if (cache) parts.push(`cache ${cache}`);
      const dropped = reply.headers.get("x-gateway-dropped");
      if (dropped) parts.push(`not carried over: ${dropped}`);
      if (first !== null) parts.push(`first token after ${Math.round(first)} ms`);
      if (total) parts.push(`whole after ${Math.round(total)} ms`);
      this.facts.textContent = parts.join("; ");
    }

    // The ledger is written beside the calls, a moment later.
    async look(name) {
      for (let turn = 0; name && turn < 40; turn += 1) {
        await new Promise((done) => setTimeout(done, 250));
        const reply = await fetch(`${root.dataset.request}?id=${encodeURIComponent(name)}`);
        if (reply.status === 403) return;
        if (reply.status !== 200) continue;
        const row = await reply.json();
        const link = document.createElement("a");
        link.href = row.address;
        link.className = "text-primary-600";
        link.textContent = "why";
        const words = `; route ${row.route || "none"}, ${row.input_tokens} + ${row.output_tokens} tokens, cost ${row.cost}, attempts ${row.attempts}: `;
        this.facts.append(words, link);
        return;
      }
    }
  }

  async function* events(reply) {
    const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
    let held = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      held += value;
      const whole = held.split("\n\n");
      held = whole.pop();
      for (const event of whole) {
        const data = event.split("\n").filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trim()).join("\n");
        if (data && data !== "[DONE]") yield JSON.parse(data);
      }
    }
  }

  const panes = [...root.querySelectorAll("[data-pane]")].map((section) => new Pane(section));
  const stop = () => running.forEach((each) => each.abort());

  root.querySelector("form").addEventListener("submit", async (event) => {
    event.preventDefault();
    problem.textContent = "";
    stop();
    try {
      const extra = JSON.parse(field("extra").value || "{}");
      const text = field("prompt").value;
      const picture = await image();
      const content = picture ? [{ type: "text", text }, { type: "image_url", image_url: { url: picture } }] : text;
      const chosen = panes.filter((pane) => pane.model.value);
      if (!chosen.length) throw new Error("Name a model first.");
      const secret = await theKey();
      running = chosen.map(() => new AbortController());
      await Promise.all(chosen.map((pane, n) => pane.ask(content, extra, secret, running[n].signal)));
    } catch (error) {
      problem.textContent = error.message;
    }
  });
  root.querySelector("[data-stop]").addEventListener("click", stop);
  root.querySelector("[data-clear]").addEventListener("click", () => panes.forEach((pane) => pane.clear()));
  field("team").addEventListener("change", () => { stop(); end(); panes.forEach((pane) => pane.clear()); });
  addEventListener("pagehide", end);
})();
