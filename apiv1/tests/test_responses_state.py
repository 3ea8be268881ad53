"""Responses without state: what would need the gateway to keep something is refused in words that help."""

from __future__ import annotations

import httpx
import openai
import pytest

from tests.support.fake_upstream import FakeUpstream
from tests.support.live_gateway import LiveGateway


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/responses/resp_1"),
        ("DELETE", "/v1/responses/resp_1"),
        ("POST", "/v1/responses/resp_1/cancel"),
        ("GET", "/v1/responses/resp_1/input_items"),
    ],
)
def test_there_is_no_kept_response(live: LiveGateway, method: str, path: str) -> None:
    reply = httpx.request(method, live.url + path, headers={"authorization": f"Bearer {live.key}"})
    assert reply.status_code == 404
    error = reply.json()["error"]
    assert (error["code"], error["type"]) == ("response_not_found", "invalid_request_error")
    assert "keeps no responses" in error["message"]


def test_the_sdk_says_not_found(live: LiveGateway) -> None:
    with (
        pytest.raises(openai.NotFoundError),
        openai.OpenAI(base_url=live.openai_url, api_key=live.key, max_retries=0) as client,
    ):
        client.responses.retrieve("resp_1")


def test_it_is_no_answer_to_strangers(live: LiveGateway) -> None:
    assert httpx.get(live.url + "/v1/responses/resp_1").status_code == 401


@pytest.mark.parametrize("model", ["gpt-4o", "claude-opus-4-5", "llama3.2"])
def test_nothing_is_made_in_the_background(
    live: LiveGateway, fake_upstream: FakeUpstream, model: str
) -> None:
    with (
        pytest.raises(openai.BadRequestError) as refused,
        openai.OpenAI(base_url=live.openai_url, api_key=live.key, max_retries=0) as client,
    ):
        client.responses.create(model=model, input="Hello", background=True)
    assert (refused.value.param, refused.value.code) == ("background", "unsupported_value")
    assert fake_upstream.requests == []
