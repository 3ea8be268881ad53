"""What is read of a model's name, how rows and names complete each other, and the shared leaves."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialects import parts, schema
from dialects.capabilities import MANNERS, capabilities_of, claude_version, max_output_of, resolve
from dialects.tests.hostile import TREES
from dialects.types import ModelFacts
from tests.support.upstream.models import claude_model, openai_model


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("claude-3-5-sonnet-20241022", (3, 5)),
        ("claude-3-haiku-20240307", (3, 0)),
        ("claude-sonnet-4-20250514", (4, 0)),
        ("claude-sonnet-4@20250514", (4, 0)),
        ("claude-opus-4-1-20250805", (4, 1)),
        ("anthropic.claude-sonnet-4-6-v1:0", (4, 6)),
        ("anthropic/claude-sonnet-4.5", (4, 5)),
        ("claude-2.1", (2, 1)),
        ("claude-instant-1.2", (1, 2)),
        ("claude-sonnet-latest", (99, 0)),
        ("gpt-4o", None),
    ],
)
def test_claude_versions(name: str, version: tuple[int, int] | None) -> None:
    assert claude_version(name) == version


@pytest.mark.parametrize(
    "name",
    [
        "claude-3-haiku-20240307", "claude-3-5-sonnet-latest", "claude-3-7-sonnet-latest", "claude-opus-4-1",
        "claude-sonnet-4-5", "claude-opus-4-5", "claude-haiku-4-5", "claude-sonnet-4-6", "claude-opus-4-6",
        "claude-opus-4-7", "claude-sonnet-5", "claude-opus-5-5", "claude-fable-5-1", "claude-mythos-5",
    ],
)  # fmt: skip
def test_names_tell_what_the_provider_enforces(name: str) -> None:
    model = claude_model(name)
    assert model is not None
    caps = capabilities_of(name)
    assert ("sampling" in caps) == (model.generation != "M")
    assert ("prefill" in caps) == (model.generation == "L")
    assert ("thinking_adaptive" in caps) == (model.generation != "L")
    assert ("thinking_budget" in caps) == (model.generation != "M" and model.thinks)
    assert ("reasoning" in caps) == model.thinks
    # Behind a server of chat completions as well: OpenAI's rule is not Anthropic's.
    assert ("reasoning_with_tools" in caps) == model.thinks
    assert ("json_schema" in caps) == model.structured
    assert ("forced_tools" in caps) == model.forced_tools
    assert ("system_in_messages" in caps) == (model.generation == "M")
    assert (max_output_of(name) or 0) <= model.max_output


@pytest.mark.parametrize(
    "name",
    ["gpt-4o", "gpt-4.1-mini", "gpt-4", "gpt-3.5-turbo", "gpt-5", "gpt-5.1", "gpt-5.4", "gpt-5.5", "o3-mini"],
)
def test_names_of_openai(name: str) -> None:
    model = openai_model(name)
    assert model is not None
    caps = capabilities_of(name)
    assert ("reasoning" in caps) == model.reasons
    assert ("sampling" in caps) != model.reasons
    assert ("max_completion_tokens" in caps) == model.reasons
    assert ("reasoning_with_tools" in caps) == (not model.tools_clash)
    assert (max_output_of(name) or 0) <= model.max_output
    if model.reasons:
        for effort in parts.EFFORTS:
            assert parts.openai_effort(effort, caps) in (None, *model.efforts)


def test_a_row_of_content_only_takes_its_manners_from_the_name() -> None:
    found = resolve(ModelFacts("claude-opus-4-7", capabilities=frozenset({"tools"})))
    assert "thinking_adaptive" in found
    assert "vision" not in found


def test_a_row_that_tells_manners_is_believed() -> None:
    row = frozenset({"tools", "sampling"})
    assert row & MANNERS
    assert resolve(ModelFacts("claude-opus-4-7", capabilities=row)) == row


def test_a_row_of_wishes_only_says_nothing_of_the_model() -> None:
    found = resolve(ModelFacts("gpt-5.5", capabilities=frozenset({"tools_over_responses"})))
    assert found == capabilities_of("gpt-5.5") | {"tools_over_responses"}


@given(st.text(max_size=60))
def test_any_name_is_read(name: str) -> None:
    assert "tools" in capabilities_of(name)
    max_output_of(name)


# --- Leaves ---


@given(st.text(min_size=1))
def test_ids_are_accepted_and_stay_apart(text: str) -> None:
    text = text.encode("utf-8", "ignore").decode() or "x"
    for made, limit in ((parts.claude_id(text), 64), (parts.openai_id(text), 40)):
        assert len(made) <= max(limit, len(text) if made == text else 0)
    assert parts.claude_id(parts.claude_id(text)) == parts.claude_id(text)
    assert parts.openai_id(text + "a" * 50) != parts.openai_id(text + "a" * 49)
    assert parts.claude_id(text + "é") != parts.claude_id(text + "ü")


def test_end_users() -> None:
    assert parts.end_user("user-1", 64) == "user-1"
    for personal in ("bob@example.com", "+44 20 7946 0958", "x" * 65):
        made = parts.end_user(personal, 64)
        assert len(made) == 64
        assert made == parts.end_user(personal, 64)


@pytest.mark.parametrize(
    ("url", "media"),
    [
        ("data:image/png;base64,AA==", ("image/png", "AA==")),
        ("data:image/jpg;base64,AA==", ("image/jpeg", "AA==")),
        ("data:text/plain;charset=utf-8;base64,AA==", ("text/plain", "AA==")),
        ("data:text/plain,hello", None),
        ("https://e.com", None),
        ("data:", None),
    ],
)
def test_data_urls(url: str, media: Any) -> None:
    assert parts.data_url(url) == media


@given(TREES)
def test_schemas_of_any_shape(tree: dict[str, Any]) -> None:
    clean = schema.for_anthropic(tree)
    assert not ({"oneOf"} & set(clean)) or "anyOf" in tree or not isinstance(tree["oneOf"], list)
    assert schema.is_strict(tree) in (True, False)
    whole = schema.without_top_choice(schema.as_object(tree))
    assert whole["type"] == "object"
    assert not any(isinstance(whole.get(word), list) for word in ("anyOf", "oneOf", "allOf"))


def test_alternatives_at_the_top_of_a_tool_are_merged() -> None:
    merged = schema.without_top_choice(
        {
            "type": "object",
            "properties": {"a": {"type": "string"}},
            "required": ["a"],
            "anyOf": [
                {"properties": {"b": {}, "c": {}}, "required": ["b", "c"]},
                {"properties": {"b": {}}, "required": ["b"]},
            ],
            "allOf": [{"properties": {"d": {}}, "required": ["d"]}, True],
        }
    )
    assert set(merged["properties"]) == {"a", "b", "c", "d"}
    assert set(merged["required"]) == {"a", "b", "d"}


def test_losses_carry_plain_names_only() -> None:
    losses = parts.Losses()
    for name in ("seed", "seed", "a\r\nset-cookie: x", "é", "a,b", "x" * 65):
        losses.note(name)
    assert losses == ["seed", "other"]
    for index in range(100):
        losses.note(f"f{index}")
    assert len(losses) <= 41
