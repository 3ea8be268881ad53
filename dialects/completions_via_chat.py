"""Legacy completions answered by chat completions: the prompt as the user's message, the answer as text."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any

import orjson

from dialects.capabilities import resolve
from dialects.errors import GatewayError, bad_request
from dialects.parts import Losses, invalid_answer, new_id, truncated_answer
from dialects.sse import escape, frame_json
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
# What legacy completions allowed.
_MOST_LOGPROBS = 5
_FINISHES = ("stop", "length", "content_filter")
_DONE = b"data: [DONE]\n\n"
# Where the prompt stands in the chat body.
_PROMPT = re.compile(r"messages(?:\[0\](?:\.content)?)?(?![\w\[])")


class CompletionsViaChat:
    """One attempt. A request without `max_tokens` gets none: the old default of 16 would cut a chat model's
    answer short."""

    def __init__(self) -> None:
        self._losses = Losses()
        self.dropped: list[str] = self._losses
        self._id = new_id("cmpl-")
        self._created = int(time.time())
        self._model = ""
        self._echo = ""
        self._include_usage = False
        self._choices: dict[int, _Choice] = {}
        self._head = b""
        self._tail = b""
        self._usage: Any = None

    def request(self, body: JsonObject, model: ModelFacts) -> JsonObject:
        self._model = model.name
        prompt = _prompt(body)
        if body.get("echo"):
            self._echo = prompt
        _refuse(body)
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
            options = body.get("stream_options")
            self._include_usage = type(options) is dict and options.get("include_usage") is True
            out["stream"] = True
            # The gateway counts even when the client does not ask.
            out["stream_options"] = {"include_usage": True}
        self._losses.note_unknown(body, _KNOWN, {})
        return out

    def response(self, body: JsonObject) -> JsonObject:
        try:
            answer: JsonObject = {
                "id": self._id,
                "object": "text_completion",
                "created": self._created,
                "model": body.get("model") or self._model,
                "choices": [self._choice(choice) for choice in body["choices"]],
            }
        except (AttributeError, KeyError, TypeError):
            raise invalid_answer() from None
        for name in ("system_fingerprint", "usage"):
            if body.get(name) is not None:
                answer[name] = body[name]
        return answer

    def event(self, event: Event) -> bytes:
        if not event.data:
            return b""
        if event.data == b"[DONE]":
            if not any(choice.finished for choice in self._choices.values()):
                raise truncated_answer()
            return b""
        try:
            return self._chunk(event.json())
        except (AttributeError, KeyError, TypeError):
            raise invalid_answer() from None

    def finish(self) -> bytes:
        if not self._include_usage or self._usage is None:
            return _DONE
        return frame_json({**self._envelope(), "choices": [], "usage": self._usage}) + _DONE

    def client_words(self, text: str) -> str:
        """A text about the chat body that this pair made, in the words of the client's own body."""
        return _PROMPT.sub("prompt", text).replace("max_completion_tokens", "max_tokens")

    # --- The request's parts

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
        top = body.get("logprobs")
        if top is None:
            return
        if type(top) is not int or not 0 <= top <= _MOST_LOGPROBS:
            raise bad_request(
                f"'logprobs' must be an integer from 0 to {_MOST_LOGPROBS}.", "logprobs", "invalid_value"
            )
        if body.get("echo"):
            raise bad_request(
                "'logprobs' with 'echo' needs a completion model: a chat model does not score its prompt.",
                "logprobs",
                "unsupported_value",
            )
        if free:
            out["logprobs"] = True
            out["top_logprobs"] = top
        else:
            self._losses.note("logprobs")

    # --- The answer's parts

    def _choice(self, choice: JsonObject) -> JsonObject:
        message = choice["message"]
        text = message.get("content")
        refusal = message.get("refusal")
        said = text if type(text) is str else ""
        refused = not said and type(refusal) is str and bool(refusal)
        logprobs = _Offsets().legacy(choice.get("logprobs"))
        return {
            "text": self._echo + (refusal if refused else said),
            "index": choice.get("index") or 0,
            "logprobs": logprobs,
            "finish_reason": _finish(choice.get("finish_reason"), refused=refused),
        }

    def _chunk(self, chunk: JsonObject) -> bytes:
        if not self._head:
            self._begin(chunk)
        if chunk.get("usage"):
            self._usage = chunk["usage"]
        out = b""
        for choice in chunk.get("choices") or ():
            out += self._delta(choice)
        return out

    def _begin(self, chunk: JsonObject) -> None:
        self._model = chunk.get("model") or self._model
        self._head = b"data: " + escape(orjson.dumps({**self._envelope(), "choices": []}))[:-2]
        self._tail = b'],"usage":null}\n\n' if self._include_usage else b"]}\n\n"

    def _delta(self, choice: JsonObject) -> bytes:
        index = choice.get("index") or 0
        state = self._choices.get(index)
        text = ""
        if state is None:
            state = self._choices[index] = _Choice()
            text = self._echo
        delta = choice.get("delta") or {}
        refusal = delta.get("refusal")
        if refusal:
            state.refused = True
        text += (delta.get("content") or "") + (refusal or "")
        logprobs = choice.get("logprobs")
        finish = choice.get("finish_reason")
        if not text and not logprobs and finish is None:
            return b""
        if finish is not None:
            state.finished = True
            finish = _finish(finish, refused=state.refused)
        made = {
            "text": text,
            "index": index,
            "logprobs": state.offsets.legacy(logprobs) if logprobs else None,
            "finish_reason": finish,
        }
        return self._head + escape(orjson.dumps(made)) + self._tail

    def _envelope(self) -> JsonObject:
        return {
            "id": self._id,
            "object": "text_completion",
            "created": self._created,
            "model": self._model,
        }


class _Offsets:
    """Where the next token begins in one choice's text: only legacy completions tell."""

    __slots__ = ("_at",)

    def __init__(self) -> None:
        self._at = 0

    def legacy(self, logprobs: Any) -> JsonObject | None:
        """Chat's log probabilities as four lists side by side."""
        entries = logprobs.get("content") or logprobs.get("refusal") if type(logprobs) is dict else None
        if not entries:
            return None
        offsets = []
        for entry in entries:
            offsets.append(self._at)
            self._at += len(entry["token"])
        return {
            "tokens": [entry["token"] for entry in entries],
            "token_logprobs": [entry["logprob"] for entry in entries],
            "top_logprobs": [
                {top["token"]: top["logprob"] for top in entry.get("top_logprobs") or ()} for entry in entries
            ],
            "text_offset": offsets,
        }


class _Choice:
    """What a stream has said so far of one choice."""

    __slots__ = ("finished", "offsets", "refused")

    def __init__(self) -> None:
        self.offsets = _Offsets()
        self.finished = False
        self.refused = False


def _prompt(body: JsonObject) -> str:
    prompt = body.get("prompt")
    if type(prompt) is list and len(prompt) == 1 and type(prompt[0]) is str:
        prompt = prompt[0]
    if type(prompt) is str:
        return prompt
    if type(prompt) is list and prompt and all(type(one) is str for one in prompt):
        raise _unsupported("prompt", "several prompts in one request")
    if type(prompt) is list and prompt:
        raise _unsupported("prompt", "a prompt of token ids, which only its own tokenizer understands,")
    raise bad_request("Missing required parameter: 'prompt'.", "prompt", "missing_required_parameter")


def _refuse(body: JsonObject) -> None:
    """Refuse what asks for something else than an answer to the prompt."""
    if body.get("suffix"):
        raise _unsupported("suffix", "text to insert before a suffix")
    best_of = body.get("best_of")
    if best_of is not None and best_of != (body.get("n") or 1):
        raise _unsupported("best_of", "choosing the best of several answers")
    if body.get("max_tokens") == 0:
        raise _unsupported("max_tokens", "an answer of no tokens")


def _unsupported(param: str, what: str) -> GatewayError:
    return bad_request(
        f"This model is a chat model: {what} cannot be sent to it.", param, "unsupported_value"
    )


def _finish(reason: Any, *, refused: bool) -> str:
    """The reason in the three words of legacy completions. A call of a tool, which nobody asked for, is a
    plain stop."""
    if type(reason) is not str:
        raise truncated_answer()
    if refused and reason == "stop":
        return "content_filter"
    return reason if reason in _FINISHES else "stop"
