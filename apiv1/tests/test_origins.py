"""Pages of other origins: those that are listed may call, streams and errors too, others told nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from apiv1.door import Door
from apiv1.origins import Origins
from apiv1.tests.wire import Header, Reply, Wire
from apiv1.urls import EXACT, PREFIXES
from tests.support.fake_upstream import FakeUpstream
from tests.support.live_gateway import LiveGateway

CHAT = "/v1/chat/completions"
APP = "https://app.example.com"
ASKED: list[Header] = [
    ("access-control-request-method", "POST"),
    ("access-control-request-headers", "authorization,content-type,x-stainless-lang"),
]
BODY = b'{"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]'


@pytest.fixture(scope="module")
def gateway(fake_upstream_server: FakeUpstream) -> Iterator[LiveGateway]:
    made = LiveGateway(fake_upstream_server)
    origins = Origins([APP, "http://localhost:3000"])
    made.door = Door(replace(made.services, origins=origins), EXACT, PREFIXES)
    made.start()
    yield made
    made.stop()


def preflight(gateway: LiveGateway, path: str = CHAT, *headers: Header) -> Reply:
    with Wire(gateway) as wire:
        wire.head("OPTIONS", path, headers)
        return wire.reply("OPTIONS")


def posted(gateway: LiveGateway, end: bytes, *headers: Header) -> Reply:
    with Wire(gateway) as wire:
        wire.post(CHAT, BODY + end, headers)
        return wire.reply()


@pytest.mark.parametrize("origin", [APP, "http://localhost:3000"])
def test_a_listed_page_is_told_what_it_may_send(gateway: LiveGateway, origin: str) -> None:
    reply = preflight(gateway, CHAT, ("origin", origin), *ASKED)
    assert (reply.status, reply.body) == (204, b"")
    assert reply.header("access-control-allow-origin") == origin
    assert reply.header("access-control-allow-methods") == "POST"
    assert reply.header("access-control-allow-headers") == ASKED[1][1]
    assert reply.header("vary") == "origin"
    assert reply.header("access-control-allow-credentials") is None
    assert reply.header("content-length") is None


def test_each_address_says_its_own_methods(gateway: LiveGateway) -> None:
    reply = preflight(gateway, "/v1/models", ("origin", APP), *ASKED)
    assert reply.header("access-control-allow-methods") == "HEAD, GET"
    assert preflight(gateway, "/v1/files/file_1", ("origin", APP), *ASKED).status == 204


@pytest.mark.parametrize(
    "headers",
    [
        [("origin", "https://elsewhere.example"), *ASKED],
        [("origin", "null"), *ASKED],
        [("origin", APP + ".elsewhere.example"), *ASKED],
        [("origin", APP.upper()), *ASKED],
        [("origin", APP), ("origin", "https://elsewhere.example"), *ASKED],
        ASKED,
    ],
    ids=["another", "null", "longer", "upper", "twice", "none"],
)
def test_other_pages_are_told_nothing(gateway: LiveGateway, headers: list[Header]) -> None:
    reply = preflight(gateway, CHAT, *headers)
    assert reply.status in (401, 405)
    assert not [name for name, _ in reply.headers if name.lower().startswith("access-control")]
    assert reply.header("vary") == "origin"


def test_names_of_headers_that_are_none_are_not_repeated(gateway: LiveGateway) -> None:
    odd = [("access-control-request-method", "POST"), ("access-control-request-headers", 'x"y<z>')]
    reply = preflight(gateway, CHAT, ("origin", APP), *odd)
    assert reply.status == 204
    assert reply.header("access-control-allow-headers") is None


def test_options_that_ask_nothing_are_another_method(gateway: LiveGateway) -> None:
    reply = preflight(gateway, CHAT, ("origin", APP), ("authorization", f"Bearer {gateway.key}"))
    assert (reply.status, reply.header("allow")) == (405, "POST")


@pytest.mark.parametrize(
    ("end", "status"),
    [(b"}", 200), (b', "stream": true}', 200), (b', "stream": "yes"}', 400), (b"", 400)],
    ids=["whole", "stream", "error", "no JSON"],
)
def test_every_reply_to_a_listed_page_may_be_read_by_it(
    gateway: LiveGateway, end: bytes, status: int
) -> None:
    reply = posted(gateway, end, ("origin", APP))
    assert reply.status == status
    assert reply.header("access-control-allow-origin") == APP
    assert reply.header("access-control-expose-headers") == "*"
    assert reply.header("vary") == "origin"
    other = posted(gateway, end, ("origin", "https://elsewhere.example"))
    assert (other.status, other.header("access-control-allow-origin")) == (status, None)


def test_a_page_needs_a_key_like_everybody(gateway: LiveGateway) -> None:
    with Wire(gateway) as wire:
        wire.head("GET", "/v1/models", [("origin", APP)], key=False)
        reply = wire.reply("GET")
    assert (reply.status, reply.header("access-control-allow-origin")) == (401, APP)
