"""The table: every pair carries a minimal conversation, whole and streamed, and nothing that a client or a
provider sends makes it raise anything but the gateway's own errors."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from anthropic.types import Message, RawMessageStreamEvent
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openai.types import Completion, CreateEmbeddingResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from dialects.errors import GatewayError
from dialects.table import DIALECTS, TRANSLATORS, choose
from dialects.tests.pair_support import asked, carried, chat_stream, end, lines, say, sse
from dialects.types import Event, JsonObject, ModelFacts

PAIRS = sorted(TRANSLATORS)
STREAMING = [pair for pair in PAIRS if pair[0] != "embeddings"]
# Clients whose streams carry their usage unasked, in events with names.
EVENTFUL = ("messages", "responses")
USER = [{"role": "user", "content": "Hi"}]
MINIMAL: dict[str, JsonObject] = {
    "chat": {"messages": USER},
    "messages": {"messages": USER, "max_tokens": 50},
    "completions": {"prompt": "Hi"},
    "embeddings": {"input": "Hi"},
    "responses": {"input": "Hi"},
}
MODELS = {
    "messages": "claude-haiku-4-5",
    "chat": "gpt-4o",
    "responses": "gpt-4o",
    "ollama_chat": "llama3.2",
    "ollama_embed": "m",
    "ollama_generate": "qwen2.5-coder",
}
ANSWERS: dict[str, JsonObject] = {
    "chat": {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-4o",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
    },
    "messages": {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-haiku-4-5",
        "content": [{"type": "text", "text": "Hello"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 3, "output_tokens": 2},
    },
    "ollama_chat": {
        "model": "llama3.2",
        "message": {"role": "assistant", "content": "Hello"},
        "done": True,
        "done_reason": "stop",
        "prompt_eval_count": 3,
        "eval_count": 2,
    },
    "ollama_embed": {"model": "m", "embeddings": [[0.5]], "prompt_eval_count": 3},
    "ollama_generate": {
        "model": "qwen2.5-coder",
        "response": "Hello",
        "done": True,
        "done_reason": "stop",
        "prompt_eval_count": 3,
        "eval_count": 2,
    },
    "responses": {
        "id": "resp_1",
        "object": "response",
        "status": "completed",
        "model": "gpt-4o",
        "output": [
            {
                "type": "message",
                "role": "assistant",
                "content": [{"type": "output_text", "text": "Hello", "annotations": []}],
            }
        ],
        "usage": {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5},
    },
}


def claude_stream() -> bytes:
    usage = {"input_tokens": 3, "output_tokens": 1}
    events: list[JsonObject] = [
        {"type": "message_start", "message": {**ANSWERS["messages"], "content": [], "usage": usage}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}},
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"output_tokens": 2},
        },
        {"type": "message_stop"},
    ]
    return b"".join(f"event: {e['type']}\ndata: {json.dumps(e)}\n\n".encode() for e in events)


def response_stream() -> bytes:
    answer = ANSWERS["responses"]
    at = {"output_index": 0, "content_index": 0}
    events: list[JsonObject] = [
        {"type": "response.created", "response": {**answer, "output": [], "status": "in_progress"}},
        {"type": "response.output_item.added", "output_index": 0, "item": {"type": "message", "content": []}},
        {"type": "response.output_text.delta", **at, "delta": "Hello"},
        {"type": "response.output_text.done", **at, "text": "Hello"},
        {"type": "response.output_item.done", "output_index": 0, "item": answer["output"][0]},
        {"type": "response.completed", "response": answer},
    ]
    return b"".join(f"event: {e['type']}\ndata: {json.dumps(e)}\n\n".encode() for e in events)


STREAMS = {
    "responses": response_stream(),
    "chat": chat_stream(
        {"delta": {"role": "assistant", "content": ""}},
        {"delta": {"content": "Hello"}},
        {"delta": {}, "finish_reason": "stop"},
        usage={"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
    ),
    "messages": claude_stream(),
    "ollama_chat": lines(say(content="Hello"), end(prompt_eval_count=3, eval_count=2)),
    "ollama_generate": lines(
        {"model": "qwen2.5-coder", "response": "Hello", "done": False},
        {**ANSWERS["ollama_generate"], "response": ""},
    ),
}
WHOLE_TEXT: dict[str, tuple[Any, Callable[[Any], Any]]] = {
    "chat": (ChatCompletion, lambda read: read.choices[0].message.content),
    "messages": (Message, lambda read: read.content[0].text),
    "completions": (Completion, lambda read: read.choices[0].text),
    "embeddings": (CreateEmbeddingResponse, lambda read: read.data[0].embedding),
    "responses": (Response, lambda read: read.output_text),
}
EVENTS = {
    "messages": TypeAdapter[Any](RawMessageStreamEvent),
    "responses": TypeAdapter[Any](ResponseStreamEvent),
}


@pytest.mark.parametrize(("client", "upstream"), PAIRS)
def test_minimal_conversation(client: str, upstream: str) -> None:
    translator, _ = asked(client, upstream, MINIMAL[client], MODELS[upstream])
    assert translator.dropped == []
    answer = ANSWERS[upstream]
    assert DIALECTS[upstream].is_answer(answer)
    made = translator.response(answer)
    assert DIALECTS[client].is_answer(made)
    kind, text = WHOLE_TEXT[client]
    assert text(kind.model_validate(made, strict=True)) == ([0.5] if client == "embeddings" else "Hello")
    usage, expected = DIALECTS[client].usage(made), DIALECTS[upstream].usage(answer)
    assert usage == expected
    assert usage is not None
    assert usage.input_tokens == 3


@pytest.mark.parametrize(("client", "upstream"), STREAMING)
def test_minimal_stream(client: str, upstream: str) -> None:
    body = {**MINIMAL[client], "stream": True}
    if client not in EVENTFUL:
        body["stream_options"] = {"include_usage": True}
    translator, _ = asked(client, upstream, body, MODELS[upstream])
    out, finished = carried(translator, upstream, [STREAMS[upstream]])
    assert finished
    # The client's own reader of this dialect agrees: content, an end, and the counts.
    tap = DIALECTS[client].tap(strip_usage=False)
    framer = DIALECTS[client].framer()
    for event in framer.feed(out):
        assert not tap.finished
        tap.see(event)
    assert not framer.pending()
    assert (tap.finished, tap.content, tap.output_chars) == (True, True, 5)
    assert tap.usage is not None
    assert (tap.usage.input_tokens, tap.usage.output_tokens) == (3, 2)


@pytest.mark.parametrize(("client", "upstream"), STREAMING)
def test_without_being_asked_no_stream_of_openai_has_a_chunk_without_choices(
    client: str, upstream: str
) -> None:
    translator, _ = asked(client, upstream, {**MINIMAL[client], "stream": True}, MODELS[upstream])
    out, _ = carried(translator, upstream, [STREAMS[upstream]])
    for name, data in sse(out):
        if client in EVENTFUL:
            assert EVENTS[client].validate_python(data, strict=True).type == name
        elif data != "[DONE]":
            assert data["choices"]
            assert "usage" not in data
            if client == "chat":
                ChatCompletionChunk.model_validate(data, strict=True)


# What holds ids and times that are made up anew each time.
MADE_UP = ("id", "created", "message", "response", "item_id", "item")


@pytest.mark.parametrize(("client", "upstream"), STREAMING)
def test_cut_at_every_byte(client: str, upstream: str) -> None:
    stream = STREAMS[upstream]

    def run(pieces: list[bytes]) -> list[Any]:
        translator, _ = asked(client, upstream, {**MINIMAL[client], "stream": True}, MODELS[upstream])
        out, finished = carried(translator, upstream, pieces)
        assert finished
        return [
            {k: v for k, v in data.items() if k not in MADE_UP} if data != "[DONE]" else data
            for _, data in sse(out)
        ]

    expected = run([stream])
    for at in range(1, len(stream)):
        assert run([stream[:at], stream[at:]]) == expected


@pytest.mark.parametrize(("client", "upstream"), STREAMING)
def test_cut_off_anywhere_is_never_an_end(client: str, upstream: str) -> None:
    """Whatever the place where the connection broke, the client sees no sign of a whole answer."""
    stream = STREAMS[upstream]
    for at in range(len(stream) - 1):
        translator, _ = asked(client, upstream, {**MINIMAL[client], "stream": True}, MODELS[upstream])
        out, finished = carried(translator, upstream, [stream[:at]])
        if not finished:
            assert b"[DONE]" not in out
            assert b"message_stop" not in out
            assert b"response.completed" not in out


def test_choose() -> None:
    assert choose("chat", ("messages", "chat")) == "chat"
    assert choose("chat", ("completions", "messages", "ollama_chat")) == "messages"
    assert choose("embeddings", ("messages",)) is None
    assert choose("completions", ("chat", "embeddings")) == "chat"
    assert choose("responses", ("chat", "responses")) == "responses"
    assert choose("responses", ("completions", "messages")) == "messages"
    assert choose("nobody", ("chat",)) is None
    assert choose("chat", ()) is None


def test_the_table_is_whole() -> None:
    """Every name is a dialect's, no pair is of one with itself, and each call makes a new translator."""
    assert all(DIALECTS[name].name == name for name in DIALECTS)
    for client, upstream in PAIRS:
        assert client in DIALECTS
        assert upstream in DIALECTS
        assert client != upstream
        make = TRANSLATORS[client, upstream]
        assert make() is not make()
        assert make().dropped is not make().dropped


# --- Hostile bodies ----------------------------------------------------------------------------------

WORDS = st.sampled_from(
    (
        "user", "assistant", "system", "developer", "tool", "function", "text", "image_url",
        "input_audio", "file", "image", "document", "tool_use", "tool_result", "thinking",
        "search_result", "base64", "url", "content", "auto", "none", "required", "any", "enabled",
        "disabled", "adaptive", "json_schema", "json_object", "low", "max", "allowed_tools", "custom",
        "#/$defs/a", "data:image/png;base64,AAAA", "data:text/plain;base64,AAAA", "{}", "{\"a\":1}", "",
        "\ud7ff", "x" * 80,
    )
)  # fmt: skip
NAMES = st.sampled_from(
    (
        "role", "content", "type", "text", "image_url", "url", "detail", "input_audio", "data", "file",
        "file_data", "filename", "tool_calls", "tool_call_id", "id", "function", "name", "arguments",
        "parameters", "strict", "description", "function_call", "reasoning_content", "thinking",
        "signature", "refusal", "source", "title", "media_type", "tool_use_id", "is_error", "input",
        "input_schema", "cache_control", "budget_tokens", "format", "effort", "schema", "json_schema",
        "mode", "tools", "allowed_tools", "properties", "items", "anyOf", "oneOf", "allOf", "$ref",
        "$defs", "a", "const", "required", "enum", "citations", "user_id", "include_usage", "num_ctx",
        "num_predict", "stop", "custom", "thinking_blocks", "context",
    )
)  # fmt: skip
TOP = (
    "messages", "system", "prompt", "input", "stream", "stream_options", "max_tokens",
    "max_completion_tokens", "temperature", "top_p", "top_k", "min_p", "n", "seed", "stop",
    "stop_sequences", "tools", "tool_choice", "functions", "function_call", "parallel_tool_calls",
    "response_format", "reasoning_effort", "thinking", "output_config", "output_format", "logprobs",
    "top_logprobs", "options", "num_ctx", "keep_alive", "modalities", "audio", "metadata", "user",
    "service_tier", "echo", "suffix", "best_of", "logit_bias", "encoding_format", "dimensions",
    "truncate", "verbosity", "safety_identifier", "store", "foo",
)  # fmt: skip
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    # As far as the parser lets them.
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | WORDS
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5),
    max_leaves=16,
)
TURNS = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(("user", "assistant", "system", "tool", "function", "developer"))},
        optional={
            "content": LEAVES
            | st.lists(st.dictionaries(NAMES, VALUES, max_size=4), max_size=3)
            | st.lists(
                st.fixed_dictionaries(
                    {"type": WORDS},
                    optional={"text": WORDS, "source": VALUES, "image_url": VALUES, "content": VALUES},
                ),
                max_size=3,
            ),
            "tool_calls": VALUES,
            "tool_call_id": WORDS,
            "function_call": VALUES,
            "name": WORDS,
        },
    ),
    max_size=4,
)
BODIES = st.builds(
    lambda extra, turns, fields: {**extra, **fields, **({} if turns is None else {"messages": turns})},
    st.dictionaries(st.sampled_from(TOP), VALUES, max_size=6),
    st.none() | TURNS,
    st.sampled_from(
        (
            {"model": "m", "messages": USER, "prompt": "x", "input": "x", "max_tokens": 5},
            {"model": "m", "prompt": ["x"], "input": ["x"], "max_tokens": 5},
            {"model": "gpt-5"},
        )
    ),
)
FUZZ = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.parametrize("name", sorted(DIALECTS))
@FUZZ
@given(body=BODIES)
def test_any_body_has_facts_or_is_refused(name: str, body: JsonObject) -> None:
    try:
        facts = DIALECTS[name].facts(body)
    except GatewayError as error:
        status = error.status("openai")
    else:
        # Files and batches ask no model.
        assert bool(facts.model) is (name not in ("files", "file_content", "batches"))
        status = 400
    assert status == 400


@pytest.mark.parametrize(("client", "upstream"), PAIRS)
@FUZZ
@given(body=BODIES)
def test_any_body_is_translated_or_refused(client: str, upstream: str, body: JsonObject) -> None:
    before = orjson.dumps(body)
    try:
        DIALECTS[client].facts(body)
        sent = TRANSLATORS[client, upstream]().request(body, ModelFacts(name=MODELS[upstream]))
    except GatewayError as error:
        assert error.status("openai") == 400  # noqa: PT017 - most bodies are refused, and each way is right
        return
    assert sent["model"] == MODELS[upstream]
    orjson.dumps(sent)
    assert orjson.dumps(body) == before


ANSWER = st.dictionaries(
    st.sampled_from(
        (
            "choices",
            "message",
            "content",
            "usage",
            "embeddings",
            "done",
            "model",
            "stop_reason",
            "type",
            "data",
        )
    ),
    VALUES,
    max_size=5,
)
EVENT_TYPES = st.sampled_from(
    (
        "message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta",
        "message_stop", "text_delta", "input_json_delta",
    )
)  # fmt: skip
EVENT = st.dictionaries(
    st.sampled_from(
        (
            "choices", "delta", "message", "content", "type", "index", "content_block", "usage", "done",
            "error", "finish_reason", "role", "text", "partial_json", "tool_calls", "function", "name",
        )
    ),
    VALUES | EVENT_TYPES,
    max_size=5,
)  # fmt: skip


@pytest.mark.parametrize(("client", "upstream"), PAIRS)
@FUZZ
@given(answer=ANSWER)
def test_any_answer_is_translated_or_refused(client: str, upstream: str, answer: JsonObject) -> None:
    translator, _ = asked(client, upstream, MINIMAL[client], MODELS[upstream])
    if not DIALECTS[upstream].is_answer(answer):
        return
    try:
        translator.response(answer)
    except GatewayError as error:
        assert error.status("openai") == 502  # noqa: PT017 - most answers are refused, and each way is right


@pytest.mark.parametrize(("client", "upstream"), STREAMING)
@FUZZ
@given(data=st.lists(EVENT, max_size=4))
def test_any_event_is_translated_or_refused(client: str, upstream: str, data: list[JsonObject]) -> None:
    translator, _ = asked(client, upstream, {**MINIMAL[client], "stream": True}, MODELS[upstream])
    tap = DIALECTS[upstream].tap(strip_usage=True)
    try:
        for one in data:
            event = Event("", json.dumps(one).encode(), b"")
            tap.see(event)
            sse(translator.event(event))
            if tap.finished:
                sse(translator.finish())
                break
    except GatewayError as error:
        assert error.fault.status >= 400  # noqa: PT017 - most events are refused, and each way is right
