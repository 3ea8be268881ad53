"""Embeddings: what is read of them, and their way through Ollama in both encodings."""

from __future__ import annotations

import base64
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types import CreateEmbeddingResponse

from dialects.embeddings import EMBEDDINGS
from dialects.errors import GatewayError
from dialects.ollama_embed import OLLAMA_EMBED
from dialects.tests.pair_support import asked
from dialects.types import Event, Facts, JsonObject, Usage

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


@pytest.mark.parametrize(
    ("given_input", "chars"), [("four", 4), (["a", "bc"], 3), ([1, 2], 8), ([[1], [2]], 8)]
)
def test_every_form_of_input_is_legal(given_input: Any, chars: int) -> None:
    facts = EMBEDDINGS.facts({"model": "m", "input": given_input, "user": "u"})
    assert facts == Facts("m", prompt_chars=chars, end_user="u", needs=frozenset({"embeddings"}))


FACTS_REFUSED = [
    ({"input": "x"}, "model"),
    ({"model": "m"}, "input"),
    ({"model": "m", "input": []}, "input"),
    ({"model": "m", "input": 7}, "input"),
    ({"model": "m", "input": [None]}, "input[0]"),
    ({"model": "m", "input": "x", "dimensions": 0}, "dimensions"),
    ({"model": "m", "input": "x", "dimensions": "many"}, "dimensions"),
]


@pytest.mark.parametrize(("body", "param"), FACTS_REFUSED)
def test_facts_refused(body: JsonObject, param: str) -> None:
    with pytest.raises(GatewayError) as caught:
        EMBEDDINGS.facts(body)
    assert caught.value.status("openai") == 400
    assert caught.value.detail.param == param


def test_answers_and_their_usage() -> None:
    assert EMBEDDINGS.is_answer({"data": [{"embedding": [0.5]}, {"embedding": "AAAA"}]})
    assert not EMBEDDINGS.is_answer({"data": [{"embedding": None}]})
    assert not EMBEDDINGS.is_answer({})
    assert EMBEDDINGS.usage({"usage": {"prompt_tokens": 3, "total_tokens": 3}}) == Usage(3)
    assert EMBEDDINGS.usage({"usage": {"total_tokens": 3}}) == Usage(3)
    assert EMBEDDINGS.usage({"usage": {"prompt_tokens": -1}}) is None
    assert EMBEDDINGS.usage({}) is None


def test_a_stream_is_refused() -> None:
    tap = EMBEDDINGS.tap(strip_usage=True)
    tap.see(Event("", b"", b": hi\n\n"))
    with pytest.raises(GatewayError) as caught:
        tap.see(Event("", b"{}", b"data: {}\n\n"))
    assert caught.value.status("openai") == 502


REQUEST_REFUSED = [
    ({"input": ""}, "input"),
    ({"input": ["a", ""]}, "input"),
    ({"input": [1, 2]}, "input"),
    ({"input": [[1, 2]]}, "input"),
    ({"messages": []}, "input"),
    ({"input": "a", "encoding_format": "hex"}, "encoding_format"),
    ({"input": "a", "options": 1}, "options"),
]


@pytest.mark.parametrize(("body", "param"), REQUEST_REFUSED)
def test_request_refused(body: JsonObject, param: str) -> None:
    with pytest.raises(GatewayError) as caught:
        asked("embeddings", "ollama_embed", body)
    assert caught.value.status("openai") == 400
    assert caught.value.detail.param == param


def answered(body: JsonObject, answer: JsonObject) -> JsonObject:
    translator, _ = asked("embeddings", "ollama_embed", body, "nomic-embed-text")
    made = translator.response(answer)
    if body.get("encoding_format") != "base64":
        # The SDK's type has floats: it decodes the other form before anybody sees it.
        read = CreateEmbeddingResponse.model_validate(made, strict=True)
        assert read.model_dump(exclude_unset=True) == made
    return made


def test_answer() -> None:
    made = answered(
        {"input": ["a", "b"]},
        {"model": "nomic-embed-text:latest", "embeddings": [[0.5, 1], [0.25, -2.0]], "prompt_eval_count": 7},
    )
    assert made == {
        "object": "list",
        "data": [
            {"object": "embedding", "index": 0, "embedding": [0.5, 1]},
            {"object": "embedding", "index": 1, "embedding": [0.25, -2.0]},
        ],
        "model": "nomic-embed-text:latest",
        "usage": {"prompt_tokens": 7, "total_tokens": 7},
    }


@given(vector=st.lists(FLOATS, min_size=1, max_size=8))
def test_base64_is_little_endian_float32(vector: list[float]) -> None:
    made = answered({"input": "a", "encoding_format": "base64"}, {"embeddings": [vector]})
    data = base64.b64decode(made["data"][0]["embedding"], validate=True)
    assert len(data) == 4 * len(vector)
    assert list(struct.unpack(f"<{len(vector)}f", data)) == vector
    assert made["usage"] == {"prompt_tokens": 0, "total_tokens": 0}


def test_another_width_than_asked_for_is_not_passed_off() -> None:
    with pytest.raises(GatewayError) as caught:
        answered({"input": "a", "dimensions": 4}, {"embeddings": [[1.0, 2.0]]})
    assert caught.value.status("openai") == 400
    assert caught.value.detail.param == "dimensions"


@pytest.mark.parametrize(
    "embeddings",
    [None, [], [[1.0], [2.0]], [1.0], ["x"], [[None]], [[True]], [[1e300]], [[10**400]], {"a": 1}],
)
def test_hostile_answer(embeddings: Any) -> None:
    with pytest.raises(GatewayError) as caught:
        answered({"input": "a", "encoding_format": "base64"}, {"embeddings": embeddings})
    assert caught.value.status("openai") == 502


def test_the_dialect_of_ollama() -> None:
    facts = OLLAMA_EMBED.facts({"model": "m", "input": ["a", "bc"]})
    assert facts == Facts("m", prompt_chars=3, needs=frozenset({"embeddings"}))
    assert OLLAMA_EMBED.is_answer({"embeddings": [[1.0]]})
    assert not OLLAMA_EMBED.is_answer({"embedding": [1.0]})
    assert OLLAMA_EMBED.usage({"prompt_eval_count": 4}) == Usage(4)
    assert OLLAMA_EMBED.usage({}) is None
    assert OLLAMA_EMBED.error(404, {}, b'{"error":"model \\"x\\" not found"}').code == "model_not_found"
    for given_input in (None, 1, [1], [["a"]]):
        with pytest.raises(GatewayError):
            OLLAMA_EMBED.facts({"model": "m", "input": given_input})
