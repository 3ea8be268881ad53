"""What every reply carries, and what none gives away."""

from __future__ import annotations

import re
from typing import Any

import orjson
import pytest

from apiv1.tests.wire import Wire
from tests.support.fake_upstream import FakeUpstream
from tests.support.live_gateway import LiveGateway
from tests.support.surfaces import (
    CHAT_ANTHROPIC,
    CHAT_OPENAI,
    MESSAGES_OPENAI,
    PAIRS,
    Pair,
    address,
    ask,
    request_body,
)
from tests.support.upstream.script import Answer, Json

CANARY = "canary-in-the-prompt"
REQUESTS: dict[str, tuple[str, str, Any]] = {
    "whole": ("POST", "/v1/chat/completions", request_body(CHAT_OPENAI)),
    "stream": ("POST", "/v1/chat/completions", request_body(CHAT_OPENAI, stream=True)),
    "messages": ("POST", "/v1/messages", request_body(MESSAGES_OPENAI)),
    "models": ("GET", "/v1/models", None),
    "health": ("GET", "/health", None),
    "ready": ("GET", "/ready", None),
    "400": ("POST", "/v1/chat/completions", []),
    "404": ("GET", "/v1/nothing", None),
    "405": ("DELETE", "/v1/models", None),
}


@pytest.mark.parametrize("key", [True, False], ids=["key", "no-key"])
@pytest.mark.parametrize("name", REQUESTS)
def test_s53_every_reply_is_kept_by_nobody_and_guessed_by_nobody(
    live: LiveGateway, name: str, key: bool
) -> None:
    method, path, body = REQUESTS[name]
    with Wire(live) as wire:
        data = b"" if body is None else orjson.dumps(body)
        headers = [("content-length", str(len(data)))] if body is not None else []
        wire.head(method, path, headers, key=key)
        wire.write(data)
        reply = wire.reply(method)
    assert reply.header("x-content-type-options") == "nosniff"
    ids = (reply.header("x-request-id"), reply.header("request-id"))
    assert ids[0] == ids[1]
    assert re.fullmatch(r"req_[0-9a-f]{24}", ids[0] or "")
    streamed = name == "stream" and key
    assert reply.header("cache-control") == ("no-cache, no-store" if streamed else "no-store")
    kind = "text/event-stream; charset=utf-8" if streamed else "application/json"
    assert reply.header("content-type") == kind
    assert reply.header("x-accel-buffering") == ("no" if streamed else None)
    assert [n for n, _ in reply.headers] == list(dict.fromkeys(n for n, _ in reply.headers))


def test_an_id_is_ours_and_new(live: LiveGateway) -> None:
    """A client's own would let it write into our logs."""
    seen = set()
    for _ in range(5):
        answer = ask(live, CHAT_OPENAI, headers={"x-api-key": live.key, "x-request-id": "mine"})
        seen.add(answer.header("x-request-id"))
        assert live.wait_record(len(seen)).request_id == answer.header("x-request-id")
    assert len(seen) == 5
    assert "mine" not in seen


def test_an_error_has_the_same_id_in_header_and_body(live: LiveGateway) -> None:
    for pair in (CHAT_OPENAI, MESSAGES_OPENAI):
        answer = ask(live, pair, messages=[])
        assert answer.json["request_id"] == answer.header("request-id")


def test_the_provider_and_its_id_are_named(live: LiveGateway, fake_upstream: FakeUpstream) -> None:
    fake_upstream.script("", [Answer(headers={"x-request-id": "up\u00e9,\t1"})], times=1)
    provider = live.provider("openai", name="Größe, eins")
    live.use(live.snapshot([live.route("*", provider)]))
    answer = ask(live, CHAT_OPENAI)
    assert answer.status == 200
    assert answer.header("x-gateway-provider") == "Gr??e??eins"
    named = answer.header("x-upstream-request-id") or ""
    assert re.fullmatch(r"[\x21-\x7e]+", named)
    assert "," not in named


def test_what_could_not_travel_is_named_in_the_clients_words(live: LiveGateway) -> None:
    answer = ask(live, CHAT_ANTHROPIC, seed=3, logit_bias={"1": 1})
    assert answer.status == 200
    assert set((answer.header("x-gateway-dropped") or "").split(", ")) == {"seed", "logit_bias"}
    assert set(live.wait_record().dropped) == {"seed", "logit_bias"}


def test_names_that_a_client_made_up_cannot_break_out_of_the_header(live: LiveGateway) -> None:
    made_up: dict[str, Any] = {
        "x\r\nset-cookie: a=1": 1, "komma, dann": 2, "žluť": 3, "nul\u0000": 4, "f" * 5000: 5,
    }  # fmt: skip
    answer = ask(live, CHAT_ANTHROPIC, **made_up)
    assert answer.status == 200
    dropped = answer.header("x-gateway-dropped") or ""
    assert len(dropped) <= 1000
    assert re.fullmatch(r"[\x20-\x7e]+", dropped)
    assert answer.header("set-cookie") is None


@pytest.mark.parametrize("value", [b"a\x00b", b"a\x01b", b"a\x7fb", b"a\nb", b"a\rb"])
@pytest.mark.parametrize("name", ["anthropic-beta", "idempotency-key"])
def test_s15_control_characters_in_a_header_are_refused(
    live: LiveGateway, fake_upstream: FakeUpstream, name: str, value: bytes
) -> None:
    body = orjson.dumps(request_body(PAIRS[3]))
    with Wire(live) as wire:
        wire.post("/v1/messages", body, [(name, value)])
        assert wire.reply().status == 400
    assert fake_upstream.requests == []


TROUBLE = {
    "traceback": 'Traceback (most recent call last): File "/srv/app/secret/main.py", line 3, in run',
    "sql": "psycopg.errors.UndefinedTable: SELECT * FROM api_keys at 10.20.30.40:5432",
    "addresses": "upstream http://10.20.30.40:8000/v1 and https://gateway.internal.example/v1 said no",
    "keys": "Incorrect API key provided: sk-proj-abcdefghijklmnop1234, gw-abcdefghijklmnopqrst",
    "account": "org org-AbCdEfGhIjKlMnOp of project proj_AbCdEfGhIjKl has no access",
}
HIDDEN = ("10.20.30.40", "internal.example", "/srv/app", "sk-proj", "gw-abc", "org-AbC", "proj_AbC")


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 503])
@pytest.mark.parametrize("name", TROUBLE)
@pytest.mark.parametrize("pair", [CHAT_OPENAI, MESSAGES_OPENAI, CHAT_ANTHROPIC], ids=str)
def test_s44_what_a_provider_says_of_itself_stays_inside(
    live: LiveGateway, fake_upstream: FakeUpstream, pair: Pair, name: str, status: int
) -> None:
    error = {"error": {"message": TROUBLE[name], "type": "x", "code": None}}
    fake_upstream.script("", [Json(status, error)])
    answer = ask(live, pair)
    assert answer.status >= 400
    shown = answer.raw.decode() + repr(answer.headers)
    assert [hidden for hidden in HIDDEN if hidden in shown] == []


@pytest.mark.parametrize("surface", ["chat", "messages"])
def test_s44_an_error_says_nothing_of_the_prompt_or_of_other_models(live: LiveGateway, surface: str) -> None:
    live.use(live.snapshot([live.route("secret-model", live.provider("openai"))]))
    body = request_body(CHAT_OPENAI) | {"max_tokens": 5, "model": "unknown-1"}
    body["messages"] = [{"role": "user", "content": CANARY}]
    with Wire(live) as wire:
        wire.post(address(surface), orjson.dumps(body))
        reply = wire.reply()
        assert reply.status == 404
        assert CANARY.encode() not in reply.body
        assert b"secret-model" not in reply.body
        # In JSON that breaks off after the prompt, too.
        wire.post(address(surface), orjson.dumps(body)[:-1])
        reply = wire.reply()
        assert reply.status == 400
        assert CANARY.encode() not in reply.body
