"""Legacy completions: what is read of them, and their way through chat, directly and behind a second pair."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai.types import Completion

from dialects.completions import COMPLETIONS
from dialects.errors import GatewayError
from dialects.table import DIALECTS
from dialects.tests.pair_support import asked, carried, chat_stream, end, lines, say, sse, steady
from dialects.types import JsonObject, Usage

USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


def test_facts() -> None:
    facts = COMPLETIONS.facts(
        {
            "model": "m",
            "prompt": ["four", "five5"],
            "stream": True,
            "max_tokens": 0,
            "n": 2,
            "user": "u",
            "stream_options": {"include_usage": True},
        }
    )
    assert (facts.model, facts.stream, facts.max_tokens, facts.n) == ("m", True, 0, 2)
    assert (facts.include_usage, facts.end_user, facts.prompt_chars) == (True, "u", 9)


@pytest.mark.parametrize(("prompt", "chars"), [([1, 2, 3], 12), ([[1], [2, 3]], 12), ("", 0), (["a"], 1)])
def test_every_form_of_prompt_is_legal(prompt: Any, chars: int) -> None:
    assert COMPLETIONS.facts({"model": "m", "prompt": prompt}).prompt_chars == chars


@pytest.mark.parametrize(("suffix", "needs"), [("!", {"insert"}), ("", set()), (None, set())])
def test_a_suffix_is_a_need(suffix: str | None, needs: set[str]) -> None:
    facts = COMPLETIONS.facts({"model": "m", "prompt": "four", "suffix": suffix})
    assert facts.needs == needs
    assert facts.prompt_chars == 4 + len(suffix or "")


def test_embeddings_may_stand_for_the_prompt() -> None:
    assert COMPLETIONS.facts({"model": "m", "prompt_embeds": "AAAA"}).prompt_chars == 0


FACTS_REFUSED = [
    ({"prompt": "x"}, "model"),
    ({"model": 1, "prompt": "x"}, "model"),
    ({"model": "m"}, "prompt"),
    ({"model": "m", "prompt": {}}, "prompt"),
    ({"model": "m", "prompt": ["a", None]}, "prompt[1]"),
    ({"model": "m", "prompt": [["a"]]}, "prompt[0]"),
    ({"model": "m", "prompt": [True]}, "prompt[0]"),
    ({"model": "m", "prompt": "x", "max_tokens": -1}, "max_tokens"),
    ({"model": "m", "prompt": "x", "n": 0}, "n"),
    ({"model": "m", "prompt": "x", "stream": "yes"}, "stream"),
    ({"model": "m", "prompt": "x", "stream_options": []}, "stream_options"),
    ({"model": "m", "prompt": "x", "suffix": ["y"]}, "suffix"),
]


@pytest.mark.parametrize(("body", "param"), FACTS_REFUSED)
def test_facts_refused(body: JsonObject, param: str) -> None:
    with pytest.raises(GatewayError) as caught:
        COMPLETIONS.facts(body)
    assert caught.value.status("openai") == 400
    assert caught.value.detail.param == param


def test_answers_and_their_usage() -> None:
    assert COMPLETIONS.is_answer({"choices": [{"text": "", "index": 0}]})
    assert not COMPLETIONS.is_answer({"choices": []})
    assert not COMPLETIONS.is_answer({"choices": [{"message": {}}]})
    assert COMPLETIONS.usage({"usage": USAGE}) == Usage(3, 2)
    assert COMPLETIONS.usage({}) is None


def chunk(**fields: Any) -> bytes:
    return b"data: " + json.dumps({"id": "cmpl-1", "object": "text_completion", **fields}).encode() + b"\n\n"


TEXT = chunk(choices=[{"text": "Hello", "index": 0}])
COUNTS = chunk(choices=[], usage=USAGE)


@pytest.mark.parametrize("strip", [True, False])
def test_tap(strip: bool) -> None:
    tap, framer = COMPLETIONS.tap(strip_usage=strip), COMPLETIONS.framer()
    kept = []
    for event in framer.feed(b": hi\n\n" + TEXT + COUNTS + b"data: [DONE]\n\n"):
        tap.see(event)
        kept.append(tap.keep(event))
    assert kept == [True, True, not strip, True]
    assert (tap.content, tap.finished, tap.output_chars, tap.usage) == (True, True, 5, Usage(3, 2))


@pytest.mark.parametrize(
    "data", [b'data: {"error":{"message":"x"}}', b"data: []", b"data: {", b'data: {"choices":[1]}']
)
def test_tap_refuses(data: bytes) -> None:
    tap = COMPLETIONS.tap(strip_usage=True)
    (event,) = COMPLETIONS.framer().feed(data + b"\n\n")
    with pytest.raises(GatewayError):
        tap.see(event)


REQUEST_REFUSED = [
    ({"prompt": ["a", "b"]}, "prompt"),
    ({"prompt": [1, 2]}, "prompt"),
    ({"prompt": [[1, 2]]}, "prompt"),
    ({"prompt": []}, "prompt"),
    ({"prompt": "a", "suffix": "b"}, "suffix"),
    ({"prompt": "a", "best_of": 2}, "best_of"),
    ({"prompt": "a", "best_of": "1"}, "best_of"),
    ({"prompt": "a", "max_tokens": 0}, "max_tokens"),
    ({"prompt": "a", "logprobs": 6}, "logprobs"),
    ({"prompt": "a", "logprobs": True}, "logprobs"),
    ({"prompt": "a", "logprobs": 1, "echo": True}, "logprobs"),
]


@pytest.mark.parametrize("upstream", ["chat", "messages", "ollama_chat"])
@pytest.mark.parametrize(("body", "param"), REQUEST_REFUSED)
def test_request_refused(upstream: str, body: JsonObject, param: str) -> None:
    with pytest.raises(GatewayError) as caught:
        asked("completions", upstream, body, "gpt-4o")
    assert caught.value.status("openai") == 400
    assert caught.value.detail.param == param


def whole(*choices: JsonObject, **fields: Any) -> JsonObject:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-4o-2024",
        "choices": [{"index": i, "finish_reason": "stop", **c} for i, c in enumerate(choices)],
        "usage": USAGE,
        **fields,
    }


def said(text: str | None, **fields: Any) -> JsonObject:
    return {"message": {"role": "assistant", "content": text, **fields}}


def answered(body: JsonObject, answer: JsonObject) -> JsonObject:
    translator, _ = asked("completions", "chat", body, "gpt-4o")
    made = translator.response(answer)
    read = Completion.model_validate(made, strict=True)
    assert read.model_dump(exclude_unset=True) == made
    return made


def test_whole_answer() -> None:
    made = answered({"prompt": "Hi", "n": 2}, whole(said("one"), said("two"), system_fingerprint="fp"))
    assert made["id"].startswith("cmpl-")
    assert (made["object"], made["model"], made["system_fingerprint"]) == (
        "text_completion",
        "gpt-4o-2024",
        "fp",
    )
    assert made["usage"] == USAGE
    assert made["choices"] == [
        {"text": "one", "index": 0, "logprobs": None, "finish_reason": "stop"},
        {"text": "two", "index": 1, "logprobs": None, "finish_reason": "stop"},
    ]


def test_the_best_of_as_many_is_no_choice() -> None:
    _, sent = asked("completions", "chat", {"prompt": "Hi", "n": 2, "best_of": 1}, "gpt-4o")
    assert sent["n"] == 2
    assert "best_of" not in sent


def test_log_probabilities_that_nobody_has_are_dropped_in_the_clients_words() -> None:
    translator, sent = asked("completions", "messages", {"prompt": "Hi", "logprobs": 2}, "claude-haiku-4-5")
    assert translator.dropped == ["logprobs"]
    assert "logprobs" not in sent


def test_echo() -> None:
    made = answered({"prompt": "Hi", "echo": True}, whole(said(" there")))
    assert made["choices"][0]["text"] == "Hi there"


@pytest.mark.parametrize(
    ("message", "finish", "text", "expected"),
    [
        (said("x"), "length", "x", "length"),
        (said("x"), "content_filter", "x", "content_filter"),
        (said(None, refusal="No."), "stop", "No.", "content_filter"),
        (said(None, tool_calls=[]), "tool_calls", "", "stop"),
        (said("x"), "something new", "x", "stop"),
    ],
)
def test_finish_reasons(message: JsonObject, finish: str, text: str, expected: str) -> None:
    made = answered({"prompt": "Hi"}, whole({**message, "finish_reason": finish}))
    assert (made["choices"][0]["text"], made["choices"][0]["finish_reason"]) == (text, expected)


LOGPROBS = {
    "content": [
        {
            "token": "Grü",
            "logprob": -0.5,
            "bytes": None,
            "top_logprobs": [{"token": "Grü", "logprob": -0.5}, {"token": "Hi", "logprob": -1.0}],
        },
        {"token": "ße", "logprob": -0.25, "bytes": None, "top_logprobs": []},
    ],
    "refusal": None,
}
LEGACY = {
    "tokens": ["Grü", "ße"],
    "token_logprobs": [-0.5, -0.25],
    "top_logprobs": [{"Grü": -0.5, "Hi": -1.0}, {}],
    "text_offset": [0, 3],
}


def test_logprobs() -> None:
    made = answered({"prompt": "Hi", "logprobs": 2}, whole({**said("Grüße"), "logprobs": LOGPROBS}))
    assert made["choices"][0]["logprobs"] == LEGACY


def test_logprobs_in_a_stream_count_on() -> None:
    entries = LOGPROBS["content"]
    assert entries is not None
    stream = chat_stream(
        {"delta": {"content": "Grü"}, "logprobs": {"content": entries[:1]}},
        {"delta": {"content": "ße"}, "logprobs": {"content": entries[1:]}},
        {"delta": {}, "finish_reason": "stop"},
    )
    found = [data["choices"][0]["logprobs"] for data in frames({"prompt": "Hi", "logprobs": 2}, stream)]
    assert [one["text_offset"] for one in found if one] == [[0], [3]]


@pytest.mark.parametrize(
    "answer", [whole(), whole({"message": None}), whole({"finish_reason": None, **said("x")})]
)
def test_hostile_answer(answer: JsonObject) -> None:
    translator, _ = asked("completions", "chat", {"prompt": "Hi"}, "gpt-4o")
    if not answer["choices"]:
        assert not DIALECTS["chat"].is_answer(answer)
        return
    with pytest.raises(GatewayError) as caught:
        translator.response(answer)
    assert caught.value.status("openai") == 502


def frames(body: JsonObject, stream: bytes, upstream: str = "chat", model: str = "gpt-4o") -> list[Any]:
    """The data of a translated stream, each read by the SDK's type, without the `[DONE]` that must end it."""
    translator, _ = asked("completions", upstream, {**body, "stream": True}, model)
    out, finished = carried(translator, upstream, [stream])
    assert finished
    found = [data for _, data in sse(out)]
    assert found.pop() == "[DONE]"
    for data in found:
        Completion.model_validate(
            {
                **data,
                "choices": [{**c, "finish_reason": c["finish_reason"] or "stop"} for c in data["choices"]],
            },
            strict=True,
        )
    return found


def test_stream() -> None:
    stream = chat_stream(
        {"delta": {"role": "assistant", "content": ""}},
        {"delta": {"content": "Hel"}},
        {"delta": {"content": "lo\u2028"}},
        {"delta": {}, "finish_reason": "stop"},
        usage=USAGE,
    )
    found = frames({"prompt": "Hi"}, stream)
    assert [data["choices"][0]["text"] for data in found] == ["Hel", "lo\u2028", ""]
    assert [data["choices"][0]["finish_reason"] for data in found] == [None, None, "stop"]
    assert len({(data["id"], data["created"], data["model"], data["object"]) for data in found}) == 1
    with_usage = frames({"prompt": "Hi", "stream_options": {"include_usage": True}}, stream)
    assert [data["usage"] for data in with_usage] == [None, None, None, USAGE]
    assert with_usage[-1]["choices"] == []


def test_stream_of_several_choices_with_echo() -> None:
    stream = chat_stream(
        {"delta": {"role": "assistant", "content": ""}},
        {"index": 1, "delta": {"content": "b"}},
        {"index": 0, "delta": {"content": "a"}},
        {"index": 0, "delta": {"refusal": "no"}},
        {"index": 1, "delta": {}, "finish_reason": "length"},
        {"index": 0, "delta": {}, "finish_reason": "stop"},
    )
    found = [data["choices"][0] for data in frames({"prompt": "Hi ", "n": 2, "echo": True}, stream)]
    texts = {index: "".join(c["text"] for c in found if c["index"] == index) for index in (0, 1)}
    ends = {c["index"]: c["finish_reason"] for c in found if c["finish_reason"]}
    assert texts == {0: "Hi ano", 1: "Hi b"}
    assert ends == {0: "content_filter", 1: "length"}


def test_a_stream_without_a_reason_is_none() -> None:
    with pytest.raises(GatewayError) as caught:
        frames({"prompt": "Hi"}, chat_stream({"delta": {"content": "Hel"}}))
    assert caught.value.code == "upstream_truncated"


@pytest.mark.parametrize("data", [b'{"choices":[1]}', b'{"choices":[{"delta":1}]}', b"[]", b"{"])
def test_hostile_chunk(data: bytes) -> None:
    translator, _ = asked("completions", "chat", {"prompt": "Hi", "stream": True}, "gpt-4o")
    with pytest.raises(GatewayError) as caught:
        carried(translator, "chat", [b"data: " + data + b"\n\n"])
    assert caught.value.status("openai") == 502


OLLAMA = lines(
    say(thinking="hm"), say(content="Hel"), say(content="lo"), end(prompt_eval_count=3, eval_count=2)
)


def test_through_two_pairs() -> None:
    body = {
        "prompt": "Hi",
        "temperature": 0.5,
        "max_tokens": 9,
        "seed": 1,
        "logit_bias": {"1": 2},
        "user": "u",
    }
    translator, sent = asked("completions", "ollama_chat", body)
    assert sent == {
        "model": "llama3.2",
        "messages": [{"role": "user", "content": "Hi"}],
        "stream": False,
        "options": {"temperature": 0.5, "seed": 1, "num_predict": 9},
    }
    assert sorted(translator.dropped) == ["logit_bias", "user"]
    made = translator.response(
        {
            "model": "llama3.2",
            "message": {"role": "assistant", "content": "Hello", "thinking": "hm"},
            "done": True,
            "done_reason": "length",
            "prompt_eval_count": 3,
            "eval_count": 2,
        }
    )
    Completion.model_validate(made, strict=True)
    assert made["choices"] == [{"text": "Hello", "index": 0, "logprobs": None, "finish_reason": "length"}]
    assert made["usage"]["total_tokens"] == 5


def test_a_stream_through_two_pairs() -> None:
    body = {"prompt": "Hi", "stream_options": {"include_usage": True}}
    found = frames(body, OLLAMA, "ollama_chat", "llama3.2")
    assert [data["choices"][0]["text"] for data in found[:-1]] == ["Hel", "lo", ""]
    assert found[-1]["usage"]["total_tokens"] == 5
    assert all(data["usage"] is None for data in found[:-1])


def test_a_stream_through_two_pairs_cut_at_every_byte() -> None:
    def run(pieces: list[bytes]) -> str:
        translator, _ = asked("completions", "ollama_chat", {"prompt": "Hi", "stream": True})
        return steady(carried(translator, "ollama_chat", pieces)[0].decode())

    expected = run([OLLAMA])
    for at in range(1, len(OLLAMA)):
        assert run([OLLAMA[:at], OLLAMA[at:]]) == expected


def test_claude_keeps_what_a_model_of_openai_would_refuse() -> None:
    """The pair in the middle must not apply OpenAI's rules to a model of another provider."""
    _, sent = asked(
        "completions", "messages", {"prompt": "Hi", "stop": "x", "temperature": 0.5}, "claude-haiku-4-5"
    )
    assert sent["stop_sequences"] == ["x"]
    assert sent["temperature"] == 0.5
    assert sent["max_tokens"] > 16
