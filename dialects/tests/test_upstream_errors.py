"""Providers' refusals: every status and envelope to one fault, and nothing of ours in the message."""

from __future__ import annotations

import time
from email.utils import formatdate
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialects import upstream_errors
from dialects.errors import GatewayError, envelope


def _reply(status: int, body: Any, headers: dict[str, str] | None = None) -> GatewayError:
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    return upstream_errors.from_reply(status, headers or {}, raw)


def openai(message: str, kind: str = "invalid_request_error", code: Any = None, param: Any = None) -> Any:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def anthropic(message: str, kind: str) -> Any:
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}


@pytest.mark.parametrize(
    ("status", "body", "fault", "code", "openai_status", "anthropic_status"),
    [
        (
            400,
            openai("bad", code="invalid_value", param="tools[0]"),
            "bad_request",
            "invalid_value",
            400,
            400,
        ),
        (400, openai("bad"), "bad_request", "invalid_value", 400, 400),
        (
            400,
            anthropic("max_tokens: Field required", "invalid_request_error"),
            "bad_request",
            "invalid_value",
            400,
            400,
        ),
        (422, {"detail": [{"msg": "field required"}]}, "bad_request", "invalid_value", 422, 422),
        (413, anthropic("too large", "request_too_large"), "size", "request_too_large", 413, 413),
        (
            404,
            openai("The model `x` does not exist", code="model_not_found"),
            "no_model",
            "model_not_found",
            404,
            404,
        ),
        (404, anthropic("model: x", "not_found_error"), "no_model", "model_not_found", 404, 404),
        (404, {"error": "model 'x' not found"}, "no_model", "model_not_found", 404, 404),
        (404, b"<html>nginx</html>", "not_found", "not_found", 404, 404),
        (401, openai("Incorrect API key provided: sk-abc***"), "upstream_bad", "upstream_auth", 502, 502),
        (403, anthropic("no", "permission_error"), "upstream_bad", "upstream_auth", 502, 502),
        (500, {"error": "model runner has unexpectedly stopped"}, "upstream_bad", "upstream_error", 502, 502),
        *(
            (500, {"error": f"failed to process inputs: {words}"}, "bad_request", "invalid_value", 400, 400)
            for words in (
                "this model is missing data required for image input",
                "image: unknown format",
                "Failed to load image or audio file",
            )
        ),
        (
            500,
            {"error": "the input length exceeds the context length"},
            "bad_request",
            "context_length_exceeded",
            400,
            400,
        ),
        (402, openai("pay"), "budget", "insufficient_quota", 429, 402),
        (
            429,
            openai("quota", "insufficient_quota", "insufficient_quota"),
            "budget",
            "insufficient_quota",
            429,
            402,
        ),
        (
            400,
            anthropic("Your credit balance is too low to access", "invalid_request_error"),
            "budget",
            "insufficient_quota",
            429,
            402,
        ),
        (429, openai("slow", "requests", "rate_limit_exceeded"), "rate", "rate_limit_exceeded", 429, 429),
        (429, b"", "rate", "rate_limit_exceeded", 429, 429),
        (529, anthropic("Overloaded", "overloaded_error"), "busy", "overloaded", 503, 529),
        (503, b"busy", "busy", "overloaded", 503, 529),
        (500, openai("oops", "server_error"), "upstream_bad", "upstream_error", 502, 502),
        (502, b"<html>", "upstream_bad", "upstream_error", 502, 502),
        (504, b"", "upstream_timeout", "upstream_timeout", 504, 504),
        (405, b"", "upstream_bad", "upstream_error", 502, 502),
    ],
)
def test_faults(
    status: int, body: Any, fault: str, code: str, openai_status: int, anthropic_status: int
) -> None:
    error = _reply(status, body)
    assert (error.fault.name, error.code) == (fault, code)
    assert (error.status("openai"), error.status("anthropic")) == (openai_status, anthropic_status)


@pytest.mark.parametrize(
    ("status", "told"), [(400, 400), (404, 404), (409, 409), (413, 413), (422, 400), (429, 429), (529, 503)]
)
def test_a_client_of_another_dialect_is_told(status: int, told: int) -> None:
    before = _reply(status, openai("No.", code="unprocessable", param="tools"))
    after = upstream_errors.across(before)
    assert after.status("openai") == told
    assert (after.fault, after.message, after.code) == (before.fault, before.message, before.code)
    assert after.detail.param == before.detail.param


@pytest.mark.parametrize(
    ("message", "size", "limit"),
    [
        ("prompt is too long: 210000 tokens > 200000 maximum", 210000, 200000),
        (
            (
                "This model's maximum context length is 128,000 tokens. "
                "However, your messages resulted in 130,001 tokens."
            ),
            130001,
            128000,
        ),
        (
            (
                "This model's maximum context length is 8192 tokens. However, you requested 9000 tokens "
                "(5000 in the messages, 4000 in the completion)."
            ),
            9000,
            8192,
        ),
        (
            "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000, decrease",
            210000,
            200000,
        ),
        (
            "request (9001 tokens) exceeds the available context size (8192 tokens), try increasing it",
            9001,
            8192,
        ),
    ],
)
def test_context_length_is_said_in_both_families_words(message: str, size: int, limit: int) -> None:
    error = _reply(400, openai(message))
    assert error.code == "context_length_exceeded"
    assert f"prompt is too long: {size} tokens > {limit} maximum" in error.message
    assert f"maximum context length is {limit} tokens" in error.message
    assert error.status("anthropic") == 400


def test_context_length_without_numbers() -> None:
    error = _reply(400, openai("Too much.", code="context_length_exceeded", param="messages"))
    assert error.code == "context_length_exceeded"
    assert error.message == "prompt is too long: Too much."
    assert error.detail.param == "messages"


@pytest.mark.parametrize(
    "secret",
    [
        "sk-proj-abcDEF123456",
        "Bearer abcdef.ghijkl",
        "https://internal.example:8443/v1/x?key=1",
        "10.0.0.7:11434",
        "org-AbCdEf123",
        "eyJhbGciOi.eyJzdWIiOiIx.c2ln",
        "/srv/app/venv/lib/server.py",
        "A" * 48,
    ],
)
def test_what_is_not_the_clients_business_is_cut_out(secret: str) -> None:
    error = _reply(400, openai(f"Sorry: {secret} is wrong."))
    assert error.message == "Sorry: [redacted] is wrong."


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("not supported in /v1/chat/completions. Use", "not supported in /v1/chat/completions. Use"),
        ("ask /v1/messages/count_tokens", "ask /v1/messages/count_tokens"),
        ("in /v1/chat/completions/../../etc/passwd", "in [redacted]"),
        ("at /home/me/models/llama.gguf", "at [redacted]"),
        ("at /srv/v1/chat/completions", "at [redacted]"),
    ],
)
def test_the_names_of_surfaces_are_no_paths(text: str, told: str) -> None:
    assert upstream_errors.redact(text) == told


def test_the_text_of_a_refused_credential_never_travels() -> None:
    error = _reply(401, openai("Incorrect API key provided: ab***yz. Find it at example.com"))
    assert "ab***yz" not in error.message
    assert "upstream authentication failed" in error.message


def test_ordinary_messages_are_kept_word_for_word() -> None:
    message = (
        "messages.1: `tool_use` ids were found without `tool_result` blocks: toolu_01A09q90qw90lq917835lq9"
    )
    assert _reply(400, anthropic(message, "invalid_request_error")).message == message


def test_a_long_message_is_cut() -> None:
    assert len(_reply(400, openai("word " * 100_000)).message) <= 1000


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": "86400"}, 60.0),
        ({"retry-after": "-5"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({"retry-after": "Wed, 99 Foo 2015 07:28:00 GMT"}, None),
        ({"retry-after-ms": "x", "retry-after": "3"}, 3.0),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert _reply(429, b"", headers).detail.retry_after == seconds
    assert _reply(529, b"", headers).detail.retry_after == seconds


def test_retry_after_as_a_date_to_come() -> None:
    found = upstream_errors.retry_after({"retry-after": formatdate(time.time() + 30, usegmt=True)})
    assert found is not None
    assert 25 < found <= 31


@pytest.mark.parametrize(
    ("error", "fault", "status"),
    [
        ({"type": "overloaded_error", "message": "Overloaded"}, "busy", 529),
        ({"type": "rate_limit_error", "message": "x"}, "rate", 429),
        ({"type": "api_error", "message": "x"}, "upstream_bad", 502),
        ({"type": "invalid_request_error", "message": "x"}, "bad_request", 400),
        ({"type": "server_error", "code": None, "message": "x"}, "upstream_bad", 502),
        ({"code": 429, "message": "x"}, "rate", 429),
        ({"code": "502", "message": "x"}, "upstream_bad", 502),
        ({"code": 99999, "message": "x"}, "upstream_bad", 502),
        ("just text", "upstream_bad", 502),
        (None, "upstream_bad", 502),
        ([1], "upstream_bad", 502),
    ],
)
def test_errors_within_a_stream(error: Any, fault: str, status: int) -> None:
    found = upstream_errors.from_event(error)
    assert (found.fault.name, found.status("anthropic")) == (fault, status)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["error", "message", "type", "code", "param", "details", "detail", "msg", "error_code"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(
    st.integers(400, 599),
    _JSON.map(lambda v: orjson.dumps(v, default=str)) | st.binary(max_size=80),
    st.dictionaries(st.sampled_from(["retry-after", "retry-after-ms"]), st.text(max_size=20)),
)
def test_any_reply_becomes_a_reply_that_both_families_understand(
    status: int, body: bytes, headers: dict[str, str]
) -> None:
    error = upstream_errors.from_reply(status, headers, body)
    for family in ("openai", "anthropic"):
        assert 400 <= error.status(family) < 600
        orjson.dumps(envelope(family, error, "req"))
    assert error.status("openai") != 401


@given(_JSON)
def test_any_error_within_a_stream_becomes_a_gateway_error(error: Any) -> None:
    assert isinstance(upstream_errors.from_event(error), GatewayError)
