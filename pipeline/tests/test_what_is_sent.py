"""What reaches a provider: the client's bytes but for what must differ, our credential, no other header."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest

from dialects.types import ModelFacts
from pipeline.tests import faults
from routing.snapshot import CatalogueModel, Credential, Target
from tests.support.fake_upstream import FakeUpstream
from tests.support.live_gateway import LiveGateway
from tests.support.surfaces import (
    CHAT_ANTHROPIC,
    CHAT_OPENAI,
    MESSAGES_ANTHROPIC,
    MESSAGES_OPENAI,
    PAIRS,
    TEXT,
    Pair,
    address,
    ask,
    send,
)
from tests.support.upstream.script import Answer

# With spaces, an odd order, a float that would be written differently, and escapes that would be undone.
ODD_BODY = (
    b'{ "stream" : false, "model":"gpt-4o",\n "temperature": 1.0,'
    b' "messages": [ {"role":"user", "content":"caf\\u00e9 \\/ count:9"} ], "max_tokens": 500 }'
)
CLIENT_SECRETS = {
    "cookie": "session=canary-a",
    "x-goog-api-key": "canary-b",
    "api-key": "canary-c",
    "proxy-authorization": "Basic canary-d",
    "forwarded": "for=canary-e",
    "x-forwarded-for": "10.9.8.7",
    "x-forwarded-host": "canary-f.example",
    "x-real-ip": "10.9.8.7",
    "x-gateway-team": "canary-g",
    "te": "trailers",
    "openai-organization": "canary-h",
    "user-agent": "canary-i",
    "origin": "https://canary-j.example",
    "referer": "https://canary-k.example",
}
UPSTREAM_HEADERS = {
    "set-cookie": "canary-l=1",
    "server": "canary-m",
    "openai-organization": "canary-n",
    "access-control-allow-origin": "*",
    "location": "http://canary-o.example",
    "strict-transport-security": "max-age=canary-p",
    "x-request-id": "req-of-the-provider",
    "x-should-retry": "canary-q",
    "cache-control": "public, canary-r",
    "alt-svc": "canary-s",
}


def test_the_same_dialect_is_sent_byte_for_byte(live: LiveGateway, fake: FakeUpstream) -> None:
    status, _, _ = send(live, "POST", address("chat"), ODD_BODY, {"x-api-key": live.key})
    assert status == 200
    assert fake.last.body == ODD_BODY


def test_another_upstream_model_changes_that_value_alone(live: LiveGateway, fake: FakeUpstream) -> None:
    target = Target(id=1, provider=live.provider("openai"), upstream_model="gpt-4o-mini")
    live.use(live.snapshot([live.route("gpt-4o", target)]))
    status, _, _ = send(live, "POST", address("chat"), ODD_BODY, {"x-api-key": live.key})
    assert status == 200
    assert fake.last.json == orjson.loads(ODD_BODY) | {"model": "gpt-4o-mini"}
    # Values keep their bytes: neither the escapes nor the float are written anew.
    assert b'"caf\\u00e9 \\/ count:9"' in fake.last.body
    assert b'"temperature":1.0' in fake.last.body.replace(b" ", b"")
    record = live.wait_record()
    assert (record.model, record.upstream_model) == ("gpt-4o", "gpt-4o-mini")


def test_usage_of_a_stream_is_asked_for_without_losing_other_options(
    live: LiveGateway, fake: FakeUpstream
) -> None:
    ask(live, CHAT_OPENAI, stream=True, stream_options={"include_obfuscation": False})
    assert fake.last.json["stream_options"] == {"include_obfuscation": False, "include_usage": True}


def test_a_kind_that_knows_no_usage_option_is_not_asked(live: LiveGateway, fake: FakeUpstream) -> None:
    provider = live.provider("openai_compatible")
    quiet = replace(provider, kind=replace(provider.kind, stream_usage=False))
    live.use(live.snapshot([live.route("*", quiet)]))
    answer = ask(live, CHAT_OPENAI, stream=True)
    assert answer.text == TEXT
    assert "stream_options" not in fake.last.json
    usage = live.wait_record().usage
    assert usage is not None
    assert usage.source == "estimated"


PATCHES: list[Any] = [
    pytest.param({"temperature": 0.5}, {"temperature": 0.5}, id="sets"),
    pytest.param({"top_p": None}, {}, id="removes"),
    pytest.param({"metadata": {"a": "1"}}, {"metadata": {"a": "1", "own": "2"}}, id="merges"),
    pytest.param({"metadata": {"own": None, "a": "1"}}, {"metadata": {"a": "1"}}, id="removes-within"),
    pytest.param({"stop": ["x"]}, {"stop": ["x"]}, id="replaces-lists"),
]


@pytest.mark.parametrize(("patch", "expected"), PATCHES)
def test_a_body_patch_in_the_same_dialect(
    live: LiveGateway, fake: FakeUpstream, patch: dict[str, Any], expected: dict[str, Any]
) -> None:
    target = Target(id=1, provider=live.provider("openai"), body_patch=patch)
    live.use(live.snapshot([live.route("*", target)]))
    own: dict[str, Any] = {"top_p": 0.9, "metadata": {"own": "2"}, "stop": "y", "store": True}
    assert ask(live, CHAT_OPENAI, **own).status == 200
    sent = fake.last.json
    for name in patch:
        assert sent.get(name) == expected.get(name)
        assert (name in sent) == (name in expected)
    assert sent["store"] is True
    assert sent["messages"][0]["content"] == "count:9"


def test_a_body_patch_keeps_the_usage_option(live: LiveGateway, fake: FakeUpstream) -> None:
    patch = {"stream_options": {"include_obfuscation": False}}
    target = Target(id=1, provider=live.provider("openai"), body_patch=patch)
    live.use(live.snapshot([live.route("*", target)]))
    answer = ask(live, CHAT_OPENAI, stream=True)
    assert answer.text == TEXT
    assert fake.last.json["stream_options"] == {"include_obfuscation": False, "include_usage": True}


@pytest.mark.parametrize("pair", [CHAT_ANTHROPIC, MESSAGES_OPENAI], ids=str)
def test_a_body_patch_after_translation(live: LiveGateway, fake: FakeUpstream, pair: Pair) -> None:
    patch = {"temperature": 0.25, "metadata": {"user_id": "u-1"} if pair is CHAT_ANTHROPIC else {"k": "v"}}
    target = Target(id=1, provider=live.provider(pair.kind), body_patch=patch)
    live.use(live.snapshot([live.route("*", target)]))
    assert ask(live, pair, temperature=0.75).text == TEXT
    assert fake.last.json["temperature"] == 0.25
    assert fake.last.json["metadata"] == patch["metadata"]


def test_the_catalogue_fills_what_the_providers_dialect_needs(live: LiveGateway, fake: FakeUpstream) -> None:
    facts = ModelFacts(name="claude-opus-4-5", max_output_tokens=321)
    catalogue = {("anthropic", "claude-opus-4-5"): CatalogueModel("anthropic", facts)}
    live.use(live.snapshot(catalogue=catalogue))
    assert ask(live, CHAT_ANTHROPIC).text == TEXT
    assert fake.last.json["max_tokens"] == 321


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_s12_no_header_of_the_client_reaches_a_provider(
    live: LiveGateway, fake: FakeUpstream, pair: Pair, stream: bool
) -> None:
    headers = {"authorization": f"Bearer {live.key}", "x-api-key": live.key, **CLIENT_SECRETS}
    assert ask(live, pair, stream=stream, headers=headers).status == 200
    sent = {name.lower(): value for name, value in fake.last.headers}
    assert "canary" not in repr(sent)
    assert "10.9.8.7" not in repr(sent)
    assert live.key not in repr(sent)
    allowed = {"host", "content-length", "content-type", "accept", "accept-encoding", "user-agent"}
    allowed |= {"authorization"} if pair.upstream == "chat" else set()
    allowed |= {"x-api-key", "anthropic-version"} if pair.upstream == "messages" else set()
    assert set(sent) == allowed


@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_s12_nor_the_gateways_key_where_the_provider_has_no_credential(
    live: LiveGateway, fake: FakeUpstream, pair: Pair
) -> None:
    provider = live.provider(pair.kind, credentials=())
    provider = replace(provider, kind=replace(provider.kind, needs_credential=False))
    live.use(live.snapshot([live.route("*", provider)]))
    headers = {"authorization": f"Bearer {live.key}", "x-api-key": live.key}
    ask(live, pair, headers=headers)
    assert fake.last.header("authorization") is None
    assert fake.last.header("x-api-key") is None


def test_s15_forwarded_headers_travel_only_in_the_same_dialect(live: LiveGateway, fake: FakeUpstream) -> None:
    headers = {
        "x-api-key": live.key,
        "anthropic-version": "2023-06-01",
        "anthropic-beta": "token-counting-2024-11-01",
        "openai-beta": "assistants=v2",
        "idempotency-key": "once",
    }
    ask(live, MESSAGES_ANTHROPIC, headers=headers)
    assert fake.last.header("anthropic-beta") == "token-counting-2024-11-01"
    assert fake.last.header("idempotency-key") == "once"
    assert fake.last.header("openai-beta") is None
    ask(live, CHAT_OPENAI, headers=headers)
    assert fake.last.header("openai-beta") == "assistants=v2"
    assert fake.last.header("anthropic-beta") is None
    for pair in (MESSAGES_OPENAI, CHAT_ANTHROPIC):
        ask(live, pair, headers=headers)
        assert not {"openai-beta", "anthropic-beta"} & {n for n, _ in fake.last.headers}
        assert fake.last.header("idempotency-key") == "once"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_s14_no_header_of_the_provider_reaches_the_client(
    live: LiveGateway, fake: FakeUpstream, pair: Pair, stream: bool
) -> None:
    fake.script("", [Answer(headers=UPSTREAM_HEADERS)])
    answer = ask(live, pair, stream=stream)
    assert answer.text == TEXT
    ours = {
        "content-type", "cache-control", "x-content-type-options", "x-request-id", "request-id",
        "x-gateway-provider", "x-upstream-request-id", "x-gateway-dropped", "x-accel-buffering",
        "content-length", "transfer-encoding", "date", "server",
    }  # fmt: skip
    assert {name.lower() for name, _ in answer.headers} <= ours
    assert "canary" not in repr(answer.headers)
    assert answer.header("cache-control") == ("no-cache, no-store" if stream else "no-store")
    assert answer.header("x-upstream-request-id") is not None
    request_id = answer.header("x-request-id") or ""
    assert request_id.startswith("req_")
    assert request_id != "req-of-the-provider"


def test_one_of_several_credentials_is_used(live: LiveGateway, fake: FakeUpstream) -> None:
    keys = [Credential(number, "", "", f"sk-test-{number}") for number in range(3)]
    faults.alone(live, CHAT_OPENAI, credentials=tuple(keys))
    used = set()
    for _ in range(40):
        ask(live, CHAT_OPENAI)
        used.add(fake.last.header("authorization"))
    assert used == {f"Bearer sk-test-{number}" for number in range(3)}


def test_what_a_first_target_dropped_is_not_said_of_the_second(live: LiveGateway, fake: FakeUpstream) -> None:
    provider = live.provider("anthropic", base_url=fake.named("first"))
    first = Target(id=1, provider=provider, upstream_model="claude-opus-4-5")
    second = Target(id=2, provider=live.provider("openai"), tier=1)
    live.use(live.snapshot([live.route("*", first, second)]))
    faults.answers(fake, CHAT_ANTHROPIC, faults.whole_error(500), at="first")
    answer = ask(live, CHAT_OPENAI, seed=3, frequency_penalty=0.5)
    assert answer.text == TEXT
    assert answer.header("x-gateway-dropped") is None
    assert live.wait_record().dropped == []
