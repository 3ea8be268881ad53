"""C7 to C15, C19, C22 and C23: requests that are refused at the door, before they cost anybody anything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from apiv1.tests.wire import Header, Reply, Wire
from tests.faults.trial import Trial, on
from tests.support.fake_upstream import FakeUpstream
from tests.support.live_gateway import LiveGateway
from tests.support.surfaces import (
    CHAT_OPENAI,
    MESSAGES_OPENAI,
    OTHER_PAIRS,
    address,
    checked,
    request_body,
)

CAP = 1_000_000
# One of each surface: none of them gets as far as a provider.
SURFACES = on((CHAT_OPENAI, MESSAGES_OPENAI, OTHER_PAIRS[3]))
GOOD = b'{"model":"gpt-4o","max_tokens":9,"messages":[{"role":"user","content":"count:9"}]'


@pytest.fixture
def narrow(fake_upstream: FakeUpstream) -> Iterator[LiveGateway]:
    """A gateway with a small cap on bodies."""
    running = LiveGateway(fake_upstream, max_body=CAP).start()
    yield running
    running.idle()
    running.stop()


def turned_away(live: LiveGateway, surface: str, reply: Reply, status: int, code: str) -> dict[str, Any]:
    """The reply is this refusal, counted once, and no call has come of it. The error."""
    assert reply.status == status
    error = checked(surface, reply.json)
    if surface != "messages":
        assert error["code"] == code
    assert reply.header("x-should-retry") == "false"
    refusal = live.refusals[-1]
    assert (refusal.surface, refusal.status, refusal.code) == (surface, status, code)
    assert reply.header("x-request-id") == reply.json["request_id"] == refusal.request_id
    assert live.records == []
    assert live.fake.requests == []
    labels = {"surface": surface, "route": "", "status": str(status), "code": code}
    counted = live.registry.get_sample_value("gateway_requests_total", labels) or 0
    assert counted >= Counter((r.surface, r.status, r.code) for r in live.refusals)[(surface, status, code)]
    live.idle()
    return error


def sent(trial: Trial, body: bytes, *headers: Header) -> Reply:
    with Wire(trial.live) as wire:
        wire.post(address(trial.pair.surface), body, headers)
        return wire.reply()


@pytest.mark.parametrize("surface", ["chat", "messages", "responses"])
@pytest.mark.parametrize("waits", [False, True], ids=["sends", "asks-first"])
def test_c07_a_body_over_the_cap(narrow: LiveGateway, surface: str, waits: bool) -> None:
    with Wire(narrow) as wire:
        ask = [("expect", "100-continue")] if waits else []
        wire.head("POST", address(surface), [("content-length", "99999999999"), *ask])
        # The refusal is the first that comes: the client is not told to go on.
        reply = wire.reply()
        turned_away(narrow, surface, reply, 413, "request_too_large")
        assert reply.header("connection") == "close"
        assert wire.closed()


@pytest.mark.parametrize("surface", ["chat", "messages", "responses"])
def test_c08_chunks_over_the_cap(narrow: LiveGateway, surface: str) -> None:
    with Wire(narrow) as wire:
        wire.head("POST", address(surface), [("transfer-encoding", "chunked")])
        for _ in range(CAP // 50_000 + 1):
            wire.chunk(b" " * 50_000)
        reply = wire.reply()
        turned_away(narrow, surface, reply, 413, "request_too_large")
        assert reply.header("connection") == "close"
        assert wire.closed()


BAD_JSON = {
    "c09": [b"", b"  \n", GOOD, b"canary=1", b"[]", b"null", b"1", b'"canary"', GOOD + b"}{}"],
    "c11": [GOOD.replace(b"count", b"\\ud83d") + b"}"],
    "c12": [
        b'{"model":"gpt-4o","messages":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        GOOD + b',"tools":[' + b'{"a":' * 1000 + b"1" + b"}" * 1000 + b"]}",
    ],
    "c13": [
        GOOD + b"," + field + b"}"
        for field in (b'"temperature":NaN', b'"temperature":-Infinity', b'"temperature":1e999',
                      b'"seed":' + b"9" * 5000, b'"model":"gpt-4o-mini"', b'"x":[{"a":1,"a":2}]')
    ],
}  # fmt: skip


def _refuses_json(trial: Trial, row: str, code: str = "invalid_json") -> None:
    for body in BAD_JSON[row]:
        reply = sent(trial, body)
        turned_away(trial.live, trial.pair.surface, reply, 400, code)
        # It says where, and never what.
        assert b"canary" not in reply.body


@SURFACES
def test_c09_no_json_object(trial: Trial) -> None:
    _refuses_json(trial, "c09")


@SURFACES
def test_c10_not_utf_8(trial: Trial) -> None:
    whole = GOOD + b"}"
    for body in (whole.replace(b"count", b"co\xff\xfeunt"), whole.decode().encode("utf-16")):
        turned_away(trial.live, trial.pair.surface, sent(trial, body), 400, "invalid_encoding")
    trial.alone()
    body = b"\xef\xbb\xbf" + orjson.dumps(request_body(trial.pair, stream=trial.stream))
    assert sent(trial, body).status == 200, "a byte order mark is no fault"


@SURFACES
def test_c11_a_lone_surrogate(trial: Trial) -> None:
    _refuses_json(trial, "c11")


@SURFACES
def test_c12_too_deep(trial: Trial) -> None:
    _refuses_json(trial, "c12")


@SURFACES
def test_c13_numbers_and_keys_that_have_no_one_meaning(trial: Trial) -> None:
    _refuses_json(trial, "c13")


@SURFACES
@pytest.mark.parametrize(
    "media", ["text/plain", "multipart/form-data; boundary=x", "application/json; charset=latin-1"]
)
def test_c14_not_json_by_its_own_word(trial: Trial, media: str) -> None:
    with Wire(trial.live) as wire:
        body = GOOD + b"}"
        head = [("content-length", str(len(body))), ("content-type", media)]
        wire.head("POST", address(trial.pair.surface), head)
        wire.write(body)
        turned_away(trial.live, trial.pair.surface, wire.reply(), 415, "unsupported_media_type")


@SURFACES
def test_c14_without_a_word_it_is_json(trial: Trial) -> None:
    trial.alone()
    with Wire(trial.live) as wire:
        body = orjson.dumps(request_body(trial.pair, stream=trial.stream))
        wire.head("POST", address(trial.pair.surface), [("content-length", str(len(body)))])
        wire.write(body)
        assert wire.reply().status == 200


@SURFACES
@pytest.mark.parametrize("encoding", ["gzip", "br"])
def test_c15_a_compressed_request(trial: Trial, encoding: str) -> None:
    reply = sent(trial, GOOD + b"}", ("content-encoding", encoding))
    turned_away(trial.live, trial.pair.surface, reply, 415, "unsupported_media_type")


@SURFACES
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS", "HEAD"])
def test_c19_a_wrong_method(trial: Trial, method: str) -> None:
    """OPTIONS too: pages of other origins are told nothing that would let them in."""
    with Wire(trial.live) as wire:
        wire.head(method, address(trial.pair.surface), [("origin", "https://elsewhere.example")])
        reply = wire.reply(method)
    assert (reply.status, reply.header("allow")) == (405, "POST")
    assert reply.header("access-control-allow-origin") is None
    if method != "HEAD":
        turned_away(trial.live, trial.pair.surface, reply, 405, "method_not_allowed")


@SURFACES
@pytest.mark.parametrize(
    ("field", "code"),
    [
        ('"stream":"yes"', "invalid_type"),
        ('"stream":1', "invalid_type"),
        ('"model":5', "invalid_type"),
        ('"model":null', "missing_required_parameter"),
    ],
)
def test_c22_a_field_of_the_wrong_type(trial: Trial, field: str, code: str) -> None:
    asked = request_body(trial.pair)
    name = field.partition('"')[2].partition('"')[0]
    asked.pop(name, None)
    body = orjson.dumps(asked)[:-1] + b"," + field.encode() + b"}"
    if trial.pair.surface == "messages":
        code = "invalid_value"
    error = turned_away(trial.live, trial.pair.surface, sent(trial, body), 400, code)
    assert name in error["message"]


@on((CHAT_OPENAI,))
@pytest.mark.parametrize(
    "field", [{"n": 100_000}, {"max_tokens": 1_000_000_000}, {"no_such_field": 1}], ids=str
)
def test_c22_what_the_provider_judges(trial: Trial, field: dict[str, Any]) -> None:
    """A limit of a model's is the provider's to know. What would cost is reserved first, and is too much."""
    trial.alone()
    body = request_body(trial.pair, stream=trial.stream) | field
    reply = sent(trial, orjson.dumps(body))
    assert reply.status in (400, 429)
    assert checked(trial.pair.surface, reply.json)["message"]
    assert trial.live.wait_record().usage is None


@SURFACES
def test_c23_an_idempotency_key_is_the_providers(trial: Trial) -> None:
    """The gateway keeps no results by it: two calls are two calls. Where the provider knows such keys, it is
    sent on."""
    trial.alone()
    body = orjson.dumps(request_body(trial.pair, stream=trial.stream))
    for _ in range(2):
        assert sent(trial, body, ("idempotency-key", "same")).status == 200
    assert [request.header("idempotency-key") for request in trial.fake.requests] == ["same", "same"]
    trial.live.wait_record(2)
