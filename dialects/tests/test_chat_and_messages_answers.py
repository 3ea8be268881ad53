"""The two dialects that most clients speak: usage, answers, stream taps, errors in-band."""

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


def event(data: Any, name: str = "") -> Event:
    raw = data if isinstance(data, bytes) else orjson.dumps(data)
    return Event(name, raw, b"data: " + raw + b"\n\n")


def watch(tap: StreamTap, *events: Any) -> StreamTap:
    for one in events:
        tap.see(event(one))
    return tap


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
