"""Answers of servers that speak chat completions with words of their own: none is lost, and none made up."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from dialects.errors import GatewayError
from dialects.tests.pair_support import asked, carried, chat_stream, sse

Body = dict[str, Any]

ASKED: dict[str, Body] = {
    "messages": {"max_tokens": 9, "messages": [{"role": "user", "content": "x"}]},
    "responses": {"input": "x"},
    "completions": {"prompt": "x"},
}
CLIENTS = pytest.mark.parametrize("client", ASKED)
WAYS = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
# What a client of each dialect is told of chat's own word.
TOLD: dict[str, dict[str, str]] = {
    "stop": {"messages": "end_turn", "responses": "completed", "completions": "stop"},
    "length": {"messages": "max_tokens", "responses": "max_output_tokens", "completions": "length"},
    "content_filter": {
        "messages": "refusal",
        "responses": "content_filter",
        "completions": "content_filter",
    },
}
BEYOND = [
    ("model_length", "length"),
    ("max_tokens", "length"),
    ("MAX_TOKENS", "length"),
    ("content_filter: PROHIBITED_CONTENT", "content_filter"),
    ("SAFETY", "content_filter"),
    ("eos", "stop"),
    ("end_turn", "stop"),
]


def _completion(content: Any, finish: str | None) -> Body:
    choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": finish}
    return {"id": "c", "object": "chat.completion", "model": "m", "choices": [choice]}


def _ended(client: str, finish: str | None, *, stream: bool) -> str:
    """Why the client is told that an answer has ended, which ends so at the provider."""
    translator, _ = asked(client, "chat", {**ASKED[client], "stream": stream}, "m")
    if not stream:
        choice = {"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": finish}
        whole = translator.response(
            {"id": "c", "object": "chat.completion", "model": "m", "choices": [choice]}
        )
    else:
        raw = chat_stream({"delta": {"content": "hi"}}, {"delta": {}, "finish_reason": finish})
        frames, finished = carried(translator, "chat", [raw])
        assert finished
        events = [data for _, data in sse(frames) if data != "[DONE]"]
        whole = {
            "messages": lambda: next(e["delta"] for e in events if e["type"] == "message_delta"),
            "responses": lambda: events[-1]["response"],
            "completions": lambda: next(e for e in events if e["choices"][0]["finish_reason"]),
        }[client]()
    if client == "messages":
        return str(whole["stop_reason"])
    if client == "completions":
        return str(whole["choices"][0]["finish_reason"])
    return str((whole["incomplete_details"] or {}).get("reason") or whole["status"])


@WAYS
@CLIENTS
@pytest.mark.parametrize(("word", "own"), [*((word, word) for word in TOLD), *BEYOND])
def test_a_cut_answer_never_looks_complete(client: str, word: str, own: str, stream: bool) -> None:
    assert _ended(client, word, stream=stream) == TOLD[own][client]


@WAYS
@CLIENTS
@pytest.mark.parametrize("word", ["error", "abort", "", None])
def test_an_answer_that_was_broken_off_is_none(client: str, word: str | None, stream: bool) -> None:
    with pytest.raises(GatewayError) as caught:
        _ended(client, word, stream=stream)
    assert caught.value.code == "upstream_truncated"


@CLIENTS
def test_an_error_beside_a_last_choice_is_an_error(client: str) -> None:
    """As OpenRouter tells that a provider has failed in the middle of a stream."""
    begun = chat_stream({"delta": {"content": "hi"}}, done=False)
    choice = {"index": 0, "delta": {"content": ""}, "finish_reason": "error"}
    chunk = {"id": "c", "error": {"code": 502, "message": "Provider disconnected"}, "choices": [choice]}
    raw = begun + b"data: %b\n\ndata: [DONE]\n\n" % orjson.dumps(chunk)
    translator, _ = asked(client, "chat", {**ASKED[client], "stream": True}, "m")
    with pytest.raises(GatewayError) as caught:
        carried(translator, "chat", [raw])
    assert caught.value.code == "upstream_error"


PARTS: list[Body] = [
    {"type": "thinking", "thinking": [{"type": "text", "text": "Let me "}, {"type": "text", "text": "see."}]},
    {"type": "thinking", "thinking": " Yes."},
    {"type": "text", "text": "It is "},
    {"type": "reference", "reference_ids": [1]},
    {"type": "text", "text": "7."},
]


@WAYS
@CLIENTS
def test_content_in_parts(client: str, stream: bool) -> None:
    """As Mistral's models that reason give it."""
    translator, _ = asked(client, "chat", {**ASKED[client], "stream": stream}, "m")
    if stream:
        pieces = [{"delta": {"content": [part]}} for part in PARTS]
        frames, _ = carried(
            translator, "chat", [chat_stream(*pieces, {"delta": {}, "finish_reason": "stop"})]
        )
        said, thought = _read(client, sse(frames))
    else:
        choice = {"index": 0, "message": {"role": "assistant", "content": PARTS}, "finish_reason": "stop"}
        whole = translator.response(
            {"id": "c", "object": "chat.completion", "model": "m", "choices": [choice]}
        )
        said, thought = _read_whole(client, whole)
    assert said == "It is 7."
    assert thought == ("" if client == "completions" else "Let me see. Yes.")


def _read(client: str, events: list[tuple[str, Any]]) -> tuple[str, str]:
    if client == "responses":
        return _read_whole(client, events[-1][1]["response"])
    datas = [data for _, data in events if data != "[DONE]"]
    if client == "completions":
        return "".join(choice["text"] for data in datas for choice in data["choices"]), ""
    deltas = [data["delta"] for data in datas if data["type"] == "content_block_delta"]
    said = "".join(delta.get("text", "") for delta in deltas)
    return said, "".join(delta.get("thinking", "") for delta in deltas)


def _read_whole(client: str, whole: Body) -> tuple[str, str]:
    if client == "completions":
        return whole["choices"][0]["text"], ""
    if client == "messages":
        blocks = whole["content"]
        return "".join(b.get("text", "") for b in blocks), "".join(b.get("thinking", "") for b in blocks)
    said = [p["text"] for item in whole["output"] if item["type"] == "message" for p in item["content"]]
    thought = [p["text"] for item in whole["output"] if item["type"] == "reasoning" for p in item["summary"]]
    return "".join(said), "".join(thought)


@pytest.mark.parametrize(
    ("more", "cached"),
    [
        ({"prompt_tokens_details": {"cached_tokens": 6}}, 6),
        ({"prompt_cache_hit_tokens": 6, "prompt_cache_miss_tokens": 4}, 6),
        ({"prompt_cache_hit_tokens": 6, "prompt_tokens_details": {"cached_tokens": 7}}, 7),
        ({"prompt_cache_hit_tokens": 6, "prompt_tokens_details": None}, 6),
        ({"cached_tokens": 6}, 6),
        ({"prompt_cache_hit_tokens": "6"}, 0),
        ({"prompt_cache_hit_tokens": 600}, 10),
        ({}, 0),
    ],
)
def test_what_a_cache_gave_is_counted(more: Body, cached: int) -> None:
    """As OpenAI, DeepSeek and Moonshot say it."""
    usage = {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12, **more}
    translator, _ = asked("messages", "chat", ASKED["messages"], "m")
    told = translator.response({**_completion("hi", "stop"), "usage": usage})["usage"]
    assert (told["input_tokens"], told["cache_read_input_tokens"]) == (10 - cached, cached)
    translator, _ = asked("responses", "chat", ASKED["responses"], "m")
    told = translator.response({**_completion("hi", "stop"), "usage": usage})["usage"]
    assert (told["input_tokens"], told["input_tokens_details"]["cached_tokens"]) == (10, cached)


def test_a_reason_that_is_still_empty_ends_nothing() -> None:
    raw = chat_stream(
        {"delta": {"content": "a"}, "finish_reason": ""},
        {"delta": {"content": "b"}, "finish_reason": ""},
        {"delta": {}, "finish_reason": "length"},
    )
    translator, _ = asked("completions", "chat", {**ASKED["completions"], "stream": True}, "m")
    frames, _ = carried(translator, "chat", [raw])
    told = [choice for _, data in sse(frames) if data != "[DONE]" for choice in data["choices"]]
    assert [(choice["text"], choice["finish_reason"]) for choice in told] == [
        ("a", None),
        ("b", None),
        ("", "length"),
    ]
