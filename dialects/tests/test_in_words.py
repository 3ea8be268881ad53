"""What only has words at a provider of another dialect arrives in words, whole; what has none is named by the
client's own name."""

from __future__ import annotations

from typing import Any, get_args, get_type_hints

import pytest
from anthropic.types import tool_result_block_param

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
BROWSER: dict[str, Any] = {
    "type": "browser_state",
    "tabs": [{"tab_id": "t1", "title": "Ulm", "url": "https://example.com/ulm", "active": True}],
    "state_changes": [
        {"type": "tab_opened", "tab_id": "t1"},
        {"type": "download_failed", "download_id": "d1", "url": "https://example.com/x", "error": "gone"},
    ],
}
PICTURE: dict[str, Any] = {
    "type": "image",
    "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="},
}
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


def _answered(*content: Any, **fields: Any) -> list[dict[str, Any]]:
    """A conversation in which a tool gave this."""
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": list(content), **fields}
    return [
        {"role": "user", "content": "Where?"},
        {"role": "assistant", "content": [USE]},
        {"role": "user", "content": [result]},
    ]


def test_every_kind_of_content_that_a_result_may_have_is_tried_here() -> None:
    union = get_args(tool_result_block_param.Content)
    kinds = {get_args(get_args(get_type_hints(kind, include_extras=True)["type"])[0])[0] for kind in union}
    assert kinds == {"text", *(block["type"] for block in (SEARCH, DOCUMENT, FOUND, BROWSER, PICTURE))}


@ALL
def test_the_state_of_a_browser(upstream: str) -> None:
    text = sent(upstream, [], messages=_answered(BROWSER))
    for word in (
        "browser",
        "t1",
        "https://example.com/ulm",
        "active",
        "tab_opened",
        "download_failed",
        "gone",
    ):
        assert word in text


@ALL
@pytest.mark.parametrize("in_result", [True, False])
@pytest.mark.parametrize("kind", ["hologram", "web_search_tool_result", "tool_use"])
def test_a_kind_of_content_that_nobody_knows_is_refused_by_name(
    upstream: str, kind: str, in_result: bool
) -> None:
    block = {"type": kind, "text": "x", "id": "toolu_2", "name": "f", "input": {}}
    turns = _answered(block) if in_result else [{"role": "user", "content": [block]}]
    where = r"messages\.2\.content\.0\.content\.0" if in_result else r"messages\.0\.content\.0"
    with pytest.raises(GatewayError, match=rf"{where}.*{kind}") as refused:
        sent(upstream, [], messages=turns)
    assert refused.value.status("anthropic") == 400


@ALL
def test_what_only_tunes_a_results_content_is_dropped_by_name(upstream: str) -> None:
    kept = {"cache_control": {"type": "ephemeral"}}
    turns = _answered(
        {"type": "text", "text": "It rains.", **kept},
        {**PICTURE, "transformations": {"oversized_image": "error"}},
        {**SEARCH, "citations": {"enabled": True}},
        toolset_name="browser",
    )
    translator, _ = asked("messages", upstream, {"max_tokens": 50, "messages": turns}, MODELS[upstream])
    lost = {
        "cache_control",
        *(f"messages.content.{name}" for name in ("transformations", "citations", "toolset_name")),
    }
    assert set(translator.dropped) == lost


@ALL
def test_what_an_earlier_answer_cited_is_named(upstream: str) -> None:
    cited = {"type": "text", "text": "Wet.", "citations": [{"type": "web_search_result_location"}]}
    turns = [
        {"role": "user", "content": "?"},
        {"role": "assistant", "content": [cited]},
        {"role": "user", "content": "!"},
    ]
    translator, _ = asked("messages", upstream, {"max_tokens": 50, "messages": turns}, MODELS[upstream])
    assert list(translator.dropped) == ["messages.content.citations"]


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
