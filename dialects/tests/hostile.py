"""Generators of hostile bodies and answers, made of the words that the translators look for."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from dialects.types import ModelFacts

MODELS = st.sampled_from(
    [
        *(ModelFacts(n) for n in ("claude-opus-4-7", "claude-sonnet-4-6", "gpt-5.4", "o3", "gemma")),
        ModelFacts("claude-sonnet-4-5"),
        ModelFacts("gpt-4o"),
    ]
)

# --- Fuzz: bodies made of the words that the translators look for, in places where they do not belong ---

_WORDS = st.sampled_from(
    [
        "text",
        "image_url",
        "file",
        "image",
        "document",
        "tool_use",
        "tool_result",
        "tool",
        "user",
        "assistant",
        "system",
        "function",
        "custom",
        "auto",
        "any",
        "none",
        "required",
        "enabled",
        "adaptive",
        "disabled",
        "json_schema",
        "json_object",
        "high",
        "base64",
        "url",
        "https://e.com/a.png",
        "data:image/png;base64,AA==",
        "application/pdf",
        "thinking",
        "redacted_thinking",
        "content",
        "ephemeral",
        "\n",
        "",
        "call_1",
        "{}",
        "{",
    ]
)
_SCALARS = st.none() | st.booleans() | st.integers(-2, 40000) | st.floats(-2, 3) | _WORDS
_KEYS = st.sampled_from(
    [
        "type",
        "role",
        "content",
        "text",
        "image_url",
        "url",
        "file",
        "file_data",
        "filename",
        "source",
        "data",
        "media_type",
        "id",
        "name",
        "input",
        "tool_use_id",
        "tool_call_id",
        "tool_calls",
        "function",
        "arguments",
        "function_call",
        "thinking_blocks",
        "reasoning_details",
        "signature",
        "thinking",
        "cache_control",
        "budget_tokens",
        "effort",
        "format",
        "schema",
        "json_schema",
        "user_id",
        "include_usage",
        "strict",
        "parameters",
        "input_schema",
        "properties",
        "required",
        "anyOf",
        "oneOf",
        "items",
        "$defs",
        "allowed_tools",
        "mode",
        "tools",
        "additionalProperties",
        "description",
        "is_error",
        "title",
        "citations",
    ]
)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=5),
    max_leaves=12,
)
TREES = st.dictionaries(_KEYS, _VALUES, max_size=5)


def _typed(kind: str) -> st.SearchStrategy[dict[str, Any]]:
    """A part or block that says it is `kind`, with a text where it needs one, and anything else in it."""
    return st.builds(
        lambda tree, text: {**tree, "type": kind, **({"text": text} if kind == "text" else {})}, TREES, _WORDS
    )


_PARTS = st.one_of(
    [
        _typed(kind)
        for kind in (
            "text",
            "image_url",
            "file",
            "image",
            "document",
            "tool_use",
            "tool_result",
            "thinking",
            "redacted_thinking",
            "refusal",
            "search_result",
        )
    ]
)
# A few well-formed ones, so that what lies behind them is reached too.
_CALL: dict[str, Any] = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
_USE = {"type": "tool_use", "id": "call_1", "name": "f", "input": {}}
_RESULT = st.builds(lambda tree: {**tree, "type": "tool_result", "tool_use_id": "call_1"}, TREES)
_CONTENT = _WORDS | st.lists(_PARTS | st.just(_USE) | _RESULT, max_size=3)
_MESSAGE = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "system", "developer", "tool"]), "content": _CONTENT},
    optional={
        "tool_calls": st.lists(st.just(_CALL) | TREES, max_size=2),
        "tool_call_id": st.sampled_from(["call_1", "call_1", "x", None]),
        "thinking_blocks": st.lists(_PARTS, max_size=2) | _VALUES,
        "reasoning_details": st.lists(TREES, max_size=2) | _VALUES,
        "function_call": st.just(_CALL["function"]) | _VALUES,
        "refusal": _SCALARS,
        "name": _SCALARS,
    },
)
_TOOL = st.builds(
    lambda tree, name: {**tree, "name": name, "type": "function", "function": {**tree, "name": name}},
    TREES,
    _WORDS,
)
# What facts() lets through has these types; whatever else a client sends meets the translator as it is.
_FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "stream": st.booleans(),
    "stream_options": st.fixed_dictionaries({}, optional={"include_usage": st.booleans(), "x": _VALUES}),
    "tools": st.lists(_TOOL | TREES, max_size=2),
    "functions": st.lists(_TOOL | TREES, max_size=2),
    "response_format": _PARTS
    | st.builds(lambda tree: {"type": "json_schema", "json_schema": {"schema": tree}}, TREES),
    "output_config": TREES | st.builds(lambda tree: {"format": {"schema": tree}}, TREES),
    "metadata": st.fixed_dictionaries({}, optional={"user_id": _WORDS, "x": _VALUES}),
    "system": _WORDS | st.lists(_typed("text"), max_size=2),
    "user": st.text(max_size=70),
    "safety_identifier": _WORDS,
    "n": st.sampled_from([1, 1, 1, 2]),
    "audio": st.sampled_from([None, None, None, {"voice": "a"}]),
    "modalities": st.sampled_from([["text"], "x", 5]),
    "top_p": st.floats(0, 1) | st.floats(0, 1) | _VALUES,
    "top_k": st.integers(-1, 9) | _VALUES,
    "output_format": TREES,
    "thinking": _PARTS | st.builds(lambda n: {"type": "enabled", "budget_tokens": n}, _SCALARS) | _VALUES,
    "reasoning_effort": st.sampled_from(["none", "low", "high", "max"]) | _VALUES,
    "temperature": st.floats(0, 1) | _VALUES,
    "stop": st.lists(_WORDS, max_size=6) | _VALUES,
    "stop_sequences": st.lists(_WORDS, max_size=6) | _VALUES,
    "tool_choice": st.sampled_from(["auto", "none", "required", {"type": "any"}]) | TREES | _VALUES,
    "service_tier": _WORDS | _VALUES,
    "max_completion_tokens": st.integers(1, 50000),
    "a\r\nb": _VALUES,
    "parallel_tool_calls": st.booleans() | _VALUES,
    "function_call": _VALUES,
}
_CHAT: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "model": st.just("m"),
        "max_tokens": st.integers(1, 50000),
        "messages": st.lists(_MESSAGE, min_size=1, max_size=4),
    },
    optional=_FIELDS,
)
# The other dialect has fewer roles; one body in both keeps the fuzz in one place.
BODIES = {
    "chat": _CHAT,
    "messages": _CHAT.map(
        lambda body: {
            **body,
            "messages": [
                {**m, "role": "user" if m["role"] in ("tool", "developer") else m["role"]}
                for m in body["messages"]
            ],
        }
    ),
}


# --- Fuzz: hostile providers ---

_BLOCK = st.dictionaries(
    st.sampled_from(["type", "text", "id", "name", "input", "thinking", "citations", "data"]),
    _VALUES,
    max_size=4,
)
ANSWERS = st.fixed_dictionaries(
    {},
    optional={
        "content": st.lists(_BLOCK, max_size=3) | _VALUES,
        "stop_reason": _SCALARS,
        "usage": _VALUES,
        "model": _VALUES,
        "choices": st.lists(
            st.fixed_dictionaries(
                {},
                optional={
                    "index": _SCALARS,
                    "message": _MESSAGE,
                    "delta": _MESSAGE | _VALUES,
                    "finish_reason": _SCALARS,
                },
            ),
            max_size=2,
        ),
        "type": st.sampled_from(
            [
                "message_start",
                "content_block_start",
                "content_block_delta",
                "content_block_stop",
                "message_delta",
            ]
        ),
        "message": _VALUES,
        "content_block": _BLOCK,
        "delta": st.dictionaries(
            st.sampled_from(["type", "text", "partial_json", "thinking", "signature", "stop_reason"]),
            _VALUES
            | st.sampled_from(["text_delta", "input_json_delta", "thinking_delta", "signature_delta"]),
            max_size=3,
        ),
    },
)
