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
CODER = "qwen2.5-coder"
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
    [
        {"prompt": [1, 2, 3]},
        {"prompt": [[1, 2], [3]]},
        {"prompt": "a", "best_of": 2},
        {"prompt": "a", "max_tokens": 0},
        {"prompt": "a", "echo": True, "logprobs": 1},
    ],
    ids=["tokens", "lists-of-tokens", "best-of", "no-tokens", "scores-of-the-prompt"],
)
def test_what_a_chat_model_cannot_do_is_refused(stage: Stage, kind: Kind, given: dict[str, Any]) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        whole(stage.sdks, model=MODELS[kind], **given)
    assert caught.value.param in given
    assert stage.fake.requests == []


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
def test_text_before_a_suffix_is_for_who_can_insert(stage: Stage, kind: Kind) -> None:
    with pytest.raises(openai.BadRequestError, match="suffix") as caught:
        whole(stage.sdks, model=MODELS[kind], prompt="a", suffix="b")
    assert caught.value.param == "suffix"
    assert stage.fake.requests == []


@every_way
def test_text_before_a_suffix_from_ollama(stage: Stage, ask: Way) -> None:
    answer = ask(stage.sdks, model=CODER, prompt="count:4", suffix="END", max_tokens=50, seed=3, stop="word4")
    assert (answer.choices[0].text, answer.choices[0].finish_reason) == ("word1 word2 word3 ", "stop")
    assert (answer.object, answer.model) == ("text_completion", CODER)
    assert stage.last.path == "/api/generate"
    assert stage.sent == {
        "model": CODER,
        "prompt": "count:4",
        "suffix": "END",
        "stream": "stream" in ask.__name__,
        "options": {"num_predict": 50, "seed": 3, "stop": ["word4"]},
    }
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == mind.tokens("count:4END")
    assert answer.usage.completion_tokens == mind.tokens("word1 word2 word3 ")


@every_way
def test_the_length_ends_an_insertion(stage: Stage, ask: Way) -> None:
    answer = ask(stage.sdks, model=CODER, prompt="count:9", suffix="END", max_tokens=4, echo=True)
    said = (answer.choices[0].text, answer.choices[0].finish_reason)
    assert said == ("count:9word1 word2 word", "length")


def test_a_model_that_cannot_insert_says_so(stage: Stage) -> None:
    with pytest.raises(openai.BadRequestError, match="does not support insert"):
        whole(stage.sdks, model="llama3.2", prompt="a", suffix="b")


@every_way
@pytest.mark.parametrize("kind", KINDS)
def test_an_echo_comes_first(stage: Stage, kind: Kind, ask: Way) -> None:
    answer = ask(stage.sdks, model=MODELS[kind], prompt="say:" + ODD, echo=True)
    assert answer.choices[0].text == "say:" + ODD + ODD


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_answer_is_echoed_too(stage: Stage, kind: Kind) -> None:
    assert stream(stage.sdks, model=MODELS[kind], prompt="say:", echo=True).choices[0].text == "say:"


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("model", "fields"),
    [(MODELS["openai"], {}), (MODELS["ollama"], {}), (CODER, {"suffix": "END"})],
    ids=["openai", "ollama", "suffix"],
)
def test_log_probabilities_in_the_old_form(
    stage: Stage, model: str, fields: dict[str, Any], *, streamed: bool
) -> None:
    given: Any = {"model": model, "prompt": "say:" + ODD, "logprobs": 2, "stream": streamed, **fields}
    answer = stage.sdks.openai.completions.create(**given)
    answers = list(answer) if streamed else [answer]
    found = [one.choices[0].logprobs for one in answers if one.choices and one.choices[0].logprobs]
    tokens = [token for one in found for token in one.tokens]
    assert "".join(tokens) == ODD
    offsets = [offset for one in found for offset in one.text_offset]
    assert [ODD[offset:].startswith(token) for offset, token in zip(offsets, tokens, strict=True)] == [
        True
    ] * len(tokens)
    assert {value for one in found for value in one.token_logprobs} == {-0.1}
    assert sum(len(one.top_logprobs) for one in found) == len(tokens)


def test_log_probabilities_that_nobody_has_are_null_and_named(stage: Stage) -> None:
    answer = stage.sdks.openai.completions.with_raw_response.create(
        model=MODELS["anthropic"], prompt="say:hm", logprobs=2
    )
    assert answer.parse().choices[0].logprobs is None
    assert answer.headers["x-gateway-dropped"] == "logprobs"


@every_way
def test_a_refusal_is_text(stage: Stage, ask: Way) -> None:
    for model in (MODELS["openai"], MODELS["anthropic"]):
        (choice,) = ask(stage.sdks, model=model, prompt="refuse:I cannot.").choices
        assert choice.finish_reason == "content_filter"
    assert ask(stage.sdks, model=MODELS["openai"], prompt="refuse:I cannot.").choices[0].text == "I cannot."


@pytest.mark.parametrize("kind", ["anthropic", "ollama"])
def test_one_answer_is_never_given_for_two(stage: Stage, kind: Kind) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        whole(stage.sdks, model=MODELS[kind], prompt="a", n=2)
    assert caught.value.param == "n"
    assert stage.fake.requests == []


@pytest.mark.parametrize("kind", KINDS)
def test_no_cap_is_made_up_from_the_old_default(stage: Stage, kind: Kind) -> None:
    answer = whole(stage.sdks, model=MODELS[kind], prompt="count:40")
    assert answer.choices[0].text.endswith("word40")
    assert answer.choices[0].finish_reason == "stop"


@every_target
def test_usage_in_a_stream_only_for_who_asks(stage: Stage, model: str, path: str) -> None:
    with stage.sdks.openai.completions.create(model=model, prompt="count:3", stream=True) as stream:
        chunks = list(stream)
    assert all(chunk.usage is None and len(chunk.choices) == 1 for chunk in chunks)
    assert "".join(chunk.choices[0].text for chunk in chunks) == "word1 word2 word3"
