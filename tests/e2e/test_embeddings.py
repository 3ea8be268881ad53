"""Embeddings by the official SDK, which asks for base64 unless it is told otherwise."""

from __future__ import annotations

from typing import Any

import openai
import pytest
from openai.types import CreateEmbeddingResponse

from tests.e2e.sdks import ODD, Sdks, Stage
from tests.support.upstream import mind

TARGETS = [
    pytest.param("text-embedding-3-small", 1536, "/v1/embeddings", id="openai"),
    pytest.param("nomic-embed-text", 768, "/api/embed", id="ollama"),
]
every_target = pytest.mark.parametrize(("model", "width", "path"), TARGETS)


def whole(sdks: Sdks, **fields: Any) -> CreateEmbeddingResponse:
    return sdks.openai.embeddings.create(**fields)


def async_whole(sdks: Sdks, **fields: Any) -> CreateEmbeddingResponse:
    return sdks.run(sdks.async_openai.embeddings.create(**fields))


every_way = pytest.mark.parametrize("ask", [whole, async_whole], ids=["whole", "async-whole"])


@every_way
@pytest.mark.parametrize("given", [{}, {"encoding_format": "float"}], ids=["base64", "float"])
@every_target
def test_one_text(stage: Stage, model: str, width: int, path: str, given: dict[str, Any], ask: Any) -> None:
    answer = ask(stage.sdks, model=model, input=ODD, **given)
    assert (answer.object, answer.model) == ("list", model)
    (row,) = answer.data
    assert (row.object, row.index) == ("embedding", 0)
    assert row.embedding == mind.vector(ODD, width)
    assert answer.usage.prompt_tokens == answer.usage.total_tokens == mind.tokens(ODD)
    assert stage.last.path == path


@every_way
@every_target
def test_a_batch_keeps_its_order(stage: Stage, model: str, width: int, path: str, ask: Any) -> None:
    texts = [f"text {number}" for number in range(20)]
    answer = ask(stage.sdks, model=model, input=texts)
    assert [(row.index, row.embedding) for row in answer.data] == [
        (number, mind.vector(text, width)) for number, text in enumerate(texts)
    ]
    assert len(stage.fake.requests) == 1
    assert stage.sent["input"] == texts


@pytest.mark.parametrize("given", [{}, {"encoding_format": "float"}], ids=["base64", "float"])
@every_target
def test_a_width(stage: Stage, model: str, width: int, path: str, given: dict[str, Any]) -> None:
    answer = whole(stage.sdks, model=model, input="a", dimensions=16, **given)
    assert answer.data[0].embedding == mind.vector("a", 16)
    assert stage.sent["dimensions"] == 16


def test_tokens_as_input_of_openai(stage: Stage) -> None:
    answer = whole(stage.sdks, model="text-embedding-3-small", input=[[1, 2, 3], [4]])
    assert len(answer.data) == 2
    assert stage.sent["input"] == [[1, 2, 3], [4]]


@pytest.mark.parametrize(
    ("model", "given"),
    [
        ("nomic-embed-text", [1, 2, 3]),
        ("nomic-embed-text", [[1, 2], [3]]),
        ("nomic-embed-text", []),
        ("nomic-embed-text", ""),
        ("text-embedding-3-small", ""),
        ("text-embedding-3-small", []),
    ],
)
def test_what_cannot_be_embedded_is_refused(stage: Stage, model: str, given: Any) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        whole(stage.sdks, model=model, input=given)
    assert "input" in caught.value.message


def test_anthropic_has_no_embeddings(stage: Stage) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        whole(stage.sdks, model="claude-opus-4-5", input="a")
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
    assert stage.fake.requests == []
