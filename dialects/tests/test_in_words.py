"""What only has words at a provider of another dialect arrives in words, whole; what has none is named by the
client's own name."""

from __future__ import annotations

from typing import Any

import pytest

from dialects.errors import GatewayError
from dialects.table import DIALECTS, TRANSLATORS
from dialects.tests.pair_support import asked

SEARCH: dict[str, Any] = {
    "type": "search_result",
    "title": "Ulm",
    "source": "https://example.com/ulm",
    "content": [{"type": "text", "text": "It rains."}],
}
DOCUMENT: dict[str, Any] = {
    "type": "document",
    "title": "Ulm",
    "context": "A report.",
    "source": {"type": "content", "content": [{"type": "text", "text": "It rains."}]},
}
NOTE: dict[str, Any] = {
    **DOCUMENT,
    "source": {"type": "text", "media_type": "text/plain", "data": "It rains."},
}
FOUND: dict[str, Any] = {"type": "tool_reference", "tool_name": "weather"}
USE: dict[str, Any] = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}
MODELS = {"chat": "gpt-4o", "responses": "gpt-4o", "ollama_chat": "llama3.2"}
ALL = pytest.mark.parametrize("upstream", sorted(MODELS))


def sent(upstream: str, content: list[dict[str, Any]], **fields: Any) -> str:
    """All texts that the provider gets of a turn of the user, as one."""
    body = {"max_tokens": 50, "messages": [{"role": "user", "content": content}], **fields}
    _, made = asked("messages", upstream, body, MODELS[upstream])
    return "\n".join(_texts(made.get("messages") or made.get("input")))


def _texts(value: Any) -> list[str]:
    if isinstance(value, list):
        return [text for one in value for text in _texts(one)]
    if isinstance(value, dict):
        return [text for name in ("text", "content", "output") for text in _texts(value.get(name))]
    return [value] if isinstance(value, str) else []


@ALL
@pytest.mark.parametrize("block", [SEARCH, DOCUMENT, NOTE])
@pytest.mark.parametrize("in_result", [True, False])
def test_titles_and_sources_go_with_what_was_found(upstream: str, block: Any, in_result: bool) -> None:
    if in_result:
        turns = [
            {"role": "user", "content": "Where?"},
            {"role": "assistant", "content": [USE]},
            {
                "role": "user",
                "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": [block]}],
            },
        ]
        text = sent(upstream, [], messages=turns)
    else:
        text = sent(upstream, [block])
    assert "Ulm" in text
    assert "It rains." in text
    assert ("https://example.com/ulm" if block is SEARCH else "A report.") in text


@ALL
def test_a_tool_that_was_searched_and_found(upstream: str) -> None:
    turns = [
        {"role": "user", "content": "Where?"},
        {"role": "assistant", "content": [USE]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": [FOUND]}]},
    ]
    assert "weather" in sent(upstream, [], messages=turns)


@pytest.mark.parametrize("upstream", ["chat", "ollama_chat"])
def test_tools_of_which_none_is_left_are_refused(upstream: str) -> None:
    tools = [
        {"type": "bash_20250124", "name": "bash"},
        {"type": "text_editor_20250728", "name": "str_replace_based_edit_tool"},
    ]
    body = {
        "model": "m",
        "max_tokens": 50,
        "messages": [{"role": "user", "content": "hi"}],
        "tools": tools,
        "tool_choice": {"type": "any"},
    }
    DIALECTS["messages"].facts(body)
    with pytest.raises(GatewayError, match="tools"):
        asked("messages", upstream, body)


@pytest.mark.parametrize(("client", "upstream"), [pair for pair in TRANSLATORS if pair[0] == "chat"])
def test_a_refusal_behind_a_text_stays_in_the_history(client: str, upstream: str) -> None:
    turns = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "So far.", "refusal": "No further."},
        {"role": "user", "content": "Why?"},
    ]
    _, made = asked(
        client, upstream, {"messages": turns}, "gpt-4o" if upstream == "responses" else "llama3.2"
    )
    assert "So far." in str(made)
    assert "No further." in str(made)


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize(
    ("upstream", "model", "most"),
    [
        ("messages", "claude-sonnet-4-5", 64_000),
        ("messages", "claude-opus-4-7", 128_000),
        ("responses", "gpt-5.5", 128_000),
        ("responses", "o3", 100_000),
    ],
)
def test_a_cap_above_the_models_is_lowered_by_its_own_name(
    name: str, upstream: str, model: str, most: int
) -> None:
    body = {"messages": [{"role": "user", "content": "hi"}], name: 200_000}
    translator, made = asked("chat", upstream, body, model)
    assert made["max_output_tokens" if upstream == "responses" else "max_tokens"] == most
    assert translator.dropped == [name]
