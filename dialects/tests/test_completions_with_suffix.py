"""Legacy completions with a suffix, over Ollama's /api/generate."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from openai.types import Completion

from dialects.errors import GatewayError
from dialects.ollama_generate import OLLAMA_GENERATE
from dialects.table import choose
from dialects.tests.pair_support import asked, carried, lines, sse, steady
from dialects.types import Facts, JsonObject, ModelFacts, Usage

CODER = "qwen2.5-coder"
BODY: JsonObject = {"prompt": "def add(", "suffix": "return c"}
LAST: JsonObject = {
    "model": CODER,
    "response": "",
    "done": True,
    "done_reason": "stop",
    "prompt_eval_count": 7,
    "eval_count": 4,
}


def sent(**fields: Any) -> JsonObject:
    translator, body = asked("completions", "ollama_generate", {**BODY, **fields}, CODER)
    assert translator.dropped == []
    made: JsonObject = body
    return made


def test_what_is_sent() -> None:
    assert sent() == {"model": CODER, "prompt": "def add(", "suffix": "return c", "stream": False}
    every = sent(
        prompt=["def add("],
        max_tokens=9,
        temperature=0.5,
        top_p=0.5,
        frequency_penalty=0.1,
        presence_penalty=0.2,
        seed=3,
        stop="x",
        logprobs=2,
        n=1,
        best_of=1,
        stream=True,
        stream_options={"include_usage": True},
    )
    assert every == {
        "model": CODER,
        "prompt": "def add(",
        "suffix": "return c",
        "stream": True,
        "logprobs": True,
        "top_logprobs": 2,
        "options": {
            "num_predict": 9,
            "temperature": 0.5,
            "top_p": 0.5,
            "frequency_penalty": 0.1,
            "presence_penalty": 0.2,
            "seed": 3,
            "stop": ["x"],
        },
    }


def test_what_cannot_travel_is_named() -> None:
    translator, body = asked(
        "completions",
        "ollama_generate",
        {**BODY, "user": "u", "logit_bias": {"5": 1}, "shiny": 1, "store": False},
    )
    assert translator.dropped == ["user", "logit_bias", "shiny"]
    assert set(body) == {"model", "prompt", "suffix", "stream"}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": ["a", "b"]}, "prompt"),
        ({"prompt": [1]}, "prompt"),
        ({"n": 2}, "n"),
        ({"best_of": 2}, "best_of"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"logprobs": 6}, "logprobs"),
        ({"logprobs": 1, "echo": True}, "logprobs"),
        ({"temperature": "hot"}, "temperature"),
        ({"stop": [1]}, "stop"),
    ],
)
def test_refused(fields: JsonObject, param: str) -> None:
    with pytest.raises(GatewayError) as caught:
        asked("completions", "ollama_generate", {**BODY, **fields}, CODER)
    assert caught.value.status("openai") == 400
    assert caught.value.detail.param == param


def answered(answer: JsonObject, **fields: Any) -> JsonObject:
    translator, _ = asked("completions", "ollama_generate", {**BODY, **fields}, CODER)
    assert OLLAMA_GENERATE.is_answer(answer)
    made = translator.response(answer)
    Completion.model_validate(made, strict=True)
    return made


@pytest.mark.parametrize(("reason", "finish"), [("stop", "stop"), ("length", "length"), (None, "stop")])
def test_whole_answer(reason: str | None, finish: str) -> None:
    made = answered({**LAST, "response": "a, b):", "done_reason": reason, "context": [1, 2]})
    assert made["id"].startswith("cmpl-")
    assert (made["object"], made["model"]) == ("text_completion", CODER)
    assert made["choices"] == [{"text": "a, b):", "index": 0, "logprobs": None, "finish_reason": finish}]
    assert (made["usage"]["prompt_tokens"], made["usage"]["total_tokens"]) == (7, 11)


def test_echo_and_what_ollama_did_not_count() -> None:
    made = answered({"response": "a):", "done": True}, echo=True)
    assert made["choices"][0]["text"] == "def add(a):"
    assert made["model"] == CODER
    assert made["usage"]["total_tokens"] == 0


LOGPROBS = [
    {"token": "a,", "logprob": -0.5, "top_logprobs": [{"token": "a,", "logprob": -0.5}]},
    {"token": " b", "logprob": -0.25},
]


def test_logprobs() -> None:
    made = answered({**LAST, "response": "a, b", "logprobs": LOGPROBS}, logprobs=1)
    assert made["choices"][0]["logprobs"] == {
        "tokens": ["a,", " b"],
        "token_logprobs": [-0.5, -0.25],
        "top_logprobs": [{"a,": -0.5}, {}],
        "text_offset": [0, 2],
    }


@pytest.mark.parametrize("logprobs", [[1], [{}], 5])
def test_hostile_logprobs(logprobs: Any) -> None:
    translator, _ = asked("completions", "ollama_generate", BODY, CODER)
    with pytest.raises(GatewayError) as caught:
        translator.response({**LAST, "response": "a", "logprobs": logprobs})
    assert caught.value.status("openai") == 502


STREAM = lines(
    {"model": CODER, "response": "", "thinking": "hm", "done": False},
    {"model": CODER, "response": "a\u2028", "done": False, "logprobs": LOGPROBS[:1]},
    {"model": CODER, "response": "b", "done": False, "logprobs": LOGPROBS[1:]},
    {**LAST, "done_reason": "length"},
)


def streamed(pieces: list[bytes], **fields: Any) -> bytes:
    translator, _ = asked("completions", "ollama_generate", {**BODY, "stream": True, **fields}, CODER)
    out, finished = carried(translator, "ollama_generate", pieces)
    assert finished
    return out


def test_a_stream() -> None:
    found = [data for _, data in sse(streamed([STREAM], echo=True, stream_options={"include_usage": True}))]
    assert found.pop() == "[DONE]"
    tail = found.pop()
    assert (tail["choices"], tail["usage"]["total_tokens"]) == ([], 11)
    told = [(data["choices"][0]["text"], data["choices"][0]["finish_reason"]) for data in found]
    assert told == [("def add(", None), ("a\u2028", None), ("b", None), ("", "length")]
    offsets = [data["choices"][0]["logprobs"] for data in found]
    assert [one["text_offset"] for one in offsets if one] == [[0], [2]]
    assert {data["usage"] for data in found} == {None}


def test_a_stream_without_a_usage_that_nobody_asked_for() -> None:
    found = [data for _, data in sse(streamed([STREAM]))]
    assert found.pop() == "[DONE]"
    assert all(len(data["choices"]) == 1 and "usage" not in data for data in found)


def test_a_stream_cut_at_every_byte() -> None:
    whole = steady(streamed([STREAM]).decode())
    for at in range(1, len(STREAM)):
        assert steady(streamed([STREAM[:at], STREAM[at:]]).decode()) == whole


def test_tap() -> None:
    tap, framer = OLLAMA_GENERATE.tap(strip_usage=False), OLLAMA_GENERATE.framer()
    for event in framer.feed(STREAM):
        tap.see(event)
        assert tap.keep(event)
    assert (tap.content, tap.finished, tap.output_chars, tap.usage) == (True, True, 5, Usage(7, 4))


@pytest.mark.parametrize("line", [{"response": 1}, {"thinking": []}, {"error": "no"}, {"done": False}, [], 1])
def test_tap_refuses(line: Any) -> None:
    tap = OLLAMA_GENERATE.tap(strip_usage=False)
    (event,) = OLLAMA_GENERATE.framer().feed(orjson.dumps(line) + b"\n")
    with pytest.raises(GatewayError):
        tap.see(event)


def test_facts() -> None:
    facts = OLLAMA_GENERATE.facts(
        {"model": "m", "prompt": "four", "suffix": "5", "options": {"num_predict": 9}, "stream": False}
    )
    assert (facts.stream, facts.max_tokens, facts.prompt_chars, facts.needs) == (
        False,
        9,
        5,
        frozenset({"insert"}),
    )
    assert OLLAMA_GENERATE.facts({"model": "m"}).stream


@pytest.mark.parametrize("field", ["prompt", "suffix", "stream", "options"])
def test_facts_refused(field: str) -> None:
    with pytest.raises(GatewayError) as caught:
        OLLAMA_GENERATE.facts({"model": "m", field: 5})
    assert caught.value.detail.param == field


@pytest.mark.parametrize(("needs", "spoken"), [({"insert"}, "ollama_generate"), (set(), "ollama_chat")])
def test_only_a_suffix_goes_there(needs: set[str], spoken: str) -> None:
    offered = ("ollama_chat", "ollama_generate", "ollama_embed")
    facts = Facts(model="m", needs=frozenset(needs))
    assert choose("completions", offered, facts, lambda: ModelFacts(name="m")) == spoken
    assert (
        choose("completions", ("completions", "chat"), facts, lambda: ModelFacts(name="m")) == "completions"
    )
