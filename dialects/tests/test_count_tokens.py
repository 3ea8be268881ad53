"""Counting tokens: a body like that of messages, without a cap, never streamed, and never 0."""

from __future__ import annotations

import pytest

from dialects.count_tokens import COUNT_TOKENS, estimated
from dialects.errors import GatewayError
from dialects.types import Facts, JsonObject

BODY: JsonObject = {"model": "claude-opus-4-5", "messages": [{"role": "user", "content": "How long am I?"}]}


def test_reads_a_body_without_max_tokens() -> None:
    facts = COUNT_TOKENS.facts(BODY)
    assert (facts.model, facts.max_tokens, facts.stream) == ("claude-opus-4-5", None, False)
    assert facts.prompt_chars >= len("How long am I?")


def test_never_streams() -> None:
    assert COUNT_TOKENS.facts({**BODY, "stream": True}).stream is False


@pytest.mark.parametrize(
    "body", [{}, {"model": "m"}, {"model": "m", "messages": []}, {**BODY, "messages": 1}]
)
def test_refuses_what_messages_refuses(body: JsonObject) -> None:
    with pytest.raises(GatewayError) as refused:
        COUNT_TOKENS.facts(body)
    assert refused.value.status("anthropic") == 400


@pytest.mark.parametrize(
    ("answer", "whole"),
    [
        ({"input_tokens": 3}, True),
        ({"input_tokens": "3"}, False),
        ({}, False),
        ({"input_tokens": True}, False),
    ],
)
def test_an_answer_is_one_number(answer: JsonObject, whole: bool) -> None:
    assert COUNT_TOKENS.is_answer(answer) is whole


def test_counting_is_not_usage() -> None:
    assert COUNT_TOKENS.usage({"input_tokens": 3}) is None


@pytest.mark.parametrize(("chars", "tokens"), [(0, 1), (1, 1), (7, 2), (8, 3), (3500, 1000)])
def test_estimates_where_nobody_counts(chars: int, tokens: int) -> None:
    assert estimated(Facts(model="m", prompt_chars=chars)) == {"input_tokens": tokens}
