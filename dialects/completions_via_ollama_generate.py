"""Legacy completions with a suffix answered by Ollama's /api/generate, which alone can insert.

A prompt without a suffix is a message for /api/chat, as for any other provider: Ollama applies the model's
template on both paths.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dialects import parts_ollama as ollama
from dialects.errors import bad_request
from dialects.ollama_chat import ollama_usage
from dialects.parts import Losses, chat_usage, invalid_answer
from dialects.parts_completions import Writer, prompt_text, refuse_selection, top_logprobs
from dialects.types import Event, JsonObject, ModelFacts, Usage

_FLOATS = {name: name for name in ("temperature", "top_p", "frequency_penalty", "presence_penalty")}
_INTS = {"seed": "seed", "max_tokens": "num_predict"}
_KNOWN = frozenset(
    {
        "model", "prompt", "suffix", "stream", "stream_options", "n", "best_of", "stop", "echo", "logprobs",
        *_FLOATS, *_INTS,
    }
)  # fmt: skip
# Values that ask for what happens anyway.
_NEUTRAL: Mapping[str, Any] = {"store": False, "service_tier": "auto", "logit_bias": {}, "metadata": {}}
_NO_USAGE = Usage()


class CompletionsViaOllamaGenerate:
    """One attempt. As over chat, a request without `max_tokens` gets none."""

    def __init__(self) -> None:
        self._losses = Losses()
        self.dropped: list[str] = self._losses
        self._writer = Writer()
        self._last: JsonObject = {}

    def request(self, body: JsonObject, model: ModelFacts) -> JsonObject:
        prompt = prompt_text(body)
        if not prompt:
            # Ollama takes it for the wish to load the model, and answers with nothing.
            raise bad_request("This model needs a text before the suffix: 'prompt' is empty.", "prompt")
        if (body.get("n") or 1) != 1:
            raise bad_request("This model's provider gives one answer per request: 'n' must be 1.", "n")
        refuse_selection(body)
        self._writer.begin(body, prompt, model.name)
        out: JsonObject = {
            "model": model.name,
            "prompt": prompt,
            # Ollama streams unless it is told not to.
            "stream": body.get("stream") is True,
        }
        if body.get("suffix"):
            out["suffix"] = body["suffix"]
        top = top_logprobs(body)
        if top is not None:
            out["logprobs"] = True
            out["top_logprobs"] = top
        options = ollama.Options()
        options.floats(body, _FLOATS)
        options.ints(body, _INTS)
        options.stop(body, "stop")
        if options:
            out["options"] = options
        self._losses.note_unknown(body, _KNOWN, _NEUTRAL)
        return out

    def response(self, body: JsonObject) -> JsonObject:
        self._writer.named(body.get("model"))
        try:
            choice = self._writer.choice(
                0, body["response"], body.get("logprobs"), ollama.finish_reason(body, called=False)
            )
        except (AttributeError, KeyError, TypeError):
            raise invalid_answer() from None
        return self._writer.whole([choice], usage=_usage(body))

    def event(self, event: Event) -> bytes:
        if not event.data:
            return b""
        line = event.json()
        self._writer.named(line.get("model"))
        if line.get("done") is True:
            self._last = line
        try:
            return self._writer.piece(0, line.get("response") or "", line.get("logprobs"))
        except (AttributeError, KeyError, TypeError):
            raise invalid_answer() from None

    def finish(self) -> bytes:
        last = self._last
        finish = ollama.finish_reason(last, called=False)
        return self._writer.piece(0, "", None, finish) + self._writer.end(_usage(last))


def _usage(line: JsonObject) -> JsonObject:
    return chat_usage(ollama_usage(line) or _NO_USAGE)
