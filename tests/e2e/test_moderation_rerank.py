"""Moderation by the official SDK, reranking and counting tokens by plain requests."""

from __future__ import annotations

import openai
import orjson
import pytest

from tests.e2e.sdks import Stage
from tests.support.surfaces import send
from tests.support.upstream import mind


def test_moderation(stage: Stage) -> None:
    stage.gateway.use(
        stage.gateway.snapshot([stage.gateway.route("omni-*", stage.gateway.provider("openai"))])
    )
    answer = stage.sdks.openai.moderations.create(
        model="omni-moderation-latest", input=["I will kill this process", "a fox"]
    )
    assert [result.flagged for result in answer.results] == [True, False]
    record = stage.gateway.wait_record()
    assert (record.surface, record.model, record.usage) == ("moderations", "omni-moderation-latest", None)


def test_moderation_without_a_model_is_openais_default(stage: Stage) -> None:
    stage.gateway.use(
        stage.gateway.snapshot([stage.gateway.route("omni-*", stage.gateway.provider("openai"))])
    )
    assert stage.sdks.openai.moderations.create(input="a fox").results[0].flagged is False
    # Said, so that what a key may use is what is asked.
    assert stage.sent == {"input": "a fox", "model": "omni-moderation-latest"}
    stage.gateway.use(
        stage.gateway.snapshot(
            [stage.gateway.route("*", stage.gateway.provider("openai"))], key={"allowed_models": ("gpt-*",)}
        )
    )
    with pytest.raises(openai.PermissionDeniedError):
        stage.sdks.openai.moderations.create(input="a fox")


def test_rerank(stage: Stage) -> None:
    gateway = stage.gateway
    gateway.use(gateway.snapshot([gateway.route("rerank-*", gateway.provider("openai_compatible"))]))
    body = {"model": "rerank-2", "query": "red fox", "documents": ["a dog", "a red fox", "a fox"], "top_n": 2}
    status, _, raw = send(gateway, "POST", "/v1/rerank", orjson.dumps(body))
    assert status == 200
    assert [result["index"] for result in orjson.loads(raw)["results"]] == [1, 2]
    record = gateway.wait_record()
    assert record.usage is not None
    assert record.usage.input_tokens == orjson.loads(raw)["usage"]["total_tokens"]


def test_openai_has_no_ranks(stage: Stage) -> None:
    body = orjson.dumps({"model": "gpt-4o", "query": "a", "documents": ["b"]})
    status, _, raw = send(stage.gateway, "POST", "/v1/rerank", body)
    assert status == 400
    assert orjson.loads(raw)["error"]["code"] == "model_not_found"
    assert stage.fake.requests == []


def test_tokens_of_a_response_are_counted_by_the_provider(stage: Stage) -> None:
    answer = stage.sdks.openai.responses.input_tokens.with_raw_response.count(model="gpt-4o", input="a b c")
    assert answer.parse().input_tokens == mind.tokens("a b c")
    assert "x-gateway-estimated" not in answer.headers
    assert stage.last.path == "/v1/responses/input_tokens"


@pytest.mark.parametrize("model", ["claude-opus-4-5", "llama3.2"])
def test_who_cannot_count_is_estimated(stage: Stage, model: str) -> None:
    answer = stage.sdks.openai.responses.input_tokens.with_raw_response.count(model=model, input="x" * 35)
    assert answer.parse().input_tokens == 10
    assert answer.parse().object == "response.input_tokens"
    assert answer.headers["x-gateway-estimated"] == "true"
    assert stage.fake.requests == []
