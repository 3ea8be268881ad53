"""Leaves of the pairs that begin at legacy completions: what a request may ask, and its answer's forms."""

from __future__ import annotations

import time
from typing import Any

import orjson

from dialects.errors import GatewayError, bad_request
from dialects.parts import finish_word, new_id
from dialects.sse import escape, frame_json
from dialects.types import JsonObject

# What legacy completions allowed.
_MOST_LOGPROBS = 5
_FINISHES = ("stop", "length", "content_filter")
_DONE = b"data: [DONE]\n\n"

# --- Requests ----------------------------------------------------------------------------------------


def prompt_text(body: JsonObject) -> str:
    """The one prompt of a request, as text; 400 for any other form. Several texts are taken apart before."""
    prompt = body.get("prompt")
    if type(prompt) is list and len(prompt) == 1 and type(prompt[0]) is str:
        prompt = prompt[0]
    if type(prompt) is str:
        return prompt
    if type(prompt) is list and prompt and all(type(one) is str for one in prompt):
        raise unsupported("prompt", "several prompts at once")
    if type(prompt) is list and prompt:
        raise unsupported("prompt", "a prompt of token ids, which only its own tokenizer understands,")
    raise bad_request("Missing required parameter: 'prompt'.", "prompt", "missing_required_parameter")


def refuse_selection(body: JsonObject) -> None:
    """Refuse what asks for something else than an answer to the prompt for each of `n`."""
    best_of = body.get("best_of")
    if best_of is not None and (type(best_of) is not int or best_of > (body.get("n") or 1)):
        raise unsupported("best_of", "a choice of the best of several answers")
    if body.get("max_tokens") == 0:
        raise unsupported("max_tokens", "a request for no tokens")


def top_logprobs(body: JsonObject) -> int | None:
    """How many alternatives to each token are asked for; None where no log probabilities are."""
    top = body.get("logprobs")
    if top is None:
        return None
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
    return top


def unsupported(param: str, what: str) -> GatewayError:
    return bad_request(
        f"This model is a chat model: {what} cannot be sent to it.", param, "unsupported_value"
    )


# --- Answers -----------------------------------------------------------------------------------------


class Writer:
    """One answer to a client of legacy completions, whole or as a stream.

    `model` is the name in the answer; an echoed prompt comes before each choice's text.
    """

    def __init__(self) -> None:
        self.model = ""
        self.include_usage = False
        self._echo = ""
        self._id = new_id("cmpl-")
        self._created = int(time.time())
        self._choices: dict[int, _Choice] = {}
        self._head = b""
        self._tail = b""

    def begin(self, body: JsonObject, prompt: str, model: str) -> None:
        """Take note of what the client's body says of its answer."""
        self.model = model
        self._echo = prompt if body.get("echo") else ""
        options = body.get("stream_options")
        self.include_usage = type(options) is dict and options.get("include_usage") is True

    def named(self, model: Any) -> None:
        """The model that answers, as the provider calls it. A stream keeps its first chunk's name."""
        if model and not self._head:
            self.model = model

    def whole(self, choices: list[JsonObject], **beside: Any) -> JsonObject:
        """The whole answer, with those of the fields `beside` that there are."""
        given = {name: value for name, value in beside.items() if value is not None}
        return {**self._envelope(), "choices": choices, **given}

    def choice(self, index: int, text: str, logprobs: Any, finish: str) -> JsonObject:
        """One choice of a whole answer. `logprobs`: as chat gives them, entries token by token."""
        return {
            "text": self._echo + text,
            "index": index,
            "logprobs": _Offsets().legacy(logprobs),
            "finish_reason": finish,
        }

    def piece(self, index: int, text: str, logprobs: Any = None, finish: str | None = None) -> bytes:
        """One chunk of a stream; b"" where there is nothing to say."""
        choice = self._choices.get(index)
        if choice is None:
            choice = self._choices[index] = _Choice()
            text = self._echo + text
        choice.finished = choice.finished or finish is not None
        if not text and not logprobs and finish is None:
            return b""
        if not self._head:
            self._head = b"data: " + escape(orjson.dumps({**self._envelope(), "choices": []}))[:-2]
            self._tail = b'],"usage":null}\n\n' if self.include_usage else b"]}\n\n"
        made = {
            "text": text,
            "index": index,
            "logprobs": choice.offsets.legacy(logprobs) if logprobs else None,
            "finish_reason": finish,
        }
        return self._head + escape(orjson.dumps(made)) + self._tail

    @property
    def finished(self) -> bool:
        """True when a choice of the stream has ended."""
        return any(choice.finished for choice in self._choices.values())

    def end(self, usage: JsonObject | None) -> bytes:
        """The stream's last frames: its usage, where it was asked for and is known."""
        if not self.include_usage or usage is None:
            return _DONE
        return frame_json({**self._envelope(), "choices": [], "usage": usage}) + _DONE

    def _envelope(self) -> JsonObject:
        return {
            "id": self._id,
            "object": "text_completion",
            "created": self._created,
            "model": self.model,
        }


class _Choice:
    """What a stream has said so far of one choice."""

    __slots__ = ("finished", "offsets")

    def __init__(self) -> None:
        self.offsets = _Offsets()
        self.finished = False


class _Offsets:
    """Where the next token begins in one choice's text: only legacy completions tell."""

    __slots__ = ("_at",)

    def __init__(self) -> None:
        self._at = 0

    def legacy(self, entries: Any) -> JsonObject | None:
        """The log probabilities of tokens as four lists side by side."""
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


def finish_reason(reason: Any, *, refused: bool = False) -> str:
    """Chat's reason in the three words of legacy completions. A call of a tool, which nobody asked for, is a
    plain stop. Raises GatewayError where there is none."""
    reason = finish_word(reason)
    if refused and reason == "stop":
        return "content_filter"
    return reason if reason in _FINISHES else "stop"
