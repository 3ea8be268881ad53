"""Channels of one-api and new-api: what they become, and that it is accepted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from accounts.models import Team
from routing.configfile import ConfigError
from routing.imports.draft import Draft
from routing.imports.formats import import_file
from routing.imports.tests.test_litellm import applied, places, route_of
from routing.plan import match

SAMPLES = Path(__file__).parent / "samples"
ENVIRON = {
    name: f"made-up-{name.lower()}-0123456789"
    for name in (
        "OPENAI_API_KEY_1",
        "OPENAI_API_KEY_2",
        "AZURE_API_KEY",
        "ANTHROPIC_API_KEY",
        "DEEPSEEK_API_KEY",
        "GROQ_API_KEY",
        "LLM_EXAMPLE_COM_API_KEY",
    )
}


def sample(name: str, **options: bool) -> Draft:
    return import_file(name, (SAMPLES / f"{name}.json").read_bytes(), **options)


def channel(**fields: Any) -> bytes:
    whole = {"type": 1, "key": "sk-0123456789abcdef", "models": "gpt-4o", "name": "one", **fields}
    return json.dumps([whole]).encode()


@pytest.mark.django_db
def test_channels_of_new_api_become_providers_and_routes() -> None:
    snapshot = applied(sample("new-api"), ENVIRON)
    assert places(route_of(snapshot, "gpt-4o")) == [("openai", "gpt-4o", 0, 5), ("azure", "prod-4o", 1, 1)]
    openai = snapshot.providers["openai"]
    assert [c.secret for c in openai.credentials] == [ENVIRON["OPENAI_API_KEY_1"]]
    assert route_of(snapshot, "gpt-4o").targets[0].body_patch == {"service_tier": "flex"}
    assert not snapshot.providers["anthropic"].enabled
    assert snapshot.providers["ollama"].allow_private
    vip = match(snapshot, "smart", Team.objects.get(name="vip").pk)
    assert vip is not None
    assert places(vip) == [("deepseek", "deepseek-reasoner", 0, 1)]
    assert match(snapshot, "smart", None) is None


@pytest.mark.django_db
def test_channels_of_one_api_have_other_numbers() -> None:
    snapshot = applied(sample("one-api"), ENVIRON)
    assert places(route_of(snapshot, "llama-3.3-70b-versatile")) == [
        ("groq", "llama-3.3-70b-versatile", 0, 1)
    ]
    own = route_of(snapshot, "house-model").targets[0].provider
    assert own.base_url == "https://llm.example.com/v1"
    assert places(route_of(snapshot, "gpt-3.5-turbo")) == [("azure", "gpt-35-turbo", 0, 1)]


def test_the_report_names_what_is_left_out_and_no_key() -> None:
    draft = sample("new-api")
    text = "\n".join(draft.report.lines())
    for words in (
        "channels[4] (Bedrock): type 33",
        "header_override",
        "users, tokens and quotas",
        "OPENAI_API_KEY_2",
    ):
        assert words in text
    for secret in ("sk-first", "sk-second", "azure-key", "sk-ant", "ds-0123", "AKIA", "secret-aws"):
        assert secret not in text + str(draft.document())


def test_keys_are_taken_only_when_told_to() -> None:
    credentials = sample("new-api", take_secrets=True).document()["providers"]["openai"]["credentials"]
    assert credentials == [
        {"label": "key-1", "secret": "sk-first-0123456789abcd"},
        {"label": "key-2", "secret": "sk-second-0123456789abc", "enabled": False},
    ]


@pytest.mark.parametrize(
    "wrap",
    [
        lambda rows: rows,
        lambda rows: {"data": rows},
        lambda rows: {"data": {"items": rows}},
        lambda rows: [{"type": "header"}, {"type": "table", "name": "channels", "data": rows}],
    ],
)
def test_every_wrapping_is_understood(wrap: Any) -> None:
    rows = json.loads(channel())
    assert [route["pattern"] for route in import_file("one-api", json.dumps(wrap(rows)).encode()).routes] == [
        "gpt-4o"
    ]


@pytest.mark.parametrize(
    ("name", "raw", "words"),
    [
        ("one-api", channel(channel_info={}), "import new-api"),
        ("one-api", b"{}", "expected a list of channels"),
        ("one-api", b"[1]", "expected a list of channels"),
        ("one-api", b"{not json", "not valid JSON"),
        ("one-api", b"[" * 100_000, "too deeply"),
        ("one-api", b"[" * 50 + b"]" * 50, "levels"),
        ("one-api", b"\xff", "UTF-8"),
        ("one-api", channel(priority="high"), "priority: expected a whole number"),
        ("one-api", channel(type="openai"), "type: expected a number"),
        ("one-api", channel(models=["a"]), "models: expected a text"),
        ("new-api", channel(model_mapping="{"), "model_mapping: not valid JSON"),
        ("new-api", channel(model_mapping='{"a": 1}'), "model_mapping: expected an object"),
        ("new-api", channel(name="a\x00b", models="a\x00b\ud800"), ""),
    ],
)
def test_hostile_or_mistaken_files_are_refused_in_clear_words(name: str, raw: bytes, words: str) -> None:
    if not words:
        assert import_file(name, raw).routes == []
        return
    with pytest.raises(ConfigError) as caught:
        import_file(name, raw)
    assert words in str(caught.value)


def test_a_mapping_that_goes_round_ends() -> None:
    draft = import_file("new-api", channel(model_mapping='{"gpt-4o": "b", "b": "gpt-4o"}'))
    assert draft.routes[0]["targets"][0]["model"] == "b"


def test_a_group_that_cannot_be_a_team_is_left_out_and_named() -> None:
    draft = import_file("one-api", channel(group="x" * 101 + ",default"))
    assert (draft.teams, [route.get("team") for route in draft.routes]) == ([], [None])
    assert any("no name for a team" in line for line in draft.report.left_out)
    draft = import_file("one-api", channel(group="vip", models="m" * 198))
    assert draft.routes == []
    assert any("a name too long" in line for line in draft.report.left_out)
