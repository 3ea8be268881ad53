"""The legacy completions by the official SDK: from a model that still speaks them, and from chat models."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import openai
import pytest
from openai.types import Completion

from tests.e2e.sdks import KINDS, MODELS, ODD, PATHS, Kind, Sdks, Stage
from tests.support.upstream import mind

INSTRUCT = "gpt-3.5-turbo-instruct"
TARGETS: list[Any] = [
    pytest.param(INSTRUCT, "/v1/completions", id="instruct"),
    *(pytest.param(MODELS[kind], PATHS[kind], id=kind) for kind in KINDS),
]
Way = Callable[..., Completion]


def whole(sdks: Sdks, **fields: Any) -> Completion:
    answer: Completion = sdks.openai.completions.create(**fields)
    return answer


def stream(sdks: Sdks, **fields: Any) -> Completion:
    with sdks.openai.completions.create(**fields, **STREAMED) as chunks:
        return gathered(list(chunks))


def async_whole(sdks: Sdks, **fields: Any) -> Completion:
    answer: Completion = sdks.run(sdks.async_openai.completions.create(**fields))
    return answer


def async_stream(sdks: Sdks, **fields: Any) -> Completion:
    async def ask() -> list[Completion]:
        async with await sdks.async_openai.completions.create(**fields, **STREAMED) as chunks:
            return [chunk async for chunk in chunks]

    return gathered(sdks.run(ask()))


STREAMED: Any = {"stream": True, "stream_options": {"include_usage": True}}
WAYS: Mapping[str, Way] = {
    "whole": whole,
    "stream": stream,
    "async-whole": async_whole,
    "async-stream": async_stream,
}
every_way = pytest.mark.parametrize("ask", [pytest.param(way, id=name) for name, way in WAYS.items()])
every_target = pytest.mark.parametrize(("model", "path"), TARGETS)


def gathered(chunks: list[Completion]) -> Completion:
    """The completion that the chunks of one choice, and the usage after them, tell."""
    *body, tail = chunks
    assert tail.choices == []
    for chunk in chunks:
        assert (chunk.id, chunk.object, chunk.model) == (tail.id, "text_completion", tail.model)
    assert all(chunk.usage is None for chunk in body)
    reasons = [chunk.choices[0].finish_reason for chunk in body]
    assert set(reasons[:-1]) <= {None}
    text = "".join(chunk.choices[0].text for chunk in body)
    choice = {"index": 0, "text": text, "finish_reason": reasons[-1], "logprobs": None}
    return Completion.model_validate({**tail.model_dump(), "choices": [choice]})


@every_way
@every_target
def test_a_plain_prompt(stage: Stage, model: str, path: str, ask: Way) -> None:
    answer = ask(stage.sdks, model=model, prompt="say:" + ODD, max_tokens=100)
    (choice,) = answer.choices
    assert (choice.text, choice.finish_reason, choice.index) == (ODD, "stop", 0)
    assert (answer.object, answer.model) == ("text_completion", model)
    assert answer.id.startswith("cmpl-")
    assert stage.last.path == path
    assert answer.usage is not None
    assert answer.usage.completion_tokens == mind.tokens(ODD)
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.usage.prompt_tokens > 0


@every_way
@every_target
def test_the_length_ends_an_answer(stage: Stage, model: str, path: str, ask: Way) -> None:
    answer = ask(stage.sdks, model=model, prompt="count:9", max_tokens=4)
    assert (answer.choices[0].text, answer.choices[0].finish_reason) == ("word1 word2 word", "length")


@every_way
@every_target
def test_a_stop_sequence(stage: Stage, model: str, path: str, ask: Way) -> None:
    answer = ask(stage.sdks, model=model, prompt="count:5", max_tokens=50, stop=["word3"])
    assert (answer.choices[0].text, answer.choices[0].finish_reason) == ("word1 word2 ", "stop")


@every_way
@every_target
def test_an_empty_answer(stage: Stage, model: str, path: str, ask: Way) -> None:
    answer = ask(stage.sdks, model=model, prompt="say:", max_tokens=50)
    assert (answer.choices[0].text, answer.choices[0].finish_reason) == ("", "stop")


@pytest.mark.parametrize("kind", KINDS)
def test_sampling_travels(stage: Stage, kind: Kind) -> None:
    stage.sdks.openai.completions.create(model=MODELS[kind], prompt="hi", max_tokens=9, temperature=0.5)
    sent = stage.sent.get("options", stage.sent)
    assert sent["temperature"] == 0.5
    assert 9 in (sent.get("max_tokens"), sent.get("max_completion_tokens"), sent.get("num_predict"))


def test_several_prompts_of_a_model_that_takes_them(stage: Stage) -> None:
    answer = whole(stage.sdks, model=INSTRUCT, prompt=["say:one", "say:two"], n=1, echo=False)
    assert [(choice.index, choice.text) for choice in answer.choices] == [(0, "one"), (1, "two")]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "given",
    [{"prompt": [1, 2, 3]}, {"prompt": [[1, 2], [3]]}, {"prompt": "a", "suffix": "b"}],
    ids=["tokens", "lists-of-tokens", "suffix"],
)
def test_what_a_chat_model_cannot_do_is_refused(stage: Stage, kind: Kind, given: dict[str, Any]) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        whole(stage.sdks, model=MODELS[kind], **given)
    assert caught.value.param in given
    assert stage.fake.requests == []


@every_target
def test_usage_in_a_stream_only_for_who_asks(stage: Stage, model: str, path: str) -> None:
    with stage.sdks.openai.completions.create(model=model, prompt="count:3", stream=True) as stream:
        chunks = list(stream)
    assert all(chunk.usage is None and len(chunk.choices) == 1 for chunk in chunks)
    assert "".join(chunk.choices[0].text for chunk in chunks) == "word1 word2 word3"
