"""What goes wrong at the gateway itself, as each SDK raises it: its exception, its words, its request id."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import anthropic
import httpx2
import openai
import pytest

from accounts.keys import issue
from tests.e2e.prompts import user
from tests.e2e.raising import every_sdk, every_way, raised
from tests.e2e.sdks import Stage


def check(stage: Stage, error: Any, status: int, code: str, kind: str) -> None:
    """The error's status, its code (OpenAI's dialect) or type (Anthropic's); its id is in the books."""
    assert error.status_code == status
    assert code == error.code if isinstance(error, openai.APIStatusError) else kind == error.type
    books: list[Any] = [*stage.gateway.records, *stage.gateway.refusals]
    assert [entry.request_id for entry in books] == [error.request_id]
    assert error.response.headers["content-type"] == "application/json"
    assert error.response.headers["x-should-retry"] == "false"


def keyed(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


@every_sdk
@every_way
def test_a_wrong_key(stage: Stage, sdk: str, way: str) -> None:
    error = raised(stage, sdk, way, extra_headers=keyed(issue()))
    assert type(error).__name__ == "AuthenticationError"
    check(stage, error, 401, "invalid_api_key", "authentication_error")
    assert stage.fake.requests == []


@every_sdk
def test_no_key(stage: Stage, sdk: str) -> None:
    without: Any = openai.Omit() if sdk == "openai" else anthropic.Omit()
    error = raised(stage, sdk, extra_headers={"authorization": without})
    check(stage, error, 401, "missing_api_key", "authentication_error")
    assert error.response.headers["www-authenticate"] == "Bearer"


@every_sdk
def test_an_expired_key(stage: Stage, sdk: str) -> None:
    stage.gateway.use(stage.gateway.snapshot(key={"expires_at": datetime.now(UTC) - timedelta(seconds=1)}))
    check(stage, raised(stage, sdk), 401, "expired_api_key", "authentication_error")


@every_sdk
@every_way
def test_a_model_that_the_key_may_not_use(stage: Stage, sdk: str, way: str) -> None:
    stage.gateway.use(stage.gateway.snapshot(key={"allowed_models": ("claude-*",)}))
    error = raised(stage, sdk, way)
    assert type(error).__name__ == "PermissionDeniedError"
    check(stage, error, 403, "model_not_allowed", "permission_error")
    assert "gpt-4o" in error.message


@every_sdk
@every_way
def test_an_unknown_model(stage: Stage, sdk: str, way: str) -> None:
    gateway = stage.gateway
    gateway.use(gateway.snapshot([gateway.route("claude-*", gateway.provider("anthropic"))]))
    error = raised(stage, sdk, way)
    assert type(error).__name__ == "NotFoundError"
    check(stage, error, 404, "model_not_found", "not_found_error")
    assert "gpt-4o" in error.message


@every_sdk
@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"messages": "hi"}, "messages"),
        ({"messages": [7]}, "messages"),
        ({"model": 7}, "model"),
        ({"model": ""}, "model"),
        ({"max_tokens": "many"}, "max_tokens"),
        ({"temperature": "hot"}, "temperature"),
        ({"tools": {"a": 1}}, "tools"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
@pytest.mark.parametrize("model", ["gpt-4o", "claude-opus-4-5", "llama3.2"])
def test_wrong_types_are_named(stage: Stage, sdk: str, model: str, changed: Any, named: str) -> None:
    error = raised(stage, sdk, extra_body={"model": model, **changed})
    assert error.status_code == 400
    assert type(error).__name__ == "BadRequestError"
    assert named in error.message
    if sdk == "anthropic":
        assert error.type == "invalid_request_error"


def post(stage: Stage, path: str, content: bytes, **headers: str) -> httpx2.Response:
    with httpx2.Client() as client:
        given = {"content-type": "application/json", **keyed(stage.gateway.key)}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        return client.post(stage.gateway.url + path, content=content, headers=given)


def plain(stage: Stage, method: str, path: str) -> httpx2.Response:
    return httpx2.request(method, stage.gateway.url + path, headers=keyed(stage.gateway.key))


Broken = Callable[[Stage, str], httpx2.Response]
BROKEN: list[Any] = [
    pytest.param(lambda stage, path: post(stage, path, b""), 400, id="empty"),
    pytest.param(lambda stage, path: post(stage, path, b"{"), 400, id="half-of-json"),
    pytest.param(lambda stage, path: post(stage, path, b"[]"), 400, id="a-list"),
    pytest.param(lambda stage, path: post(stage, path, b'{"a":NaN}'), 400, id="nan"),
    pytest.param(lambda stage, path: post(stage, path, b'{"model":"a","model":"b"}'), 400, id="twice"),
    pytest.param(lambda stage, path: post(stage, path, b'{"a":"\xff"}'), 400, id="no-utf-8"),
    pytest.param(lambda stage, path: post(stage, path, b"{}", content_type="text/plain"), 415, id="text"),
    pytest.param(lambda stage, path: post(stage, path, b"{}", content_encoding="gzip"), 415, id="packed"),
    pytest.param(lambda stage, path: post(stage, path, b" " * (20 * 1024 * 1024 + 1)), 413, id="huge"),
    pytest.param(lambda stage, path: plain(stage, "GET", path), 405, id="get"),
    pytest.param(lambda stage, path: plain(stage, "PUT", path), 405, id="put"),
    pytest.param(lambda stage, path: post(stage, path + "/x", b"{}"), 404, id="no-such-address"),
]


@pytest.mark.parametrize(
    "path", ["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/messages"]
)
@pytest.mark.parametrize(("ask", "status"), BROKEN)
def test_what_no_sdk_sends(stage: Stage, path: str, ask: Broken, status: int) -> None:
    reply = ask(stage, path)
    assert reply.status_code == status
    body = reply.json()
    assert body["request_id"] == reply.headers["x-request-id"] == reply.headers["request-id"]
    assert reply.headers["x-should-retry"] == "false"
    assert body["error"]["message"]
    if path == "/v1/messages":
        assert body["type"] == "error"
        kinds = {413: "request_too_large", 404: "not_found_error"}
        assert body["error"]["type"] == kinds.get(status, "invalid_request_error")
    else:
        assert body["error"].keys() == {"message", "type", "param", "code"}
        assert body["error"]["type"] == "invalid_request_error"
    if status == 405:
        assert reply.headers["allow"] == "POST"
    assert stage.fake.requests == []


def test_the_twice_slashed_address_is_explained(stage: Stage) -> None:
    """The commonest mistake: a base URL with one /v1 too many."""
    with (
        pytest.raises(anthropic.NotFoundError, match="/v1 twice"),
        anthropic.Anthropic(
            base_url=stage.gateway.url + "/v1", api_key=stage.gateway.key, max_retries=0
        ) as client,
    ):
        client.messages.create(model="claude-opus-4-5", max_tokens=5, messages=user("hi"))
