"""Hostile clients on a real socket: what they send opens nothing, reaches nobody and changes no bill."""

from __future__ import annotations

import string
import zlib
from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from accounts.keys import KeyHasher, is_mistyped, issue
from apiv1.auth import Authenticator
from apiv1.inbound import Inbound
from apiv1.tests.wire import Wire
from dialects.errors import GatewayError
from routing.allowances import Budget
from tests.support.fake_upstream import FakeUpstream
from tests.support.live_gateway import LiveGateway
from tests.support.surfaces import (
    CHAT_OPENAI,
    MESSAGES_ANTHROPIC,
    MESSAGES_OPENAI,
    PAIRS,
    Pair,
    address,
    ask,
    request_body,
    send,
)
from tests.support.upstream.script import Answer

every_pair = pytest.mark.parametrize("pair", PAIRS, ids=str)
GOOD = orjson.dumps(request_body(CHAT_OPENAI))


@pytest.fixture
def stranger() -> Iterator[FakeUpstream]:
    """A server that no configuration names: whoever asks it was led there by a client."""
    server = FakeUpstream()
    server.start()
    yield server
    server.stop()


# --- Keys

SQL = [
    "' OR '1'='1",
    "' OR (SELECT pg_sleep(10)) IS NULL --",
    "1; DROP TABLE accounts_apikey",
    "%27%20OR%201=1--",
    "{{7*7}}",
    "${jndi:ldap://x}",
    "../../etc/passwd",
]


@pytest.mark.parametrize("key", SQL)
def test_s1_a_key_is_data_and_never_a_query(live: LiveGateway, key: str) -> None:
    """No database is there to be asked: these tests have not allowed one, and a query would be a failure."""
    for headers in ({"authorization": f"Bearer {key}"}, {"x-api-key": key}):
        status, _, raw = send(live, "POST", "/v1/chat/completions", GOOD, headers)
        assert status == 401
        assert key.encode() not in raw
    assert live.fake.requests == []


class Counted(KeyHasher):
    """Counts the digests that it makes."""

    made = 0

    def digests(self, key: str) -> Iterator[bytes]:
        for digest in super().digests(key):
            self.made += 1
            yield digest


async def _none() -> bytes:
    return b""


@pytest.mark.parametrize("kind", ["unknown", "same-prefix", "same-but-its-end", "chosen"])
def test_s4_a_wrong_key_costs_the_same_work_whoever_it_resembles(live: LiveGateway, kind: str) -> None:
    """A key is looked for by the digest of all of it, so that nothing is decided by its prefix."""
    hasher = Counted(b"pepper of the tests", b"pepper of yesterday")
    asked = Authenticator(hasher, lambda: True)
    wrong = {
        "unknown": issue(),
        "same-prefix": _sealed(live.key[:11] + issue()[11:-6]),
        "same-but-its-end": _sealed(live.key[:-7] + ("A" if live.key[-7] != "A" else "B")),
        "chosen": "a-key-that-somebody-chose-0123456789",
    }[kind]
    inbound = Inbound("GET", "/v1/models", b"", {"x-api-key": wrong}, _none, None)  # type: ignore[arg-type]  # no body is read
    with pytest.raises(GatewayError) as refused:
        asked.caller(inbound, live.snapshot())
    assert (refused.value.fault.status, hasher.made) == (401, 2)


def _sealed(body: str) -> str:
    """A key of this body with the checksum that anybody can compute."""
    number, tail = zlib.crc32(body.encode()), ""
    for _ in range(6):
        number, digit = divmod(number, 62)
        tail = (string.digits + string.ascii_letters)[digit] + tail
    key = body + tail
    assert not is_mistyped(key)
    return key


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/models", "/v1/files"])
def test_s9_a_failure_while_a_key_is_checked_lets_nobody_in(
    live: LiveGateway, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    def broken(*_: object) -> Iterator[bytes]:
        raise RuntimeError(f"could not check {live.key}")

    live.use(live.snapshot())
    monkeypatch.setattr(live.hasher, "digests", broken)
    status, _, raw = send(live, "POST" if "models" not in path else "GET", path, GOOD)
    assert status == 500
    assert live.key.encode() not in raw
    assert b"RuntimeError" not in raw
    assert live.fake.requests == []
    assert live.records == []
    assert [type(fault) for fault in live.faults] == [RuntimeError]
    live.faults.clear()


# --- Headers

HOP_BY_HOP = {
    "connection": "x-api-key, close",
    "te": "trailers, deflate",
    "trailer": "x-canary",
    "keep-alive": "timeout=999",
    "proxy-connection": "keep-alive",
    "proxy-authenticate": "Basic",
    "proxy-authorization": "Basic Y2FuYXJ5",
}


@every_pair
def test_s13_what_concerns_one_connection_stays_on_it(
    live: LiveGateway, fake_upstream: FakeUpstream, pair: Pair
) -> None:
    back = {name: value for name, value in HOP_BY_HOP.items() if name != "connection"}
    fake_upstream.script("", [Answer(headers={**back, "upgrade": "h2c"})])
    with Wire(live) as wire:
        wire.post(address(pair.surface), orjson.dumps(request_body(pair)), list(HOP_BY_HOP.items()))
        reply = wire.reply()
        assert reply.status == 200
        # The client's own key was read although it asked to have it taken for a matter of the connection.
        assert wire.closed()
    sent = {name.lower(): value for name, value in fake_upstream.last.headers}
    assert not sent.keys() & (HOP_BY_HOP.keys() - {"connection"})
    assert "api-key" not in sent.get("connection", "")
    assert not dict(reply.headers).keys() & (back.keys() | {"upgrade"})


# --- Where a request goes

LEADING = ("api_base", "base_url", "custom_host", "proxy", "extra_headers", "organization", "host", "url")


@every_pair
def test_s19_no_client_says_where_its_request_goes_or_with_whose_credential(
    live: LiveGateway, fake_upstream: FakeUpstream, stranger: FakeUpstream, pair: Pair
) -> None:
    fields: dict[str, Any] = dict.fromkeys(LEADING, stranger.url)
    fields |= {"api_key": "sk-of-the-client", "extra_headers": {"authorization": "Bearer sk-of-the-client"}}
    body = orjson.dumps(request_body(pair) | fields)
    headers = {"authorization": f"Bearer {live.key}"} | {
        f"x-{name.replace('_', '-')}": stranger.url for name in LEADING
    }
    path = address(pair.surface) + f"?api_base={stranger.url}&proxy={stranger.url}"
    # Fields that nobody knows are the provider's to judge, and the real ones refuse some.
    assert send(live, "POST", path, body, headers)[0] in (200, 400)
    asked = fake_upstream.last
    assert asked.path.endswith(pair.path)
    assert stranger.url not in asked.target
    credential = {"openai": f"Bearer sk-{pair.kind}-0123456789", "anthropic": f"sk-{pair.kind}-0123456789"}
    name = "x-api-key" if pair.kind == "anthropic" else "authorization"
    assert asked.header(name) == credential.get(pair.kind)
    assert "sk-of-the-client" not in repr(asked.headers)
    assert stranger.requests == []


@pytest.mark.parametrize("pair", [CHAT_OPENAI, MESSAGES_OPENAI, MESSAGES_ANTHROPIC], ids=str)
def test_s22_addresses_in_prompts_are_the_providers_to_fetch(
    live: LiveGateway, fake_upstream: FakeUpstream, stranger: FakeUpstream, pair: Pair
) -> None:
    url = f"{stranger.url}/latest/meta-data"
    part = (
        {"type": "image", "source": {"type": "url", "url": url}}
        if pair.surface == "messages"
        else {"type": "image_url", "image_url": {"url": url}}
    )
    said = [{"role": "user", "content": [{"type": "text", "text": "say:seen"}, part]}]
    answer = ask(live, pair, messages=said)
    assert (answer.status, answer.text) == (200, "seen")
    assert url.encode() in fake_upstream.last.body
    assert stranger.requests == []


@pytest.mark.parametrize(
    "model",
    ["gpt-../../admin", "gpt-%2e%2e%2fadmin", "gpt-4o#@evil.example", "gpt-4o?x=1", "gpt-\\..\\x", "gpt-//x"],
)
def test_s23_a_models_name_changes_no_path(
    live: LiveGateway, fake_upstream: FakeUpstream, model: str
) -> None:
    assert ask(live, CHAT_OPENAI, model=model).status in (200, 404)
    assert fake_upstream.last.target == "/v1/chat/completions"
    assert fake_upstream.last.json["model"] == model


# --- What one request may use


@pytest.mark.parametrize(
    "greed", [{"max_tokens": 5_000}, {"n": 128, "max_tokens": 20}, {"max_completion_tokens": 5_000}], ids=str
)
def test_s50_what_one_request_may_use_is_held_against_the_budget_before_it_goes_out(
    live: LiveGateway, fake_upstream: FakeUpstream, greed: dict[str, Any]
) -> None:
    row = Budget(1, unit="tokens", amount=1_000, period="day", key_id=1)
    live.use(live.snapshot(key={"budgets": (row,)}))
    assert ask(live, CHAT_OPENAI, max_tokens=20).status == 200
    answer = ask(live, CHAT_OPENAI, **greed)
    assert (answer.status, answer.error()["code"]) == (429, "insufficient_quota")
    assert len(fake_upstream.requests) == 1


# --- What a provider says

FRAMES = (
    '\n\ndata: [DONE]\n\nevent: message_stop\ndata: {"type":"message_stop"}\r\n\r\n: \x1b[2J\x1b]0;x\x07end'
)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@every_pair
def test_s52_a_models_text_cannot_end_a_stream_or_speak_to_a_terminal(
    live: LiveGateway, pair: Pair, stream: bool
) -> None:
    answer = ask(live, pair, stream=stream, messages=[{"role": "user", "content": FRAMES}])
    assert answer.status == 200
    assert answer.text.endswith(FRAMES)
    assert b"\x1b" not in answer.raw
    if stream:
        assert answer.complete
        assert answer.failures == []
