"""The list of models by both SDKs: each gets its own shape of the same list."""

from __future__ import annotations

import anthropic
import openai
import pytest

from dialects.types import ModelFacts
from routing.snapshot import CatalogueModel
from tests.e2e.sdks import Stage

NAMES = [
    ("openai", "gpt-4o"),
    ("openai", "gpt-4o-mini"),
    ("anthropic", "claude-opus-4-5"),
    ("ollama", "qwen3:8b"),
]
IDS = ["claude-opus-4-5", "gpt-4o", "gpt-4o-mini", "qwen3:8b"]


@pytest.fixture(autouse=True)
def catalogue(stage: Stage) -> None:
    """Some models by name."""
    known = {(kind, name): CatalogueModel(kind, ModelFacts(name=name)) for kind, name in NAMES}
    stage.gateway.use(stage.gateway.snapshot(catalogue=known))


def test_openais_list(stage: Stage) -> None:
    models = list(stage.sdks.openai.models.list())
    assert sorted(model.id for model in models) == IDS
    assert {model.object for model in models} == {"model"}
    assert {model.id: model.owned_by for model in models}["qwen3:8b"] == "ollama"

    async def ask() -> list[str]:
        return [model.id async for model in stage.sdks.async_openai.models.list()]

    assert sorted(stage.sdks.run(ask())) == IDS


def test_anthropics_list(stage: Stage) -> None:
    models = list(stage.sdks.anthropic.models.list())
    assert sorted(model.id for model in models) == IDS
    assert {model.type for model in models} == {"model"}
    assert all(model.display_name and model.lifecycle == "active" for model in models)
    assert {model.created_at.year for model in models} == {1970}

    async def ask() -> list[str]:
        return [model.id async for model in stage.sdks.async_anthropic.models.list()]

    assert sorted(stage.sdks.run(ask())) == IDS


def test_anthropics_list_page_by_page(stage: Stage) -> None:
    """The SDK asks for the next page by itself until there is none."""
    assert sorted(model.id for model in stage.sdks.anthropic.models.list(limit=1)) == IDS
    page = stage.sdks.anthropic.models.list(limit=3)
    assert page.has_more is True
    assert page.last_id == page.data[-1].id
    rest = stage.sdks.anthropic.models.list(limit=3, after_id=page.data[-1].id)
    assert (len(rest.data), rest.has_more) == (1, False)


@pytest.mark.parametrize("name", [*IDS, "gpt-of-tomorrow", "org/model:7b", "llama3.2"])
def test_one_model(stage: Stage, name: str) -> None:
    """What a prefix takes is known, though not listed; names may hold slashes and colons."""
    assert stage.sdks.openai.models.retrieve(name).id == name
    assert stage.sdks.anthropic.models.retrieve(name).id == name


def test_no_such_model(stage: Stage) -> None:
    gateway = stage.gateway
    gateway.use(gateway.snapshot([gateway.route("gpt-*", gateway.provider("openai"))]))
    with pytest.raises(openai.NotFoundError) as caught:
        stage.sdks.openai.models.retrieve("nowhere")
    assert caught.value.code == "model_not_found"
    with pytest.raises(anthropic.NotFoundError) as told:
        stage.sdks.anthropic.models.retrieve("nowhere")
    assert told.value.type == "not_found_error"


def test_a_key_sees_what_it_may_use(stage: Stage) -> None:
    known = {(kind, name): CatalogueModel(kind, ModelFacts(name=name)) for kind, name in NAMES}
    key = {"allowed_models": ("gpt-4o", "claude-*")}
    stage.gateway.use(stage.gateway.snapshot(catalogue=known, key=key))
    assert [model.id for model in stage.sdks.openai.models.list()] == ["claude-opus-4-5", "gpt-4o"]
    with pytest.raises(openai.NotFoundError):
        stage.sdks.openai.models.retrieve("gpt-4o-mini")
