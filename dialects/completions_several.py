"""Several prompts in one request of legacy completions, for providers that take one at a time: a body for
each, and their answers as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from dialects.completions import COMPLETIONS
from dialects.errors import bad_request
from dialects.sse import escape, frame_json
from dialects.types import Event, JsonObject

# Each is a call of its own at the provider: more than these are seldom done within one request's time.
MOST_PROMPTS = 128


def several(body: JsonObject) -> list[JsonObject]:
    """A body for each of several prompts of text, in their order; none for any other prompt. 400 for too
    many."""
    prompts = body.get("prompt")
    if type(prompts) is not list or len(prompts) < 2 or not all(type(one) is str for one in prompts):
        return []
    if len(prompts) > MOST_PROMPTS:
        raise bad_request(
            f"This model's provider takes one prompt at a time, so 'prompt' may have at most {MOST_PROMPTS}; "
            f"it has {len(prompts)}.",
            "prompt",
            "array_above_max_length",
        )
    return [{**body, "prompt": one} for one in prompts]


def joined(answers: Sequence[JsonObject], n: int) -> JsonObject:
    """The answers to bodies with one prompt, each with `n` choices, as the answer to all of them: choices
    counted on, usage added up."""
    whole = {name: value for name, value in answers[0].items() if name != "usage"}
    whole["choices"] = [
        {**choice, "index": at * n + choice["index"]}
        for at, answer in enumerate(answers)
        for choice in answer["choices"]
    ]
    usage = _sum([answer.get("usage") for answer in answers])
    return whole if usage is None else {**whole, "usage": usage}


class Strands:
    """The streams of several prompts woven into one: one id, choices counted on, one usage, one end."""

    def __init__(self, count: int, n: int) -> None:
        self._n = n
        self._open = count * n
        self._framers = [COMPLETIONS.framer() for _ in range(count)]
        self._usages: list[Any] = [None] * count
        self._head: JsonObject = {}

    @property
    def complete(self) -> bool:
        """True when every choice has said why it ends."""
        return self._open <= 0

    def carry(self, which: int, data: bytes) -> bytes:
        """The client's frames for bytes of one of the streams."""
        events = self._framers[which].feed(data)
        return b"".join(self._chunk(which, event) for event in events)

    def end(self) -> bytes:
        """The last frames, when all have ended."""
        usage = _sum(self._usages)
        done = b"data: [DONE]\n\n"
        return done if usage is None else frame_json({**self._head, "choices": [], "usage": usage}) + done

    def _chunk(self, which: int, event: Event) -> bytes:
        if not event.data:
            # A sign of life.
            return event.raw
        if event.data == b"[DONE]":
            return b""
        chunk = event.json()
        if not self._head:
            self._head = {name: chunk[name] for name in ("id", "object", "created", "model")}
        if not chunk["choices"]:
            self._usages[which] = chunk.get("usage")
            return b""
        for choice in chunk["choices"]:
            choice["index"] += which * self._n
            self._open -= choice["finish_reason"] is not None
        return b"data: %b\n\n" % escape(orjson.dumps({**chunk, **self._head}))


def _sum(usages: Sequence[Any]) -> JsonObject | None:
    """Counts added up name by name, details within; None where one of the answers was not counted: a part of
    the sum would pass for all of it."""
    total: JsonObject = {}
    for usage in usages:
        if type(usage) is not dict:
            return None
        _add(total, usage)
    return total


def _add(total: JsonObject, usage: JsonObject) -> None:
    for name, value in usage.items():
        if type(value) is dict:
            inner = total.get(name)
            total[name] = inner = inner if type(inner) is dict else {}
            _add(inner, value)
        elif type(value) in (int, float) and type(total.get(name, 0)) in (int, float):
            total[name] = total.get(name, 0) + value
        else:
            total.setdefault(name, value)
