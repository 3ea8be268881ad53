"""Several prompts in one request: the bodies that they become, and their answers put together."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from openai.types import Completion

from dialects.completions_several import MOST_PROMPTS, Strands, joined, several
from dialects.errors import GatewayError
from dialects.tests.pair_support import sse
from dialects.types import JsonObject


def test_a_body_for_each_prompt() -> None:
    body = {"model": "m", "prompt": ["a", "b", "c"], "n": 2, "suffix": None}
    assert several(body) == [{**body, "prompt": one} for one in "abc"]
    assert body["prompt"] == ["a", "b", "c"]


@pytest.mark.parametrize("prompt", ["a", ["a"], [], None, [1, 2], [[1], [2]], ["a", [1]]])
def test_anything_else_stays_as_it_is(prompt: Any) -> None:
    assert several({"model": "m", "prompt": prompt}) == []


def test_too_many() -> None:
    assert len(several({"prompt": ["a"] * MOST_PROMPTS})) == MOST_PROMPTS
    with pytest.raises(GatewayError, match=f"at most {MOST_PROMPTS}; it has {MOST_PROMPTS + 1}") as caught:
        several({"prompt": ["a"] * (MOST_PROMPTS + 1)})
    assert caught.value.status("openai") == 400
    assert caught.value.detail.param == "prompt"


def usage(prompt: int, completion: int, cached: int = 0) -> JsonObject:
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached},
    }


def answer(number: int, *texts: str, **fields: Any) -> JsonObject:
    choices = [
        {"text": text, "index": index, "logprobs": None, "finish_reason": "stop"}
        for index, text in enumerate(texts)
    ]
    return {
        "id": f"cmpl-{number}",
        "object": "text_completion",
        "created": number,
        "model": "m",
        "choices": choices,
        **fields,
    }


def test_answers_are_one() -> None:
    answers = [
        answer(1, "a", "b", usage=usage(3, 2, 1)),
        answer(2, "c", "d", usage=usage(4, 1)),
    ]
    whole = joined(answers, 2)
    Completion.model_validate(whole, strict=True)
    assert (whole["id"], whole["created"]) == ("cmpl-1", 1)
    assert [(choice["index"], choice["text"]) for choice in whole["choices"]] == list(enumerate("abcd"))
    assert whole["usage"] == usage(7, 3, 1)


@pytest.mark.parametrize("missing", [{}, {"usage": None}])
def test_a_part_of_the_sum_is_no_sum(missing: JsonObject) -> None:
    assert "usage" not in joined([answer(1, "a", usage=usage(3, 2)), answer(2, "b", **missing)], 1)


@pytest.mark.parametrize(
    ("first", "second", "total"),
    [
        ({"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
        ({"a": {"x": 1}}, {"a": {"x": 1, "y": 0.5}}, {"a": {"x": 2, "y": 0.5}}),
        ({"a": None}, {"a": 1}, {"a": None}),
        ({"a": 1}, {"a": {"x": 1}}, {"a": {"x": 1}}),
        ({"a": "tier"}, {"a": "tier"}, {"a": "tier"}),
        ({"a": 1}, {"a": "x"}, {"a": 1}),
        ({"a": True}, {"a": True}, {"a": True}),
    ],
)
def test_sums_of_whatever_a_provider_counts(first: JsonObject, second: JsonObject, total: JsonObject) -> None:
    assert joined([answer(1, "a", usage=first), answer(2, "b", usage=second)], 1)["usage"] == total


def chunk(number: int, *choices: JsonObject, **fields: Any) -> bytes:
    made = {**answer(number), "choices": list(choices), **fields}
    return b"data: " + orjson.dumps(made) + b"\n\n"


def piece(text: str, index: int = 0, finish: str | None = None) -> JsonObject:
    return {"text": text, "index": index, "logprobs": None, "finish_reason": finish}


DONE = b"data: [DONE]\n\n"


def test_streams_are_one() -> None:
    strands = Strands(2, 2)
    out = strands.carry(1, chunk(2, piece("c\u2028"), usage=None))
    out += strands.carry(0, chunk(1, piece("a"), usage=None) + chunk(1, piece("b", 1), usage=None))
    out += strands.carry(0, chunk(1, usage=usage(3, 2)) + DONE)
    end = chunk(2, piece("", 0, "length"), usage=None) + chunk(2, usage=usage(4, 1)) + DONE
    out += strands.carry(1, end[:50])
    out += strands.carry(1, end[50:])
    out += strands.end()
    found = [data for _, data in sse(out)]
    assert found.pop() == "[DONE]"
    assert found.pop() == {**answer(2), "usage": usage(7, 3)}
    assert {(data["id"], data["created"], data["usage"]) for data in found} == {("cmpl-2", 2, None)}
    told = [(one["index"], one["text"], one["finish_reason"]) for data in found for one in data["choices"]]
    assert told == [(2, "c\u2028", None), (0, "a", None), (1, "b", None), (2, "", "length")]


def test_complete_when_all_have_ended() -> None:
    strands = Strands(2, 2)
    for which, index in ((0, 0), (1, 1), (0, 1), (1, 0)):
        strands.carry(which, chunk(1, piece("a", index)))
        assert not strands.complete
        strands.carry(which, chunk(1, piece("", index, "stop")))
    assert strands.complete


def test_a_sign_of_life_goes_on() -> None:
    assert Strands(2, 1).carry(1, b": ping\n\n") == b": ping\n\n"


def test_streams_without_usage_have_none() -> None:
    strands = Strands(2, 1)
    assert strands.carry(0, chunk(1, piece("a", 0, "stop")) + DONE)
    assert strands.end() == DONE
