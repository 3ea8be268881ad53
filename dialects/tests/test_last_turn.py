"""The last turn of a request: what is one text of a user's, and what of the body is left without it."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from dialects.last_turn import last_turn

USER = {"role": "user", "content": "Why?"}
SYSTEM = {"role": "system", "content": "Be short."}
ASSISTANT = {"role": "assistant", "content": "So."}
PART = {"type": "text", "text": "Why?", "cache_control": {"type": "ephemeral"}}
PICTURE = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
RESULT = {"type": "tool_result", "tool_use_id": "t", "content": "42"}


@pytest.mark.parametrize(
    ("dialect", "body", "first", "rest"),
    [
        ("chat", {"messages": [USER]}, True, {"messages": [{"role": "user", "content": None}]}),
        (
            "chat",
            {"messages": [SYSTEM, USER], "seed": 1},
            True,
            {"messages": [SYSTEM, {"role": "user", "content": None}], "seed": 1},
        ),
        (
            "chat",
            {"messages": [USER, ASSISTANT, USER]},
            False,
            {"messages": [USER, ASSISTANT, {"role": "user", "content": None}]},
        ),
        (
            "messages",
            {"messages": [{"role": "user", "content": [PART]}]},
            True,
            {"messages": [{"role": "user", "content": [{**PART, "text": None}]}]},
        ),
        ("responses", {"input": "Why?"}, True, {"input": None}),
        (
            "responses",
            {"input": [ASSISTANT, {**USER, "type": "message"}]},
            False,
            {"input": [ASSISTANT, {"role": "user", "content": None, "type": "message"}]},
        ),
        (
            "responses",
            {"input": [{"role": "user", "content": [{"type": "input_text", "text": "Why?"}]}]},
            True,
            {"input": [{"role": "user", "content": [{"type": "input_text", "text": None}]}]},
        ),
        ("completions", {"prompt": "Why?", "suffix": "."}, True, {"prompt": None, "suffix": "."}),
    ],
)
def test_one_text_of_a_user(dialect: str, body: Any, first: bool, rest: Any) -> None:
    before = deepcopy(body)
    turn = last_turn(dialect, body)
    assert turn is not None
    assert (turn.text, turn.first, turn.rest) == ("Why?", first, rest)
    assert body == before


@pytest.mark.parametrize(
    ("dialect", "body"),
    [
        ("chat", {}),
        ("chat", {"messages": []}),
        ("chat", {"messages": "Why?"}),
        ("chat", {"messages": [None]}),
        ("chat", {"messages": [USER, ASSISTANT]}),
        ("chat", {"messages": [{"role": "tool", "tool_call_id": "t", "content": "42"}]}),
        ("chat", {"messages": [{"role": "user", "content": None}]}),
        ("chat", {"messages": [{"role": "user", "content": []}]}),
        ("chat", {"messages": [{"role": "user", "content": [PART, PART]}]}),
        ("chat", {"messages": [{"role": "user", "content": [PICTURE]}]}),
        ("chat", {"messages": [{"role": "user", "content": [PART, PICTURE]}]}),
        ("chat", {"messages": [{"role": "user", "content": [{"type": "text", "text": 1}]}]}),
        ("messages", {"messages": [{"role": "user", "content": [RESULT]}]}),
        ("responses", {"input": [{"type": "function_call_output", "call_id": "c", "output": "42"}]}),
        ("responses", {"input": [{"role": "user", "content": [PART]}]}),
        ("responses", {"input": None}),
        ("completions", {"prompt": ["Why?"]}),
        ("completions", {"prompt": [1, 2]}),
        ("embeddings", {"input": "Why?"}),
        ("count_tokens", {"messages": [USER]}),
    ],
)
def test_all_else_is_none(dialect: str, body: Any) -> None:
    assert last_turn(dialect, body) is None
