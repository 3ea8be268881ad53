"""What goes wrong at a provider, as each SDK raises it, whichever dialect the provider spoke."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from tests.e2e.prompts import user
from tests.e2e.raising import every_sdk, raised, read_broken, two_ways
from tests.e2e.sdks import KINDS, MODELS, Kind, Stage
from tests.support.upstream.script import Answer, Close, Json, Reset, Send, Step, WaitFor, encoded, sse

every_kind = pytest.mark.parametrize("kind", KINDS)
# No client may see these: part of a credential, an account, an address.
SECRETS = "key sk-openai-0123456789 of org-secretive at http://10.0.0.7:9000/v1"

HIDDEN = ("sk-openai", "org-secretive", "10.0.0.7")


def envelope(kind: Kind, message: str, code: str | None = None, word: str = "some_error") -> Any:
    """An error as this provider writes it."""
    if kind == "ollama":
        return {"error": message}
    if kind == "anthropic":
        return {"type": "error", "error": {"type": word, "message": message}}
    return {"error": {"message": message, "type": word, "param": None, "code": code}}


# What the provider answers with; then for clients of OpenAI's dialect the status, the exception and the code;
# then for those of Anthropic's the status, the exception and the type.
ROWS: list[Any] = [
    (400, (400, "BadRequestError", None), (400, "BadRequestError", "invalid_request_error")),
    (401, (502, "InternalServerError", "upstream_auth"), (502, "InternalServerError", "api_error")),
    (403, (502, "InternalServerError", "upstream_auth"), (502, "InternalServerError", "api_error")),
    (404, (404, "NotFoundError", "model_not_found"), (404, "NotFoundError", "not_found_error")),
    (413, (413, "APIStatusError", "request_too_large"), (413, None, "request_too_large")),
    (422, (400, "BadRequestError", None), (400, "BadRequestError", "invalid_request_error")),
    (429, (429, "RateLimitError", "rate_limit_exceeded"), (429, "RateLimitError", "rate_limit_error")),
    (500, (502, "InternalServerError", "upstream_error"), (502, "InternalServerError", "api_error")),
    (502, (502, "InternalServerError", "upstream_error"), (502, "InternalServerError", "api_error")),
    (503, (503, "InternalServerError", "overloaded"), (529, None, "overloaded_error")),
    (529, (503, "InternalServerError", "overloaded"), (529, None, "overloaded_error")),
]  # fmt: skip


@two_ways
@every_sdk
@every_kind
@pytest.mark.parametrize(("status", "openai_row", "anthropic_row"), ROWS, ids=[str(r[0]) for r in ROWS])
def test_a_refusal(
    stage: Stage,
    kind: Kind,
    sdk: str,
    way: str,
    status: int,
    openai_row: Any,
    anthropic_row: Any,
) -> None:
    said = f"Something is wrong with {SECRETS}."
    stage.fake.script("", [Json(status, envelope(kind, said))], check=False)
    error = raised(stage, sdk, way, model=MODELS[kind])
    expected, exception, word = openai_row if sdk == "openai" else anthropic_row
    if status == 422 and kind == sdk:
        # A client of the provider's own dialect sees what it would see without a gateway.
        expected, exception = 422, "UnprocessableEntityError"
    assert error.status_code == expected
    assert exception in (None, type(error).__name__)
    assert word in (None, error.code if sdk == "openai" else error.type)
    # It is the request's own fault, or has been tried three times already.
    assert error.response.headers["x-should-retry"] == "false"
    for secret in HIDDEN:
        assert secret not in error.message
    if status in (400, 404, 413, 422, 429):
        assert "Something is wrong with" in error.message
    record = stage.gateway.wait_record()
    assert (record.request_id, record.status, record.outcome) == (error.request_id, expected, "error")
    # What may pass is tried three times; a refusal of the request or of our key once.
    assert len(stage.fake.requests) == (3 if status in (429, 500, 502, 503, 529) else 1)


@every_sdk
@every_kind
@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, "7"),
        ({"retry-after-ms": "1500"}, "2"),
        ({"retry-after": "86400"}, "60"),
        ({}, None),
    ],
    ids=["seconds", "milliseconds", "a-day", "none"],
)
@pytest.mark.parametrize("status", [429, 503])
def test_how_long_to_wait(
    stage: Stage, kind: Kind, sdk: str, status: int, headers: dict[str, str], seconds: str | None
) -> None:
    stage.fake.script("", [Json(status, envelope(kind, "Slow down."), headers)], check=False)
    error = raised(stage, sdk, model=MODELS[kind])
    assert error.response.headers.get("retry-after") == seconds
    exact = {"7": "7000", "2": "1500", "60": "60000", None: None}
    assert error.response.headers.get("retry-after-ms") == exact[seconds]


TOO_LONG: dict[Kind, Any] = {
    "openai": envelope(
        "openai",
        "This model's maximum context length is 8192 tokens. However, your messages resulted in 9001 tokens.",
        "context_length_exceeded",
        "invalid_request_error",
    ),
    "anthropic": envelope(
        "anthropic", "prompt is too long: 9001 tokens > 8192 maximum", None, "invalid_request_error"
    ),
    "ollama": envelope("ollama", "the input length (9001 tokens) exceeds the context length (8192)"),
}


@every_sdk
@every_kind
def test_a_prompt_that_is_too_long(stage: Stage, kind: Kind, sdk: str) -> None:
    """Programs shorten their prompt when they read these words."""
    stage.fake.script("", [Json(400, TOO_LONG[kind])], check=False)
    error = raised(stage, sdk, model=MODELS[kind])
    assert type(error).__name__ == "BadRequestError"
    assert "prompt is too long" in error.message
    if sdk == "openai":
        assert error.code == "context_length_exceeded"


@every_sdk
def test_an_account_without_credit(stage: Stage, sdk: str) -> None:
    said = envelope("openai", "You exceeded your current quota.", "insufficient_quota", "insufficient_quota")
    stage.fake.script("", [Json(429, said)], check=False)
    error = raised(stage, sdk)
    assert error.response.headers["x-should-retry"] == "false"
    if sdk == "openai":
        assert (error.status_code, error.code) == (429, "insufficient_quota")
    else:
        assert (error.status_code, error.type) == (402, "billing_error")


@every_sdk
@every_kind
def test_the_sdk_tries_again_and_succeeds(stage: Stage, kind: Kind, sdk: str) -> None:
    busy = [Json(503, envelope(kind, "Busy."), {"retry-after-ms": "1"})]
    stage.fake.script("", busy, times=1, check=False)
    fields: Any = {"model": MODELS[kind], "max_tokens": 50, "messages": user("say:well")}
    if sdk == "openai":
        client = stage.sdks.openai.with_options(max_retries=1)
        assert client.chat.completions.create(**fields).choices[0].message.content == "well"
    else:
        message = stage.sdks.anthropic.with_options(max_retries=1).messages.create(**fields)
        assert message.content[0].text == "well"
    assert len(stage.fake.requests) == 2


@every_sdk
@every_kind
def test_nobody_listens(stage: Stage, kind: Kind, sdk: str) -> None:
    gateway = stage.gateway
    gateway.use(gateway.snapshot([gateway.route("*", gateway.provider(kind, base_url="http://127.0.0.1:9"))]))
    error = raised(stage, sdk, model=MODELS[kind])
    assert error.status_code == 502
    assert "127.0.0.1" not in error.message


# -- in the middle of a stream


@every_sdk
@every_kind
@pytest.mark.parametrize("end", [[Close()], [Reset()], []], ids=["closed", "reset", "ended-too-early"])
def test_a_stream_that_breaks_off_never_looks_whole(
    stage: Stage, kind: Kind, sdk: str, end: list[Step]
) -> None:
    begun = threading.Event()
    stage.fake.script("", [Answer(events=8), WaitFor(begun), *end])
    said, error = read_broken(stage, sdk, begun.set, model=MODELS[kind])
    assert "word1 word2 word3 word4 word5".startswith(said)
    assert "broke off" in error.message
    record = stage.gateway.wait_record()
    assert (record.outcome, record.code) == ("error", "upstream_truncated")


# A provider's error in its stream; then the code for OpenAI's clients, the type for Anthropic's.
IN_STREAM: list[Any] = [
    pytest.param(
        "openai",
        sse({"error": {"message": f"No. {SECRETS}", "type": "server_error"}}),
        "upstream_error",
        "api_error",
        id="openai",
    ),
    pytest.param(
        "openai",
        sse(
            {
                "id": "x",
                "error": {"message": f"No. {SECRETS}", "code": 503},
                "choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "error"}],
            }
        ),
        "overloaded",
        "overloaded_error",
        id="openrouter",
    ),
    pytest.param(
        "anthropic",
        sse(("error", envelope("anthropic", f"No. {SECRETS}", None, "overloaded_error"))),
        "overloaded",
        "overloaded_error",
        id="anthropic",
    ),
    pytest.param(
        "ollama", encoded({"error": f"No. {SECRETS}"}) + b"\n", "upstream_error", "api_error", id="ollama"
    ),
]


@every_sdk
@pytest.mark.parametrize(("kind", "event", "code", "word"), IN_STREAM)
def test_a_providers_error_in_a_stream(
    stage: Stage, sdk: str, kind: Kind, event: bytes, code: str, word: str
) -> None:
    begun = threading.Event()
    stage.fake.script("", [Answer(events=8), WaitFor(begun), Send(event)])
    said, error = read_broken(stage, sdk, begun.set, model=MODELS[kind])
    assert "word1 word2 word3 word4 word5".startswith(said)
    if sdk == "openai":
        assert error.code == code
    else:
        assert error.body["error"]["type"] == word
    for secret in HIDDEN:
        assert secret not in str(error.body) + error.message
    assert stage.gateway.wait_record().outcome == "error"
