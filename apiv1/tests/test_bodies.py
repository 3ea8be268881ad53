"""What the door does with bodies: too large, too slow, no JSON, or JSON that two readers read differently."""

from __future__ import annotations

import time
from collections.abc import Iterator

import orjson
import pytest

from apiv1.tests.wire import Wire
from tests.support.fake_upstream import FakeUpstream
from tests.support.live_gateway import LiveGateway
from tests.support.surfaces import CHAT_OPENAI, address, checked, request_body

SURFACES = ["chat", "messages"]
# Small, so that tests of the cap are quick.
CAP = 200_000
GOOD = orjson.dumps(request_body(CHAT_OPENAI))


@pytest.fixture(scope="module")
def narrow(fake_upstream_server: FakeUpstream) -> Iterator[LiveGateway]:
    """A door with a small cap and little patience."""
    gateway = LiveGateway(fake_upstream_server, max_body=CAP, body_seconds=0.3).start()
    yield gateway
    gateway.idle()
    gateway.stop()
    assert not gateway.faults


def padded(size: int) -> bytes:
    """A good body of this many bytes."""
    return GOOD[:-1] + b" " * (size - len(GOOD)) + b"}"


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("length", [str(CAP + 1), "99999999999", "9" * 40])
def test_c7_an_announced_length_over_the_cap_is_refused_before_the_body(
    narrow: LiveGateway, length: str, surface: str
) -> None:
    with Wire(narrow) as wire:
        wire.head("POST", address(surface), [("content-length", length)])
        if length == "9" * 40:
            # More than the server's parser can count.
            assert wire.reply().status in (400, 413)
            return
        reply = wire.reply()
        assert reply.status == 413
        error = checked(surface, reply.json)
        assert error["type"] == ("request_too_large" if surface == "messages" else "invalid_request_error")
        assert reply.header("connection") == "close"
    narrow.idle()


def test_c7_a_body_at_the_cap_is_taken(narrow: LiveGateway, fake_upstream: FakeUpstream) -> None:
    with Wire(narrow) as wire:
        wire.post(address("chat"), padded(CAP))
        assert wire.reply().status == 200
        wire.post(address("chat"), padded(CAP + 1))
        assert wire.reply().status == 413


@pytest.mark.parametrize("surface", SURFACES)
def test_c8_a_chunked_body_is_refused_at_the_cap(narrow: LiveGateway, surface: str) -> None:
    with Wire(narrow) as wire:
        wire.head("POST", address(surface), [("transfer-encoding", "chunked")])
        for _ in range(CAP // 50_000 + 1):
            wire.chunk(b" " * 50_000)
        reply = wire.reply()
        assert (reply.status, reply.header("connection")) == (413, "close")
        checked(surface, reply.json)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_client_that_sends_all_before_it_reads_sees_why_it_was_refused(
    narrow: LiveGateway, chunked: bool
) -> None:
    """Closing at once would answer what is still under way with a reset, and the reply would be lost."""
    body = b" " * 8_000_000
    with Wire(narrow) as wire:
        if chunked:
            wire.head("POST", address("chat"), [("transfer-encoding", "chunked")])
            for at in range(0, len(body), 100_000):
                wire.chunk(body[at : at + 100_000])
            wire.chunk(b"")
        else:
            wire.post(address("chat"), body)
        assert wire.reply().status == 413
        assert wire.closed()


def test_a_refused_body_is_not_waited_for_in_vain(narrow: LiveGateway) -> None:
    """Nor is the connection kept for a client that sends no more."""
    with Wire(narrow) as wire:
        wire.head("POST", address("chat"), [("content-length", "100")], key=False)
        assert wire.reply().status == 401
        assert wire.closed()


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("sent", [b"", b'{"model":'])
def test_c16_a_slow_body_is_given_up(narrow: LiveGateway, sent: bytes, surface: str) -> None:
    with Wire(narrow) as wire:
        wire.head("POST", address(surface), [("content-length", "100")])
        wire.write(sent)
        reply = wire.reply()
        assert (reply.status, reply.header("x-should-retry")) == (408, "true")
        checked(surface, reply.json)


def test_c16_a_dripping_body_does_not_buy_time(narrow: LiveGateway) -> None:
    with Wire(narrow) as wire:
        wire.head("POST", address("chat"), [("content-length", "1000")])
        end = time.monotonic() + 5
        wire.socket.settimeout(0.02)
        answer = b""
        while not answer and time.monotonic() < end:
            wire.write(b" ")
            try:
                answer = wire.socket.recv(65536)
            except TimeoutError:
                continue
        assert answer.startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize(
    ("headers", "status"),
    [([("content-length", "99999999")], 413), ([("content-length", "10"), ("x-api-key", "wrong")], 401)],
)
def test_c18_nobody_is_asked_to_go_on_who_will_be_refused(
    narrow: LiveGateway, headers: list[tuple[str, str]], status: int
) -> None:
    with Wire(narrow) as wire:
        wire.head("POST", address("chat"), [("expect", "100-continue"), *headers], key=status == 413)
        answer = wire.until(b"}")
        assert answer.startswith(b"HTTP/1.1 %d " % status)
        assert wire.closed()


def test_c18_who_is_welcome_is_asked_to_go_on(live: LiveGateway) -> None:
    with Wire(live) as wire:
        wire.head("POST", address("chat"), [("expect", "100-continue"), ("content-length", str(len(GOOD)))])
        assert wire.until(b"\r\n\r\n").startswith(b"HTTP/1.1 100 ")
        wire.write(GOOD)
        assert wire.reply().status == 200


DEEP = b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
DEEP_TOOLS = GOOD[:-1] + b',"tools":[' + b'{"a":' * 1000 + b"1" + b"}" * 1000 + b"]}"
BODIES = {
    "C9-empty": (b"", "invalid_json"),
    "C9-spaces": (b"  \n", "invalid_json"),
    "C9-cut": (GOOD[:-3], "invalid_json"),
    "C9-no-json": (b"model=gpt-4o&secret-canary=1", "invalid_json"),
    "C9-list": (b"[]", "invalid_json"),
    "C9-null": (b"null", "invalid_json"),
    "C9-number": (b"1", "invalid_json"),
    "C9-string": (b'"secret-canary"', "invalid_json"),
    "C9-two-objects": (GOOD + GOOD, "invalid_json"),
    "C10-bad-utf-8": (GOOD.replace(b"count", b"co\xff\xfeunt"), "invalid_encoding"),
    "C10-utf-16": (GOOD.decode().encode("utf-16"), "invalid_encoding"),
    "C11-lone-surrogate": (GOOD.replace(b"count", b"\\ud83d"), "invalid_json"),
    "C12-depth-100000": (DEEP, "invalid_json"),
    "C12-depth-1000-in-tools": (DEEP_TOOLS, "invalid_json"),
    "C13-nan": (GOOD[:-1] + b',"temperature":NaN}', "invalid_json"),
    "C13-infinity": (GOOD[:-1] + b',"temperature":-Infinity}', "invalid_json"),
    "C13-1e999": (GOOD[:-1] + b',"temperature":1e999}', "invalid_json"),
    "C13-5000-digits": (GOOD[:-1] + b',"seed":' + b"9" * 5000 + b"}", "invalid_json"),
    "C13-same-key-twice": (GOOD[:-1] + b',"model":"gpt-4o-mini"}', "invalid_json"),
    "C13-same-key-twice-within": (GOOD[:-1] + b',"x":[{"a":1,"a":2}]}', "invalid_json"),
}


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("name", BODIES)
def test_a_body_that_is_not_clear_is_a_400(
    live: LiveGateway, fake_upstream: FakeUpstream, name: str, surface: str
) -> None:
    body, code = BODIES[name]
    with Wire(live) as wire:
        wire.post(address(surface), body)
        reply = wire.reply()
        assert reply.status == 400
        error = checked(surface, reply.json)
        if surface == "chat":
            assert (error["type"], error["code"]) == ("invalid_request_error", code)
        # It says where, and never what.
        assert b"canary" not in reply.body
        # The body was read: the connection serves on.
        wire.post(address("chat"), GOOD)
        assert wire.reply().status == 200
    assert len(fake_upstream.requests) == 1
    assert [(r.surface, r.status, r.code) for r in live.refusals] == [(surface, 400, code)]


def test_c10_a_byte_order_mark_is_no_fault(live: LiveGateway, fake_upstream: FakeUpstream) -> None:
    with Wire(live) as wire:
        wire.post(address("chat"), b"\xef\xbb\xbf" + GOOD)
        assert wire.reply().status == 200
    assert fake_upstream.last.body == GOOD


MEDIA = [
    pytest.param([], 200, id="none"),
    pytest.param([("content-type", "application/json; charset=UTF-8")], 200, id="utf-8"),
    pytest.param([("content-type", 'application/json;charset="utf-8"')], 200, id="utf-8-quoted"),
    pytest.param([("content-type", "application/vnd.api+json")], 200, id="vendor"),
    pytest.param([("content-encoding", "identity")], 200, id="identity"),
    pytest.param([("content-type", "text/plain")], 415, id="C14-text"),
    pytest.param([("content-type", "application/x-www-form-urlencoded")], 415, id="C14-form"),
    pytest.param([("content-type", "multipart/form-data; boundary=x")], 415, id="C14-multipart"),
    pytest.param([("content-type", "application/json; charset=latin-1")], 415, id="C14-charset"),
    pytest.param([("content-type", "application/jsonx")], 415, id="C14-nearly"),
    pytest.param([("content-encoding", "gzip")], 415, id="C15-gzip"),
    pytest.param([("content-encoding", "br")], 415, id="C15-br"),
    pytest.param(
        [("content-type", "application/json"), ("content-type", "text/plain")], 400, id="C14-two-types"
    ),
    pytest.param(
        [("content-encoding", "identity"), ("content-encoding", "gzip")], 400, id="C15-two-encodings"
    ),
]


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize(("headers", "status"), MEDIA)
def test_only_plain_json_is_taken(
    live: LiveGateway, headers: list[tuple[str, str]], status: int, surface: str
) -> None:
    body = orjson.dumps(request_body(CHAT_OPENAI) | {"max_tokens": 50})
    with Wire(live) as wire:
        wire.head("POST", address(surface), [("content-length", str(len(body))), *headers])
        wire.write(body)
        reply = wire.reply()
    assert reply.status == status
    if status != 200:
        checked(surface, reply.json)


FIELDS = [
    ({"model": 5}, "model"),
    ({"model": None}, "model"),
    ({"model": "m" * 257}, "model"),
    ({"messages": "hi"}, "messages"),
    ({"messages": []}, "messages"),
    ({"messages": [5]}, "messages"),
    ({"messages": [{"role": 7, "content": "x"}]}, "messages"),
    ({"messages": [{"role": "user", "content": 5}]}, "messages"),
    ({"stream": "yes"}, "stream"),
    ({"stream": 1}, "stream"),
    ({"max_tokens": "many"}, "max_tokens"),
    ({"max_tokens": -1}, "max_tokens"),
    ({"tools": {}}, "tools"),
    ({"tools": [1]}, "tools"),
]


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize(("change", "named"), FIELDS, ids=str)
def test_c22_a_field_of_the_wrong_type_is_named(
    live: LiveGateway, fake_upstream: FakeUpstream, change: dict[str, object], named: str, surface: str
) -> None:
    body = request_body(CHAT_OPENAI) | {"max_tokens": 50} | change
    with Wire(live) as wire:
        wire.post(address(surface), orjson.dumps(body))
        reply = wire.reply()
    assert reply.status == 400
    error = checked(surface, reply.json)
    assert named in error["message"]
    if surface == "chat":
        assert str(error["param"]).startswith(named)
    assert fake_upstream.requests == []


def test_c22_unknown_fields_are_the_providers_to_judge(
    live: LiveGateway, fake_upstream: FakeUpstream
) -> None:
    with Wire(live) as wire:
        wire.post(address("chat"), orjson.dumps(request_body(CHAT_OPENAI) | {"no_such_field": 1}))
        reply = wire.reply()
    # The fake refuses it as OpenAI does, and that reaches the client with its status.
    assert reply.status == 400
    assert "no_such_field" in checked("chat", reply.json)["message"]
    assert fake_upstream.last.refusal
