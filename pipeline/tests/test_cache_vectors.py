"""Embeddings are kept input by input: a batch asks its provider only for what is new."""

from __future__ import annotations

import base64
import struct
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import openai
import orjson
import pytest

from dialects.types import ModelFacts
from pipeline.tests.caching import Teams, metric, settled
from routing.caching import Caching
from routing.snapshot import CatalogueModel, Price
from tests.support.fake_upstream import FakeUpstream
from tests.support.live_gateway import LiveGateway
from tests.support.surfaces import send
from tests.support.upstream.script import Json

MODEL = "text-embedding-3-small"
Headers = dict[str, str]


@pytest.fixture(params=["openai", "ollama"])
def served(request: pytest.FixtureRequest, live: LiveGateway) -> str:
    """The provider's kind."""
    serve(live, request.param)
    return str(request.param)


def serve(live: LiveGateway, kind: str = "openai", **settings: Any) -> Teams | None:
    model = MODEL if kind == "openai" else "nomic-embed-text"
    (target,) = live.route("*", live.provider(kind)).targets
    target = replace(target, upstream_model=model)
    route = live.route("*", target, caching=Caching(**settings))
    rows = {(kind, model): CatalogueModel(kind, ModelFacts(model), Price(input=1000.0))}
    live.use(replace(live.snapshot([route]), catalogue=rows))
    return None


def embed(live: LiveGateway, given: Any, sent: Headers | None = None, **fields: Any) -> tuple[Any, Headers]:
    body = orjson.dumps({"model": MODEL, "input": given, **fields})
    headers = {"authorization": f"Bearer {live.key}", **(sent or {})}
    status, received, raw = send(live, "POST", "/v1/embeddings", body, headers)
    assert status == 200, raw
    settled(live)
    return orjson.loads(raw), {name.lower(): value for name, value in received}


def vectors(answer: Any) -> list[Any]:
    assert [entry["index"] for entry in answer["data"]] == list(range(len(answer["data"])))
    assert all(entry["object"] == "embedding" for entry in answer["data"])
    return [entry["embedding"] for entry in answer["data"]]


def asked(fake: FakeUpstream) -> list[Any]:
    return [request.json["input"] for request in fake.requests]


def test_only_what_is_new_is_asked_for_and_all_is_in_order(
    live: LiveGateway, fake: FakeUpstream, served: str
) -> None:
    plain = {text: vectors(embed(live, text, {"cache-control": "no-store"})[0])[0] for text in "abcd"}
    fake.requests.clear()
    first, headers = embed(live, ["a", "b"])
    assert headers["x-gateway-cache"] == "miss"
    assert vectors(first) == [plain["a"], plain["b"]]
    mixed, headers = embed(live, ["c", "b", "d", "a", "c"])
    assert asked(fake) == [["a", "b"], ["c", "d"]]
    assert vectors(mixed) == [plain[text] for text in "cbdac"]
    assert (headers["x-gateway-cache"], headers["x-gateway-cache-items"]) == ("miss", "2/5")
    again, headers = embed(live, ["d", "a", "b", "c"])
    assert len(fake.requests) == 2
    assert headers["x-gateway-cache"] == "hit"
    assert vectors(again) == [plain[text] for text in "dabc"]
    assert again["model"] == first["model"]
    assert again["object"] == "list"
    one, headers = embed(live, "b")
    assert (headers["x-gateway-cache"], vectors(one)) == ("hit", [plain["b"]])


def test_its_usage_is_that_of_what_was_asked_for(live: LiveGateway) -> None:
    serve(live)
    first, _ = embed(live, ["aaaa" * 10, "b"])
    mixed, headers = embed(live, ["aaaa" * 10, "cccc"])
    hit, _ = embed(live, ["b"])
    assert first["usage"]["prompt_tokens"] == 11
    assert mixed["usage"]["prompt_tokens"] == 1
    assert hit["usage"] == {"prompt_tokens": 0, "total_tokens": 0}
    records = [live.wait_record(number) for number in (1, 2, 3)]
    assert [record.usage and record.usage.input_tokens for record in records] == [11, 1, None]
    assert [record.cost for record in records] == [11_000_000, 1_000_000, 0]
    # Of a batch each has an equal share.
    assert [record.saved for record in records] == [None, 5_500_000, 5_500_000]
    assert [record.cache for record in records] == ["miss", "miss", "hit"]
    assert "x-gateway-cache-saved-usd" not in headers


@pytest.mark.parametrize("fields", [{"dimensions": 8}, {"encoding_format": "base64"}, {"model": "another"}])
def test_what_changes_a_vector_is_part_of_its_key(
    live: LiveGateway, fake: FakeUpstream, fields: dict[str, Any]
) -> None:
    serve(live)
    embed(live, "a")
    _, headers = embed(live, "a", **fields)
    assert headers["x-gateway-cache"] == "miss"
    assert embed(live, "a", user="somebody")[1]["x-gateway-cache"] == "hit"


def test_texts_and_lists_of_tokens_are_told_apart(live: LiveGateway, fake: FakeUpstream) -> None:
    serve(live)
    given: Sequence[Any] = ("1", [1], [[1], [2]], ["1", "2"], [1, 2])
    seen = [embed(live, each)[1]["x-gateway-cache"] for each in given]
    assert seen == ["miss"] * 5
    # One text of ["1", "2"] and one list of [[1], [2]] were known.
    assert asked(fake) == ["1", [1], [[2]], ["2"], [1, 2]]


def test_vectors_as_bytes_come_back_as_they_were(live: LiveGateway, fake: FakeUpstream) -> None:
    serve(live)
    client = openai.OpenAI(base_url=live.openai_url, api_key=live.key, max_retries=0)
    with client:
        first = client.embeddings.create(model=MODEL, input=["a", "b"])
        again = client.embeddings.create(model=MODEL, input=["b", "a"])
    assert [e.embedding for e in again.data] == [first.data[1].embedding, first.data[0].embedding]
    assert len(fake.requests) == 1
    raw, _ = embed(live, "a", encoding_format="base64")
    (text,) = vectors(raw)
    assert list(struct.unpack(f"<{len(first.data[0].embedding)}f", base64.b64decode(text))) == pytest.approx(
        first.data[0].embedding
    )
    assert len(fake.requests) == 1


def test_a_provider_that_answers_too_little_is_not_believed(live: LiveGateway, fake: FakeUpstream) -> None:
    serve(live)
    embed(live, ["a"])
    one = {"object": "embedding", "index": 0, "embedding": [1.0]}
    answer = {
        "object": "list",
        "model": MODEL,
        "data": [one],
        "usage": {"prompt_tokens": 1, "total_tokens": 1},
    }
    fake.script("/v1/embeddings", [Json(200, answer)], times=1)
    body = orjson.dumps({"model": MODEL, "input": ["a", "b", "c"]})
    status, _, raw = send(live, "POST", "/v1/embeddings", body)
    assert (status, orjson.loads(raw)["error"]["code"]) == (502, "upstream_invalid_response")
    mixed, _ = embed(live, ["a", "b", "c"])
    assert len(vectors(mixed)) == 3
    assert [1.0] not in vectors(mixed)


def test_items_are_counted(live: LiveGateway) -> None:
    serve(live)
    before = [metric(live, "gateway_cache_items_total", route="*", result=each) for each in ("hit", "miss")]
    embed(live, ["a", "b"])
    embed(live, ["b", "c", "d"])
    after = [metric(live, "gateway_cache_items_total", route="*", result=each) for each in ("hit", "miss")]
    assert [now - then for now, then in zip(after, before, strict=True)] == [1, 4]


def test_too_large_for_the_route(live: LiveGateway, fake: FakeUpstream) -> None:
    serve(live, max_bytes=100)
    for _ in range(2):
        assert embed(live, "a")[1]["x-gateway-cache"] == "miss"


@pytest.mark.parametrize("wanted", ["no-cache", "no-store"])
def test_s32_what_the_client_wants(live: LiveGateway, fake: FakeUpstream, wanted: str) -> None:
    serve(live)
    embed(live, "a")
    assert embed(live, "a", {"cache-control": wanted})[1]["x-gateway-cache"] == "bypass"
    assert len(fake.requests) == 2
