"""Which dialect a provider is asked in, by what a request needs and what the model can do."""

from __future__ import annotations

import pytest

from dialects.table import TRANSLATORS, choose
from dialects.types import Facts, ModelFacts

WITH_TOOLS = frozenset({"tools"})
ALL = ("chat", "completions", "responses")


@pytest.mark.parametrize(
    ("client", "offered", "model", "needs", "spoken"),
    [
        ("messages", ALL, "gpt-5.4", WITH_TOOLS, "responses"),
        ("messages", ALL, "openai/gpt-5.5-2026-03-01", WITH_TOOLS, "responses"),
        ("messages", ALL, "gpt-5.10", WITH_TOOLS | {"vision"}, "responses"),
        ("messages", ALL, "gpt-5.5", frozenset(), "chat"),
        ("messages", ALL, "gpt-5.5", frozenset({"vision"}), "chat"),
        ("messages", ("chat",), "gpt-5.5", WITH_TOOLS, "chat"),
        ("messages", ("messages", *ALL), "claude-opus-5", WITH_TOOLS, "messages"),
        ("messages", ALL, "claude-opus-5", WITH_TOOLS, "chat"),
        ("messages", ALL, "gpt-5.3", WITH_TOOLS, "chat"),
        ("messages", ALL, "gpt-5.4-chat", WITH_TOOLS, "chat"),
        ("messages", ALL, "gpt-4o", WITH_TOOLS, "chat"),
        ("messages", ALL, "o4-mini", WITH_TOOLS, "chat"),
        ("chat", ALL, "gpt-5.5", WITH_TOOLS, "chat"),
        ("responses", ALL, "gpt-5.5", WITH_TOOLS, "responses"),
    ],
)
def test_choose_by_what_is_asked(
    client: str, offered: tuple[str, ...], model: str, needs: frozenset[str], spoken: str
) -> None:
    facts = Facts(model="any", needs=needs)
    assert choose(client, offered, facts, lambda: ModelFacts(name=model)) == spoken


def test_choose_by_what_a_row_says() -> None:
    facts = Facts(model="any", needs=WITH_TOOLS)

    def spoken(client: str, *words: str) -> str | None:
        return choose(client, ALL, facts, lambda: ModelFacts("my-model", capabilities=frozenset(words)))

    assert spoken("messages", "tools", "reasoning", "max_completion_tokens") == "responses"
    assert spoken("messages", "tools", "reasoning", "reasoning_with_tools") == "chat"
    assert spoken("chat", "tools") == "chat"
    assert spoken("chat", "tools", "tools_over_responses") == "responses"


def test_claude_behind_chat_completions_goes_on_thinking() -> None:
    """Who resells it by that dialect has no rule against tools with thinking."""
    body = {
        "messages": [{"role": "user", "content": "hi"}],
        "max_tokens": 9000,
        "tools": [{"name": "f", "input_schema": {"type": "object"}}],
        "thinking": {"type": "enabled", "budget_tokens": 8192},
    }
    translator = TRANSLATORS["messages", "chat"]()
    sent = translator.request(body, ModelFacts(name="anthropic/claude-opus-4.5"))
    assert sent["reasoning_effort"] == "high"
    assert translator.dropped == []
