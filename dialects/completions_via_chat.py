"""Legacy completions answered by chat completions: the prompt as the user's message, the answer as text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from dialects.capabilities import resolve
from dialects.parts import Losses, invalid_answer, truncated_answer
from dialects.parts_completions import (
    Writer,
    finish_reason,
    prompt_text,
    refuse_selection,
    top_logprobs,
    unsupported,
)
from dialects.types import Event, JsonObject, ModelFacts

# Fields of the same name and meaning on both sides.
_SAME = ("n", "seed", "user", "safety_identifier", "metadata", "store", "service_tier")
# Of the same name too, but refused by models that reason unless they ask for nothing.
_SAMPLING: Mapping[str, Any] = {
    "temperature": 1,
    "top_p": 1,
    "frequency_penalty": 0,
    "presence_penalty": 0,
    "logit_bias": {},
    "stop": None,
}
_KNOWN = frozenset(
    {"model", "prompt", "stream", "stream_options", "max_tokens", "logprobs", "echo", "suffix", "best_of"}
    | set(_SAME)
    | set(_SAMPLING)
)
# Where the prompt stands in the chat body.
_PROMPT = re.compile(r"messages(?:\[0\](?:\.content)?)?(?![\w\[])")


class CompletionsViaChat:
    """One attempt. A request without `max_tokens` gets none: the old default of 16 would cut a chat model's
    answer short."""

    def __init__(self) -> None:
        self._losses = Losses()
        self.dropped: list[str] = self._losses
        self._writer = Writer()
        self._refused: set[int] = set()
        self._usage: Any = None

    def request(self, body: JsonObject, model: ModelFacts) -> JsonObject:
        prompt = prompt_text(body)
        if body.get("suffix"):
            raise unsupported("suffix", "a text to insert before a suffix")
        refuse_selection(body)
        self._writer.begin(body, prompt, model.name)
        out: JsonObject = {"model": model.name, "messages": [{"role": "user", "content": prompt}]}
        for name in _SAME:
            if body.get(name) is not None:
                out[name] = body[name]
        capabilities = resolve(model)
        self._sampling(body, out, capabilities)
        cap = body.get("max_tokens")
        if cap is not None:
            newer = "max_completion_tokens" in capabilities
            out["max_completion_tokens" if newer else "max_tokens"] = cap
        if body.get("stream"):
            out["stream"] = True
            # The gateway counts even when the client does not ask.
            out["stream_options"] = {"include_usage": True}
        self._losses.note_unknown(body, _KNOWN, {})
        return out

    def response(self, body: JsonObject) -> JsonObject:
        self._writer.named(body.get("model"))
        try:
            choices = [self._choice(choice) for choice in body["choices"]]
        except (AttributeError, KeyError, TypeError):
            raise invalid_answer() from None
        return self._writer.whole(
            choices, system_fingerprint=body.get("system_fingerprint"), usage=body.get("usage")
        )

    def event(self, event: Event) -> bytes:
        if not event.data:
            return b""
        if event.data == b"[DONE]":
            if not self._writer.finished:
                raise truncated_answer()
            return b""
        try:
            return self._chunk(event.json())
        except (AttributeError, KeyError, TypeError):
            raise invalid_answer() from None

    def finish(self) -> bytes:
        return self._writer.end(self._usage)

    def client_words(self, text: str) -> str:
        """A text about the chat body that this pair made, in the words of the client's own body."""
        text = _PROMPT.sub("prompt", text).replace("top_logprobs", "logprobs")
        return text.replace("max_completion_tokens", "max_tokens")

    def _sampling(self, body: JsonObject, out: JsonObject, capabilities: frozenset[str]) -> None:
        free = "sampling" in capabilities
        for name, neutral in _SAMPLING.items():
            value = body.get(name)
            if value is None:
                continue
            if free:
                out[name] = value
            elif value != neutral:
                self._losses.note(name)
        top = top_logprobs(body)
        if top is None:
            return
        if free:
            out["logprobs"] = True
            out["top_logprobs"] = top
        else:
            self._losses.note("logprobs")

    def _choice(self, choice: JsonObject) -> JsonObject:
        message = choice["message"]
        text = _said(message.get("content"))
        refusal = message.get("refusal")
        said = text if type(text) is str else ""
        refused = not said and type(refusal) is str and bool(refusal)
        return self._writer.choice(
            choice.get("index") or 0,
            refusal if refused else said,
            _entries(choice.get("logprobs")),
            finish_reason(choice.get("finish_reason"), refused=refused),
        )

    def _chunk(self, chunk: JsonObject) -> bytes:
        self._writer.named(chunk.get("model"))
        if chunk.get("usage"):
            self._usage = chunk["usage"]
        return b"".join(map(self._delta, chunk.get("choices") or ()))

    def _delta(self, choice: JsonObject) -> bytes:
        index = choice.get("index") or 0
        delta = choice.get("delta") or {}
        refusal = delta.get("refusal")
        if refusal:
            self._refused.add(index)
        finish = choice.get("finish_reason")
        # Some servers say "" until they have one.
        finish = finish or None
        if finish is not None:
            finish = finish_reason(finish, refused=index in self._refused)
        text = (_said(delta.get("content")) or "") + (refusal or "")
        return self._writer.piece(index, text, _entries(choice.get("logprobs")), finish)


def _said(content: Any) -> Any:
    """The text of content that some servers give in parts; what was thought has no place here."""
    if type(content) is list:
        return "".join(part["text"] for part in content if part.get("type") == "text")
    return content


def _entries(logprobs: Any) -> Any:
    """Chat's log probabilities token by token, of the answer or of its refusal."""
    if type(logprobs) is not dict:
        return None
    return logprobs.get("content") or logprobs.get("refusal")
