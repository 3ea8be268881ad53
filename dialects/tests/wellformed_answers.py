"""Generators of providers' whole answers, every kind of part in any order."""

from __future__ import annotations

from typing import Any

import orjson
from hypothesis import strategies as st

Body = dict[str, Any]

_TEXT = st.sampled_from(["hello", "two\n", "ž\u2028🐎", " "])
_ARGUMENTS = st.sampled_from(['{"a":1}', "{}", '{"x": [1, {"y": null}]}'])
_NAME = st.sampled_from(["f", "g"])
_LINK = {"url": "https://example.com", "title": "t"}
_AT = {"start_index": 0, "end_index": 1}


@st.composite
def chat(draw: st.DrawFn) -> Body:
    """An answer of chat completions."""
    said: Body = {"role": "assistant", "content": draw(_TEXT | st.sampled_from([None, ""]))}
    said["refusal"] = draw(st.none() | st.none() | _TEXT)
    if draw(st.booleans()):
        said["reasoning_content"] = draw(_TEXT)
    calls = [
        {
            "id": f"call_{i}",
            "type": "function",
            "function": {"name": draw(_NAME), "arguments": draw(_ARGUMENTS)},
        }
        for i in range(draw(st.integers(0, 2)))
    ]
    if calls:
        said["tool_calls"] = calls
    logprobs = None
    if said["content"]:
        if draw(st.booleans()):
            said["annotations"] = [{"type": "url_citation", "url_citation": {**_LINK, **_AT}}]
        if draw(st.booleans()):
            top = {"token": "a", "logprob": -1.0, "bytes": [97]}
            entry = {"token": said["content"], "logprob": -0.5, "bytes": [1], "top_logprobs": [top]}
            logprobs = {"content": [entry], "refusal": None}
    reasons = ["stop", "length", "content_filter", *(["tool_calls"] if calls else [])]
    choice = {
        "index": 0,
        "message": said,
        "logprobs": logprobs,
        "finish_reason": draw(st.sampled_from(reasons)),
    }
    return {
        "id": "chatcmpl-x",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-4o",
        "system_fingerprint": "fp",
        "service_tier": draw(st.sampled_from(["default", "priority", "flex"])),
        "choices": [choice],
        "usage": {
            "prompt_tokens": 20,
            "completion_tokens": 9,
            "total_tokens": 29,
            "prompt_tokens_details": {"cached_tokens": 8, "cache_write_tokens": 2},
            "completion_tokens_details": {"reasoning_tokens": 3},
        },
    }


_CITED = {"type": "web_search_result_location", **_LINK, "cited_text": "c", "encrypted_index": "e"}
_STOPS = ("end_turn", "max_tokens", "stop_sequence", "refusal", "pause_turn", "model_context_window_exceeded")
_SEARCHED: list[Body] = [
    {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "q"}},
    {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []},
]


@st.composite
def messages(draw: st.DrawFn) -> Body:
    """An answer of messages."""
    blocks: list[Body] = []
    for i in range(draw(st.integers(0, 4))):
        kind = draw(st.sampled_from(["text", "cited", "thinking", "redacted", "use", "searched"]))
        if kind in ("text", "cited"):
            cited = [_CITED] if kind == "cited" else None
            blocks.append({"type": "text", "text": draw(_TEXT), "citations": cited})
        elif kind == "thinking":
            thought = draw(_TEXT | st.just(""))
            blocks.append({"type": kind, "thinking": thought, "signature": f"signed {i}"})
        elif kind == "redacted":
            blocks.append({"type": "redacted_thinking", "data": f"data {i}"})
        elif kind == "use":
            given = orjson.loads(draw(_ARGUMENTS))
            blocks.append({"type": "tool_use", "id": f"toolu_{i}", "name": draw(_NAME), "input": given})
        else:
            blocks += _SEARCHED
    called = any(block["type"] == "tool_use" for block in blocks)
    reason = "tool_use" if called else draw(st.sampled_from(_STOPS))
    said = {"type": "refusal", "category": None, "explanation": "no"}
    return {
        "id": "msg_x",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5",
        "content": blocks,
        "stop_reason": reason,
        "stop_sequence": "END" if reason == "stop_sequence" else None,
        "stop_details": said if reason == "refusal" else None,
        "usage": {
            "input_tokens": 10,
            "output_tokens": 7,
            "cache_read_input_tokens": 5,
            "cache_creation_input_tokens": 3,
            "service_tier": "standard",
            "output_tokens_details": {"thinking_tokens": 2},
        },
    }


@st.composite
def responses(draw: st.DrawFn) -> Body:
    """A response."""
    output: list[Body] = []
    for i in range(draw(st.integers(0, 4))):
        kind = draw(st.sampled_from(["text", "refusal", "reasoning", "sealed", "call", "searched"]))
        message: Body = {"id": f"msg_{i}", "type": "message", "status": "completed", "role": "assistant"}
        if kind == "text":
            cited = draw(st.sampled_from([[], [{"type": "url_citation", **_LINK, **_AT}]]))
            part = {"type": "output_text", "text": draw(_TEXT), "annotations": cited, "logprobs": []}
            output.append({**message, "content": [part]})
        elif kind == "refusal":
            output.append({**message, "content": [{"type": kind, "refusal": draw(_TEXT)}]})
        elif kind in ("reasoning", "sealed"):
            parts = [{"type": "summary_text", "text": text} for text in draw(st.lists(_TEXT, max_size=2))]
            sealed = {"encrypted_content": f"gAAAA{i}"} if kind == "sealed" else {}
            output.append({"id": f"rs_{i}", "type": "reasoning", "summary": parts, **sealed})
        elif kind == "call":
            made: Body = {"id": f"fc_{i}", "type": "function_call", "status": "completed"}
            output.append(
                {**made, "call_id": f"call_{i}", "name": draw(_NAME), "arguments": draw(_ARGUMENTS)}
            )
        else:
            action = {"type": "search", "query": "q"}
            output.append(
                {"id": f"ws_{i}", "type": "web_search_call", "status": "completed", "action": action}
            )
    reason = draw(st.sampled_from([None, None, "max_output_tokens", "content_filter"]))
    return {
        "id": "resp_x",
        "object": "response",
        "created_at": 1,
        "status": "incomplete" if reason else "completed",
        "error": None,
        "incomplete_details": {"reason": reason} if reason else None,
        "model": "gpt-4o",
        "output": output,
        "service_tier": "default",
        "usage": {
            "input_tokens": 20,
            "input_tokens_details": {"cached_tokens": 8, "cache_write_tokens": 2},
            "output_tokens": 9,
            "output_tokens_details": {"reasoning_tokens": 3},
            "total_tokens": 29,
        },
    }


@st.composite
def ollama(draw: st.DrawFn) -> Body:
    """An answer of Ollama's chat."""
    said: Body = {"role": "assistant", "content": draw(_TEXT | st.just(""))}
    if draw(st.booleans()):
        said["thinking"] = draw(_TEXT)
    calls = [
        {"function": {"name": draw(_NAME), "arguments": orjson.loads(draw(_ARGUMENTS))}}
        for _ in range(draw(st.integers(0, 2)))
    ]
    if calls:
        said["tool_calls"] = calls
    return {
        "model": "qwen3",
        "created_at": "2026-01-01T00:00:00Z",
        "message": said,
        "done": True,
        "done_reason": draw(st.sampled_from(["stop", "length"])),
        "prompt_eval_count": 20,
        "eval_count": 9,
    }


ANSWERS: dict[str, st.SearchStrategy[Body]] = {
    "chat": chat(),
    "messages": messages(),
    "responses": responses(),
    "ollama_chat": ollama(),
}
