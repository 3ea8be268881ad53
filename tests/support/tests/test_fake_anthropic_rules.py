"""The Anthropic fake refuses what Anthropic refuses, in its words, and takes what it takes."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.fake_upstream import FakeUpstream
from tests.support.tests.samples import JPEG, PDF, PNG, call
from tests.support.tests.test_fake_anthropic import KEYS, LEGACY, WEATHER, L, M, T, user


@pytest.mark.parametrize(
    ("headers", "status", "message"),
    [
        ({"anthropic-version": "2023-06-01"}, 401, "x-api-key header is required"),
        ({**KEYS, "x-api-key": "gw-secret"}, 401, "invalid x-api-key"),
        ({"anthropic-version": "2023-06-01", "authorization": "Bearer gw-secret"}, 401, "invalid x-api-key"),
        ({**KEYS, "authorization": "Bearer gw-secret"}, 200, None),
        ({"anthropic-version": "2023-06-01", "authorization": "Bearer sk-ant"}, 200, None),
        ({"x-api-key": "sk-ant"}, 400, "anthropic-version: header is required"),
        ({"x-api-key": "sk-ant", "anthropic-version": "2099-01-01"}, 400, "is not a valid version"),
        ({**KEYS, "content-type": "text/plain"}, 400, "content-type: must be application/json"),
    ],
)
def test_headers(
    fake_upstream: FakeUpstream, headers: dict[str, str], status: int, message: str | None
) -> None:
    body = {"model": L, "max_tokens": 10, "messages": user("hi")}
    got, answer = call(fake_upstream.url + "/v1/messages", body, headers=headers)
    assert got == status
    assert message is None or message in answer["error"]["message"]
    assert message is None or set(answer) == {"type", "error", "request_id"}


USE: dict[str, Any] = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {}}
RESULT: dict[str, Any] = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "ok"}
LEFT_OPEN = "`tool_use` ids were found without `tool_result` blocks immediately after: toolu_1"


def _loop(use: dict[str, Any], results: list[Any]) -> list[Any]:
    return [*user("hi"), {"role": "assistant", "content": [use]}, *user(results)]


def _image(**source: str) -> list[Any]:
    return user([{"type": "image", "source": source}])


def _marked(count: int) -> list[Any]:
    return [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}] * count


def _format(schema: dict[str, Any]) -> dict[str, Any]:
    return {"output_config": {"format": {"type": "json_schema", "schema": schema}}}


REFUSALS: list[tuple[dict[str, Any], str]] = [
    ({"foo": 1}, "foo: Extra inputs are not permitted"),
    ({"n": 2}, "n: Extra inputs are not permitted"),
    ({"context_management": {}}, "context_management: Extra inputs are not permitted"),
    ({"model": "claude-nine"}, "model: claude-nine"),
    ({"model": "gpt-4o"}, "model: gpt-4o"),
    ({"max_tokens": ...}, "max_tokens: Field required"),
    ({"max_tokens": -1}, "max_tokens: Input should be greater than or equal to"),
    ({"max_tokens": "5"}, "max_tokens: Input should be a valid integer"),
    (
        {"max_tokens": 64_001},
        "max_tokens: 64001 > 64000, which is the maximum allowed number of output tokens for",
    ),
    ({"messages": []}, "messages: at least one message is required"),
    ({"messages": [{"role": "assistant", "content": "x"}]}, 'first message must use the "user" role'),
    ({"messages": [{"role": "tool", "content": "x"}]}, 'Unexpected role "tool"'),
    ({"messages": [{"role": "system", "content": "x"}, *user("hi")]}, "messages: first message must use"),
    ({"messages": [*user("hi"), {"role": "system", "content": "x"}]}, 'Unexpected role "system"'),
    (
        {"messages": [{"role": "user", "content": "x", "name": "bob"}]},
        "messages.0.name: Extra inputs are not permitted",
    ),
    ({"messages": user("")}, "all messages must have non-empty content"),
    ({"messages": user([{"type": "text", "text": ""}])}, "messages: text content blocks must be non-empty"),
    (
        {"messages": user([{"type": "text", "text": " "}])},
        "text content blocks must contain non-whitespace text",
    ),
    ({"system": [{"type": "text", "text": ""}]}, "system: text content blocks must be non-empty"),
    (
        {"messages": user([{"type": "image_url", "image_url": {}}])},
        "Input tag 'image_url' found using 'type'",
    ),
    ({"messages": user([USE])}, "`tool_use` blocks can only be in `assistant` messages"),
    ({"messages": [*user("hi"), {"role": "assistant", "content": [USE]}]}, LEFT_OPEN),
    ({"messages": _loop(USE, [{"type": "text", "text": "first"}, RESULT])}, LEFT_OPEN),
    ({"messages": _loop(USE, [{**RESULT, "tool_use_id": "toolu_2"}])}, LEFT_OPEN),
    ({"messages": user([RESULT])}, "unexpected `tool_use_id` found in `tool_result` blocks: toolu_1"),
    ({"messages": _loop(USE, [RESULT, RESULT])}, "each tool_use must have a single result"),
    ({"messages": _loop({**USE, "id": "a.b"}, [RESULT])}, "String should match pattern '^[a-zA-Z0-9_-]+$'"),
    (
        {"messages": _loop({**USE, "input": "{}"}, [RESULT])},
        "tool_use.input: Input should be a valid dictionary",
    ),
    ({"tools": [WEATHER, WEATHER]}, "tools: Tool names must be unique."),
    ({"tools": [{**WEATHER, "name": "a b"}]}, "tools.0.custom.name: String should match pattern"),
    ({"tools": [{"name": "x"}]}, "tools.0.custom.input_schema: Field required"),
    ({"tools": [{"name": "x", "input_schema": {}}]}, "tools.0.custom.input_schema.type: Field required"),
    ({"tools": [{"type": "function", "function": {}}]}, "Input tag 'function' found using 'type'"),
    ({"tool_choice": {"type": "auto"}}, "tool_choice may only be specified while providing tools"),
    (
        {"tools": [WEATHER], "tool_choice": {"type": "tool", "name": "x"}},
        "Tool 'x' not found in provided tools",
    ),
    ({"tools": [WEATHER], "tool_choice": "auto"}, "tool_choice: Input tag 'None'"),
    (
        {"tools": [WEATHER], "tool_choice": {"type": "none", "disable_parallel_tool_use": True}},
        "tool_choice.none.disable_parallel_tool_use: Extra inputs are not permitted",
    ),
    ({"stop_sequences": ["\n"]}, "each stop sequence must contain non-whitespace"),
    ({"stop_sequences": "x"}, "stop_sequences: Input should be a valid array"),
    ({"temperature": 1.5}, "temperature: Input should be less than or equal to 1"),
    ({"temperature": 0.5, "top_p": 0.5}, "`temperature` and `top_p` cannot both be specified"),
    ({"metadata": {"team": "x"}}, "metadata.team: Extra inputs are not permitted"),
    ({"metadata": {"user_id": "a@b.com"}}, "email address"),
    (
        {"messages": _image(type="base64", media_type="image/bmp", data=PNG)},
        "Input should be 'image/jpeg', 'image/png'",
    ),
    (
        {"messages": _image(type="base64", media_type="image/png", data=JPEG)},
        "appears to be a image/jpeg image",
    ),
    ({"messages": _image(type="base64", media_type="image/png", data="data:x")}, "invalid base64 data"),
    ({"messages": user(_marked(5))}, "A maximum of 4 blocks with cache_control may be provided. Found 5."),
    (
        {"messages": user([{"type": "text", "text": "", "cache_control": {"type": "ephemeral"}}])},
        "cache_control cannot be set for empty text blocks",
    ),
    (
        {"thinking": {"type": "enabled", "budget_tokens": 1000}},
        "budget_tokens: Input should be greater than or equal to 1024",
    ),
    (
        {"thinking": {**LEGACY, "budget_tokens": 4096}},
        "`max_tokens` must be greater than `thinking.budget_tokens`",
    ),
    ({"thinking": LEGACY, "temperature": 0.5}, "`temperature` may only be set to 1 when thinking is enabled"),
    ({"thinking": LEGACY, "top_p": 0.5}, "`top_p` must be greater than or equal to 0.95"),
    ({"thinking": LEGACY, "top_k": 5}, "`top_k` must be unset when thinking is enabled"),
    (
        {"thinking": LEGACY, "tools": [WEATHER], "tool_choice": {"type": "any"}},
        "Thinking may not be enabled when tool_choice forces tool use.",
    ),
    ({"thinking": {"type": "adaptive"}}, "adaptive thinking is not supported on this model"),
    ({"thinking": "on"}, "thinking: Input tag 'None'"),
    (
        {"messages": [*user("hi"), {"role": "assistant", "content": "x "}]},
        "cannot end with trailing whitespace",
    ),
    (
        {"model": T, "messages": [*user("hi"), {"role": "assistant", "content": "x"}]},
        "does not support assistant message prefill",
    ),
    ({"model": M, "temperature": 0.5}, "`temperature` is deprecated for this model."),
    ({"model": M, "top_k": 5}, "`top_k` is deprecated for this model."),
    ({"model": M, "thinking": LEGACY}, '"thinking.type.enabled" is not supported for this model.'),
    (
        {"model": M, "messages": [*user("hi"), {"role": "system", "content": "x"}, *user("ho")]},
        'Unexpected role "system"',
    ),
    (
        {"model": "claude-fable-5-1", "tools": [WEATHER], "tool_choice": {"type": "any"}},
        "is not supported for this model",
    ),
    (
        {"model": "claude-haiku-4-5", "output_config": {"effort": "low"}},
        "does not support the effort parameter",
    ),
    ({"model": T, "output_config": {"effort": "xhigh"}}, "does not support effort level 'xhigh'"),
    (_format({"type": "object", "properties": {}}), "'additionalProperties' must be explicitly set to false"),
    (
        _format(
            {
                "type": "object",
                "additionalProperties": False,
                "properties": {"a": {"type": "integer", "minimum": 1}},
            }
        ),
        "For 'integer' type, property 'minimum' is not supported",
    ),
    ({"messages": user("x" * 900_000)}, "prompt is too long: "),
]


def _body(change: dict[str, Any]) -> dict[str, Any]:
    body = {"model": L, "max_tokens": 4096, "messages": user("hi"), **change}
    return {key: value for key, value in body.items() if value is not ...}


@pytest.mark.parametrize(("change", "message"), REFUSALS, ids=lambda value: str(value)[:50])
def test_refusals(fake_upstream: FakeUpstream, change: dict[str, Any], message: str) -> None:
    status, answer = call(fake_upstream.url + "/v1/messages", _body(change), headers=KEYS)
    assert message in answer["error"]["message"]
    wanted = (404, "not_found_error") if message.startswith("model:") else (400, "invalid_request_error")
    assert (status, answer["error"]["type"]) == wanted
    assert fake_upstream.last.refusal == answer["error"]["message"]


ACCEPTED: list[dict[str, Any]] = [
    {"messages": _loop(USE, [RESULT, {"type": "text", "text": "and now?"}])},
    {
        "messages": _loop(USE, [{**RESULT, "is_error": True, "content": [{"type": "text", "text": "x"}]}]),
        "tools": [WEATHER],
    },
    {"messages": [*user("a"), *user("b")]},
    {"messages": _image(type="base64", media_type="image/jpeg", data=JPEG)},
    {"messages": _image(type="url", url="https://example.com/x.png")},
    {
        "messages": user(
            [{"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": PDF}}]
        )
    },
    {"messages": user(_marked(4))},
    {"model": M, "messages": [*user("hi"), {"role": "system", "content": "x"}]},
    {"model": M, "temperature": 1, "thinking": {"type": "adaptive"}, "output_config": {"effort": "xhigh"}},
    {"model": T, "thinking": LEGACY, "temperature": 1},
    {"tools": [WEATHER, {"type": "web_search_20250305", "name": "web_search"}]},
    {"metadata": {"user_id": '{"device_id":"abc","session_id":"x"}'}, "service_tier": "auto", "top_k": 5},
]


@pytest.mark.parametrize("change", ACCEPTED, ids=lambda value: str(value)[:50])
def test_accepts(fake_upstream: FakeUpstream, change: dict[str, Any]) -> None:
    status, answer = call(fake_upstream.url + "/v1/messages", _body(change), headers=KEYS)
    assert (status, answer.get("error")) == (200, None)


def test_the_new_version_takes_no_sampling_and_betas_open_their_fields(fake_upstream: FakeUpstream) -> None:
    url = fake_upstream.url + "/v1/messages"
    _, answer = call(url, _body({"temperature": 1}), headers={**KEYS, "anthropic-version": "2026-10-21"})
    assert answer["error"]["message"] == "temperature: Extra inputs are not permitted"
    beta = {**KEYS, "anthropic-beta": "context-management-2025-06-27"}
    assert call(url, _body({"context_management": {"edits": []}}), headers=beta)[0] == 200
