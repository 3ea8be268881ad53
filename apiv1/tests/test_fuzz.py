"""Whatever bytes come as a body: a refusal in the client's envelope, quickly, and never a failure of ours."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.fake_upstream import FakeUpstream
from tests.support.live_gateway import LiveGateway
from tests.support.surfaces import CHAT_OPENAI, checked, request_body, send

PATHS = ["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/messages", "/v1/responses",
         "/v1/messages/count_tokens"]  # fmt: skip
# `deadline`: the machine may be busy; a test that hangs is ended by its own time limit.
FUZZ = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
NAMES = ["model", "messages", "max_tokens", "stream", "tools", "system", "input", "prompt", "stop", "n",
         "temperature", "tool_choice", "stream_options", "response_format", "metadata", "role", "content",
         "type", "text", "tool_calls", "reasoning", "thinking", "user", "instructions"]  # fmt: skip
FIELDS = st.dictionaries(st.sampled_from(NAMES), JSON, max_size=6)


def surface_of(path: str) -> str:
    return "messages" if path.startswith("/v1/messages") else "chat"


def refused(live: LiveGateway, path: str, body: bytes) -> None:
    status, _, raw = send(live, "POST", path, body, {"x-api-key": live.key})
    assert 400 <= status < 500
    checked(surface_of(path), orjson.loads(raw))


@pytest.mark.parametrize("path", PATHS)
@FUZZ
@given(body=st.binary(max_size=200))
def test_random_bytes(live: LiveGateway, path: str, body: bytes) -> None:
    refused(live, path, body)


@pytest.mark.parametrize("path", PATHS)
@FUZZ
@given(value=JSON)
def test_random_json(live: LiveGateway, path: str, value: Any) -> None:
    refused(live, path, _dumped(value))


@pytest.mark.parametrize("path", PATHS)
@FUZZ
@given(fields=FIELDS)
def test_random_fields_without_a_usable_model(live: LiveGateway, path: str, fields: dict[str, Any]) -> None:
    """No route leads anywhere, so that nothing may be taken for good."""
    live.use(live.snapshot([]))
    refused(live, path, _dumped(fields))


MODELS = ["gpt-4o", "claude-opus-4-5", "llama3.2"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("model", MODELS)
@settings(FUZZ, max_examples=20)
@given(fields=FIELDS)
def test_a_good_request_with_any_field_spoilt_is_never_our_failure(
    live: LiveGateway, fake_upstream: FakeUpstream, model: str, path: str, fields: dict[str, Any]
) -> None:
    """Through every pair of dialects: an answer, or a refusal by us or by the provider."""
    good = request_body(CHAT_OPENAI) | {"model": model, "max_tokens": 50, "prompt": "hi", "input": "hi"}
    fields.pop("model", None)
    status, headers, raw = send(live, "POST", path, _dumped(good | fields), {"x-api-key": live.key})
    assert status == 200 or 400 <= status < 500
    kind = dict(headers)["content-type"]
    if status != 200:
        checked(surface_of(path), orjson.loads(raw))
    elif kind == "application/json":
        assert type(orjson.loads(raw)) is dict


def _spoiler(where: str) -> Callable[[dict[str, Any], Any], None]:
    def message(body: dict[str, Any], value: Any) -> None:
        body["messages"] = [value, *body["messages"]]

    def content(body: dict[str, Any], value: Any) -> None:
        body["messages"] = [{"role": "user", "content": value}]

    def part(body: dict[str, Any], value: Any) -> None:
        body["messages"] = [{"role": "user", "content": [{"type": "text", "text": "hi"}, value]}]

    def tool(body: dict[str, Any], value: Any) -> None:
        body["tools"] = [{"type": "function", "name": "f", "function": value, "input_schema": value}]

    return {"message": message, "content": content, "part": part, "tool": tool}[where]


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("where", ["message", "content", "part", "tool"])
@settings(FUZZ, max_examples=20)
@given(value=FIELDS | JSON)
def test_odd_values_deep_within_are_never_our_failure(
    live: LiveGateway, fake_upstream: FakeUpstream, where: str, model: str, path: str, value: Any
) -> None:
    body = request_body(CHAT_OPENAI) | {"model": model, "max_tokens": 50}
    _spoiler(where)(body, value)
    status, _, raw = send(live, "POST", path, _dumped(body), {"x-api-key": live.key})
    assert status == 200 or 400 <= status < 500
    if status != 200:
        checked(surface_of(path), orjson.loads(raw))


def _dumped(value: Any) -> bytes:
    """JSON as any client's library writes it: also integers that fit no 64 bits and lone surrogates."""
    return json.dumps(value).encode()
