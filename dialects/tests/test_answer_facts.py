"""What is read of an answer for traces, of each dialect, whole and in events. Nothing odd is fatal."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from dialects.answer_facts import AnswerFacts
from dialects.types import Event

CHOICES = [{"index": 0, "finish_reason": "stop"}, {"index": 1, "finish_reason": "length"}]


def told(dialect: str, *said: Any) -> tuple[str, str, list[str]]:
    facts = AnswerFacts(dialect)
    for each in said:
        facts.see(Event("", orjson.dumps(each), b""))
    return facts.id, facts.model, [facts.ends[number] for number in sorted(facts.ends)]


def whole(dialect: str, answer: Any) -> tuple[str, str, list[str]]:
    facts = AnswerFacts(dialect)
    facts.take(answer)
    return facts.id, facts.model, [facts.ends[number] for number in sorted(facts.ends)]


@pytest.mark.parametrize("dialect", ["chat", "completions"])
def test_choices(dialect: str) -> None:
    named = {"id": "c-1", "model": "gpt-x-2026"}
    assert whole(dialect, {**named, "choices": CHOICES}) == ("c-1", "gpt-x-2026", ["stop", "length"])
    parts = [{**named, "choices": [{"index": 0, "delta": {}, "finish_reason": None}]}]
    parts += [{**named, "choices": [choice]} for choice in reversed(CHOICES)]
    assert told(dialect, *parts, {**named, "choices": []}) == ("c-1", "gpt-x-2026", ["stop", "length"])


def test_messages() -> None:
    message = {"type": "message", "id": "m-1", "model": "claude-x", "stop_reason": "tool_use"}
    assert whole("messages", message) == ("m-1", "claude-x", ["tool_use"])
    begun = {"type": "message_start", "message": {**message, "stop_reason": None}}
    ended = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}
    assert told("messages", begun, {"type": "ping"}, ended) == ("m-1", "claude-x", ["end_turn"])


def test_responses() -> None:
    response = {"object": "response", "id": "r-1", "model": "gpt-x", "status": "completed"}
    assert whole("responses", response) == ("r-1", "gpt-x", ["completed"])
    begun = {"type": "response.created", "response": {**response, "status": "in_progress"}}
    cut = {**response, "status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
    ended = {"type": "response.incomplete", "response": cut}
    delta = {"type": "response.output_text.delta", "delta": "x"}
    assert told("responses", begun, delta, ended) == ("r-1", "gpt-x", ["max_output_tokens"])


@pytest.mark.parametrize("dialect", ["ollama_chat", "ollama_generate"])
def test_ollama(dialect: str) -> None:
    last = {"model": "llama3.2", "done": True, "done_reason": "stop"}
    assert whole(dialect, last) == ("", "llama3.2", ["stop"])
    assert told(dialect, {"model": "llama3.2", "done": False}, last) == ("", "llama3.2", ["stop"])


@pytest.mark.parametrize("dialect", ["embeddings", "ollama_embed", "moderations", "images"])
def test_what_is_whole_and_has_no_end(dialect: str) -> None:
    assert whole(dialect, {"id": "e-1", "model": "text-x"}) == ("e-1", "text-x", [])


def test_what_is_no_object_in_a_stream_is_left_alone() -> None:
    facts = AnswerFacts("chat")
    for data in (b"", b"[DONE]"):
        facts.see(Event("", data, data))
    # A picture's events are megabytes, and nobody reads them here.
    AnswerFacts("images").see(Event("", b"not JSON", b""))
    assert (facts.id, facts.model, facts.ends) == ("", "", {})


ODD: list[Any] = [
    None,
    [],
    "x",
    7,
    {},
    {"choices": 7},
    {"choices": [None]},
    {"choices": [{"finish_reason": 7}]},
]
ODD += [{"id": 7, "model": []}, {"type": "message_start"}, {"type": "message_delta", "delta": None}]
ODD += [{"response": 7}, {"object": "response", "status": {}, "incomplete_details": []}]
ODD += [{"done": True, "done_reason": {}}, {"choices": [{"index": [], "finish_reason": "stop"}]}]


@pytest.mark.parametrize("dialect", ["chat", "messages", "responses", "ollama_chat", "embeddings"])
@pytest.mark.parametrize("said", ODD)
def test_odd_answers(dialect: str, said: Any) -> None:
    assert whole(dialect, said) == ("", "", [])


def test_a_provider_that_says_too_much() -> None:
    said = {"id": "i" * 999, "model": "m" * 999}
    said["choices"] = [{"index": n, "finish_reason": "stop"} for n in range(999)]  # type: ignore[assignment]  # a list among strings
    found = whole("chat", said)
    assert (len(found[0]), len(found[1]), len(found[2])) == (200, 200, 128)
