"""The two dialects that most clients speak: facts, usage, answers, stream taps, errors in-band."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialects.chat import CHAT
from dialects.errors import BUSY, Detail, GatewayError
from dialects.messages import MESSAGES
from dialects.sse import SseFramer
from dialects.types import Dialect, Event, StreamTap, Usage

USER = {"role": "user", "content": "hello"}


def chat(**fields: Any) -> dict[str, Any]:
    body = {"model": "m", "messages": [USER], **fields}
    return {k: v for k, v in body.items() if v is not ...}


def messages(**fields: Any) -> dict[str, Any]:
    return chat(**{"max_tokens": 9, **fields})


def event(data: Any, name: str = "") -> Event:
    raw = data if isinstance(data, bytes) else orjson.dumps(data)
    return Event(name, raw, b"data: " + raw + b"\n\n")


def watch(tap: StreamTap, *events: Any) -> StreamTap:
    for one in events:
        tap.see(event(one))
    return tap


# --- Facts ---


def test_chat_facts() -> None:
    facts = CHAT.facts(
        chat(
            stream=True,
            stream_options={"include_usage": True},
            max_tokens=5,
            max_completion_tokens=7,
            n=2,
            user="u",
            safety_identifier="s",
            unknown={"kept": True},
            tools=[{"type": "function", "function": {"name": "f"}}],
            response_format={"type": "json_schema", "json_schema": {"name": "x"}},
            messages=[
                {"role": "system", "content": "12345"},
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "123"},
                        {"type": "image_url", "image_url": {"url": "x"}},
                    ],
                },
                {"role": "assistant", "content": None, "tool_calls": []},
            ],
        )
    )
    assert facts.model == "m"
    assert (facts.stream, facts.include_usage, facts.max_tokens, facts.n) == (True, True, 7, 2)
    assert facts.end_user == "s"
    assert facts.needs == {"tools", "json_schema", "vision"}
    assert facts.prompt_chars > 8 + 4000


def test_messages_facts() -> None:
    facts = MESSAGES.facts(
        messages(
            stream=True,
            system=[{"type": "text", "text": "12345"}],
            metadata={"user_id": "u"},
            tools=[{"name": "f", "input_schema": {}}],
            output_config={"format": {"type": "json_schema", "schema": {}}},
            messages=[
                {"role": "user", "content": [{"type": "document", "source": {}}]},
                {
                    "role": "assistant",
                    "content": [{"type": "tool_use", "id": "1", "name": "f", "input": {"a": 1}}],
                },
                {
                    "role": "user",
                    "content": [
                        {
                            "type": "tool_result",
                            "tool_use_id": "1",
                            "content": [{"type": "image", "source": {}}],
                        }
                    ],
                },
            ],
        )
    )
    assert (facts.stream, facts.max_tokens, facts.end_user) == (True, 9, "u")
    assert facts.include_usage
    assert facts.needs == {"tools", "json_schema", "documents", "vision"}


def test_facts_to_count_tokens_need_no_cap() -> None:
    assert MESSAGES.count_facts(chat()).max_tokens is None


@pytest.mark.parametrize(
    ("fields", "param", "code", "says"),
    [
        ({"model": ...}, "model", "missing_required_parameter", "you must provide a model"),
        ({"model": ""}, "model", "missing_required_parameter", "you must provide a model"),
        ({"model": 1}, "model", "invalid_type", "got an integer"),
        ({"messages": ...}, "messages", "missing_required_parameter", "'messages'"),
        ({"messages": "x"}, "messages", "invalid_type", "got a string"),
        ({"messages": []}, "messages", "empty_array", "empty array"),
        ({"messages": ["x"]}, "messages[0]", "invalid_type", "an object"),
        ({"messages": [USER, {}]}, "messages[1].role", "missing_required_parameter", "role"),
        ({"messages": [{"role": "robot"}]}, "messages[0].role", "invalid_value", "Supported values"),
        ({"messages": [{"role": []}]}, "messages[0].role", "invalid_type", "an array"),
        ({"messages": [{"role": "user"}]}, "messages[0].content", "missing_required_parameter", "content"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0].content", "invalid_type", "null"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content", "invalid_type", "an integer"),
        (
            {"messages": [{"role": "user", "content": [5]}]},
            "messages[0].content[0]",
            "invalid_type",
            "an object",
        ),
        (
            {"messages": [{"role": "user", "content": [{}]}]},
            "messages[0].content[0].type",
            "missing_required_parameter",
            "type",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": 1}]}]},
            "messages[0].content[0].text",
            "invalid_type",
            "text",
        ),
        (
            {"messages": [{"role": "assistant", "tool_calls": 1}]},
            "messages[0].tool_calls",
            "invalid_type",
            "array",
        ),
        (
            {"messages": [{"role": "assistant", "tool_calls": [1]}]},
            "messages[0].tool_calls[0]",
            "invalid_type",
            "an object",
        ),
        ({"stream": "yes"}, "stream", "invalid_type", "a boolean"),
        ({"stream_options": 1}, "stream_options", "invalid_type", "an object"),
        (
            {"stream_options": {"include_usage": 1}},
            "stream_options.include_usage",
            "invalid_type",
            "a boolean",
        ),
        ({"max_tokens": "9"}, "max_tokens", "invalid_type", "an integer"),
        ({"max_tokens": True}, "max_tokens", "invalid_type", "a boolean"),
        ({"max_tokens": 0}, "max_tokens", "integer_below_min_value", "minimum"),
        ({"max_completion_tokens": 1.5}, "max_completion_tokens", "invalid_type", "a decimal"),
        ({"n": 0}, "n", "integer_below_min_value", "minimum"),
        ({"user": 1}, "user", "invalid_type", "a string"),
        ({"tools": {}}, "tools", "invalid_type", "an array"),
        ({"tools": [1]}, "tools[0]", "invalid_type", "an object"),
        ({"response_format": "json"}, "response_format", "invalid_type", "an object"),
    ],
)
def test_chat_refuses(fields: dict[str, Any], param: str, code: str, says: str) -> None:
    with pytest.raises(GatewayError) as caught:
        CHAT.facts(chat(**fields))
    error = caught.value
    assert (error.detail.param, error.code, error.status("openai")) == (param, code, 400)
    assert says in error.message


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model": ...}, "model: Field required"),
        ({"model": 1}, "model: Input should be a valid string"),
        ({"max_tokens": ...}, "max_tokens: Field required"),
        ({"max_tokens": "9"}, "max_tokens: Input should be a valid integer"),
        ({"max_tokens": -1}, "max_tokens: Input should be greater than or equal to 0"),
        ({"messages": ...}, "messages: Field required"),
        ({"messages": {}}, "messages: Input should be a valid list"),
        ({"messages": []}, "messages: at least one message is required"),
        ({"messages": [1]}, "messages.0: Input should be a valid dictionary"),
        ({"messages": [{"content": "x"}]}, "messages.0.role: Field required"),
        (
            {"messages": [{"role": "tool", "content": "x"}]},
            "messages.0.role: Input should be 'user' or 'assistant'",
        ),
        ({"messages": [{"role": "user"}]}, "messages.0.content: Field required"),
        (
            {"messages": [{"role": "user", "content": 1}]},
            "messages.0.content: Input should be a valid string or list",
        ),
        (
            {"messages": [{"role": "user", "content": [1]}]},
            "messages.0.content.0: Input should be a valid dictionary",
        ),
        ({"messages": [{"role": "user", "content": [{}]}]}, "messages.0.content.0.type: Field required"),
        (
            {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
            "messages.0.content.0.text: Field required",
        ),
        ({"stream": 1}, "stream: Input should be a valid boolean"),
        ({"system": 1}, "system: Input should be a valid string or list"),
        ({"tools": 1}, "tools: Input should be a valid list"),
        ({"tools": [1]}, "tools.0: Input should be a valid dictionary"),
        ({"metadata": 1}, "metadata: Input should be a valid dictionary"),
        ({"metadata": {"user_id": 1}}, "metadata.user_id: Input should be a valid string"),
        ({"output_config": 1}, "output_config: Input should be a valid dictionary"),
    ],
)
def test_messages_refuses(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(GatewayError) as caught:
        MESSAGES.facts(messages(**fields))
    assert caught.value.message == message
    assert caught.value.status("anthropic") == 400


# --- Usage and answers ---

BIG = 2**60


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (None, None),
        ("x", None),
        ({}, None),
        ({"prompt_tokens": 3, "completion_tokens": 0}, Usage(3, 0)),
        ({"prompt_tokens": 3, "total_tokens": 8}, Usage(3, 5)),
        ({"prompt_tokens": 3}, None),
        ({"prompt_tokens": -3, "completion_tokens": 5}, None),
        ({"prompt_tokens": "3", "completion_tokens": 5}, None),
        ({"prompt_tokens": True, "completion_tokens": 5}, None),
        ({"prompt_tokens": 3.0, "completion_tokens": 5}, Usage(3, 5)),
        ({"prompt_tokens": 3.5, "completion_tokens": 5}, None),
        ({"prompt_tokens": BIG, "completion_tokens": 1e300}, Usage(2**53, 2**53)),
        (
            {
                "prompt_tokens": 10,
                "completion_tokens": 9,
                "prompt_tokens_details": {"cached_tokens": 6, "cache_write_tokens": 99},
                "completion_tokens_details": {"reasoning_tokens": -1},
            },
            Usage(10, 9, cache_read=6, cache_write=4, reasoning=0),
        ),
        ({"prompt_tokens": 1, "completion_tokens": 1, "prompt_tokens_details": []}, Usage(1, 1)),
    ],
)
def test_chat_usage(usage: Any, expected: Usage | None) -> None:
    assert CHAT.usage({"usage": usage}) == expected
    assert watch(CHAT.tap(strip_usage=False), {"choices": [], "usage": usage}).usage == expected


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (None, None),
        ([], None),
        ({"input_tokens": 1}, None),
        ({"input_tokens": 1, "output_tokens": 0}, Usage(1, 0)),
        ({"input_tokens": -1, "output_tokens": 2}, None),
        (
            {
                "input_tokens": 1,
                "output_tokens": 5,
                "cache_read_input_tokens": 10,
                "cache_creation_input_tokens": 100,
                "output_tokens_details": {"thinking_tokens": 4},
            },
            Usage(111, 5, cache_read=10, cache_write=100, reasoning=4),
        ),
        ({"input_tokens": 1, "output_tokens": 5, "cache_read_input_tokens": "many"}, Usage(1, 5)),
    ],
)
def test_messages_usage(usage: Any, expected: Usage | None) -> None:
    assert MESSAGES.usage({"usage": usage}) == expected
    start = {"type": "message_start", "message": {"usage": usage}}
    assert watch(MESSAGES.tap(strip_usage=False), start).usage == expected


@pytest.mark.parametrize(
    ("dialect", "body", "whole"),
    [
        (CHAT, {"choices": [{"message": {"content": None}}]}, True),
        (CHAT, {"choices": []}, False),
        (CHAT, {"choices": [{"delta": {}}]}, False),
        (CHAT, {"choices": None}, False),
        (CHAT, {}, False),
        (MESSAGES, {"type": "message", "content": []}, True),
        (MESSAGES, {"type": "message", "content": [1]}, False),
        (MESSAGES, {"type": "error", "error": {}}, False),
        (MESSAGES, {}, False),
    ],
)
def test_is_answer(dialect: Dialect, body: dict[str, Any], whole: bool) -> None:
    assert dialect.is_answer(body) is whole


# --- Taps ---


def chunk(delta: Any, **more: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta}], **more}


@pytest.mark.parametrize(
    ("delta", "content", "chars"),
    [
        ({"role": "assistant", "content": ""}, False, 0),
        ({}, False, 0),
        (None, False, 0),
        ({"content": "abc"}, True, 3),
        ({"content": None, "reasoning_content": "ab"}, True, 2),
        ({"content": "a", "reasoning": "bc"}, True, 3),
        ({"refusal": "no"}, True, 2),
        ({"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": "{}"}}]}, True, 3),
        ({"tool_calls": [{"index": 0, "id": "x"}]}, True, 0),
        ({"tool_calls": []}, False, 0),
        ({"function_call": {"arguments": ""}}, True, 0),
    ],
)
def test_chat_tap_content(delta: Any, content: bool, chars: int) -> None:
    tap = watch(CHAT.tap(strip_usage=True), chunk(delta))
    assert (tap.content, tap.output_chars, tap.finished) == (content, chars, False)


def test_chat_tap_end_and_usage_chunk() -> None:
    usage = event({"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}})
    with_answer = event(chunk({"content": "a"}, usage={"prompt_tokens": 1, "completion_tokens": 1}))
    for strip in (True, False):
        tap = CHAT.tap(strip_usage=strip)
        kept = []
        for one in (with_answer, usage, event(b"[DONE]"), event(b"")):
            tap.see(one)
            kept.append(tap.keep(one))
        assert kept == [True, not strip, True, True]
        assert tap.finished
        assert tap.usage == Usage(1, 2)


def test_done_is_compared_to_the_whole_payload() -> None:
    tap = watch(CHAT.tap(strip_usage=True), chunk({"content": "say [DONE]"}))
    assert not tap.finished


@pytest.mark.parametrize(
    ("dialect", "data", "code"),
    [
        (CHAT, {"error": {"message": "x", "type": "server_error"}}, "upstream_error"),
        (CHAT, {"error": {"message": "x", "code": "rate_limit_exceeded"}}, "rate_limit_exceeded"),
        (CHAT, {"error": "x"}, "upstream_error"),
        (CHAT, b"{broken", "upstream_invalid_response"),
        (CHAT, [1], "upstream_invalid_response"),
        (CHAT, 5, "upstream_invalid_response"),
        (CHAT, {"choices": [5]}, "upstream_invalid_response"),
        (CHAT, {"choices": [{"delta": {"content": 5}}]}, "upstream_invalid_response"),
        (CHAT, {"choices": [{"delta": [1]}]}, "upstream_invalid_response"),
        (MESSAGES, {"type": "error", "error": {"type": "overloaded_error", "message": "x"}}, "overloaded"),
        (MESSAGES, {"type": "error"}, "upstream_error"),
        (MESSAGES, b"<html>", "upstream_invalid_response"),
        (MESSAGES, {"no": "type"}, "upstream_invalid_response"),
        (MESSAGES, {"type": "content_block_delta"}, "upstream_invalid_response"),
        (MESSAGES, {"type": "content_block_delta", "delta": {"text": 5}}, "upstream_invalid_response"),
        (MESSAGES, {"type": "message_start", "message": None}, "upstream_invalid_response"),
    ],
)
def test_taps_raise_what_the_stream_says(dialect: Dialect, data: Any, code: str) -> None:
    with pytest.raises(GatewayError) as caught:
        watch(dialect.tap(strip_usage=True), data)
    assert caught.value.code == code


def test_messages_tap_through_a_stream() -> None:
    tap = MESSAGES.tap(strip_usage=True)
    watch(
        tap,
        {
            "type": "message_start",
            "message": {"usage": {"input_tokens": 5, "output_tokens": 1, "cache_read_input_tokens": 3}},
        },
        {"type": "ping"},
        {"type": "content_block_start", "content_block": {"type": "text", "text": ""}},
    )
    assert not tap.content
    watch(tap, {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "abc"}})
    assert (tap.content, tap.output_chars) == (True, 3)
    watch(
        tap,
        {"type": "content_block_delta", "delta": {"type": "input_json_delta", "partial_json": "{}"}},
        {"type": "content_block_delta", "delta": {"type": "signature_delta", "signature": "s" * 99}},
        {"type": "unheard_of"},
        # Cumulative: neither added to the first count nor lost; nulls say nothing.
        {"type": "message_delta", "delta": {}, "usage": {"output_tokens": 9, "input_tokens": None}},
    )
    assert tap.output_chars == 5
    assert tap.usage == Usage(8, 9, cache_read=3)
    assert not tap.finished
    assert watch(tap, {"type": "message_stop"}).finished


@pytest.mark.parametrize("kind", ["tool_use", "server_tool_use", "redacted_thinking"])
def test_messages_tap_block_that_is_content_by_itself(kind: str) -> None:
    block = {"type": "content_block_start", "content_block": {"type": kind, "name": "f"}}
    assert watch(MESSAGES.tap(strip_usage=True), block).content


# --- Errors in-band ---


def test_errors_in_band() -> None:
    error = GatewayError(BUSY, "Full.", Detail(retry_after=2))
    (from_chat,) = SseFramer().feed(CHAT.error_event(error, "req_1"))
    assert from_chat.name == ""
    assert from_chat.json()["error"] == {
        "message": "Full.",
        "type": "server_error",
        "param": None,
        "code": "overloaded",
    }
    (from_messages,) = SseFramer().feed(MESSAGES.error_event(error, "req_1"))
    assert from_messages.name == "error"
    assert from_messages.json() == {
        "type": "error",
        "error": {"type": "overloaded_error", "message": "Full."},
        "request_id": "req_1",
    }


# --- Anything at all ---

_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
_EVENT_KEYS = st.sampled_from(
    [
        "type",
        "choices",
        "delta",
        "content",
        "usage",
        "message",
        "content_block",
        "error",
        "tool_calls",
        "function",
        "text",
    ]
)
_EVENTS = st.recursive(
    _JSON | st.sampled_from(["content_block_delta", "content_block_start", "message_start", "message_delta"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_EVENT_KEYS, inner, max_size=4),
    max_leaves=10,
)


@given(_EVENTS)
def test_any_event_passes_or_is_a_gateway_error(data: Any) -> None:
    for dialect in (CHAT, MESSAGES):
        tap = dialect.tap(strip_usage=True)
        raised = None
        try:
            watch(tap, data)
        except GatewayError as error:
            raised = error
        assert raised is None or raised.message
        if isinstance(data, dict):
            dialect.usage(data)
            assert dialect.is_answer(data) in (True, False)
