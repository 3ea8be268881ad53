"""The same views where Django itself is the way in: the plain application, without the lean door."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from django.core.handlers.asgi import ASGIHandler
from django.test import override_settings

from apiv1.base import Services
from apiv1.tests.wire import Wire
from tests.support.fake_upstream import FakeUpstream
from tests.support.live_gateway import LiveGateway
from tests.support.surfaces import PAIRS, TEXT, Pair, address, ask, checked, request_body, send
from tests.support.upstream.script import Answer, Stall

LIMIT = 100_000


class DjangoWay:
    """Django's own handler with the services in the scope, as the application hands them in."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._handler = ASGIHandler()
        self.in_flight = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.in_flight += 1
        try:
            await self._handler({**scope, "state": {"services": self._services}}, receive, send)
        finally:
            self.in_flight -= 1


@pytest.fixture(scope="module")
def plain_server(fake_upstream_server: FakeUpstream) -> Iterator[LiveGateway]:
    with override_settings(
        ROOT_URLCONF="apiv1.urls", MIDDLEWARE=[], DATA_UPLOAD_MAX_MEMORY_SIZE=LIMIT, DEBUG=False
    ):
        gateway = LiveGateway(fake_upstream_server)
        gateway.door = DjangoWay(gateway.services)  # type: ignore[assignment]  # the other way in
        gateway.start()
        yield gateway
        gateway.stop()


@pytest.fixture
def plain(plain_server: LiveGateway, fake_upstream: FakeUpstream) -> Iterator[LiveGateway]:
    plain_server.forget()
    yield plain_server
    plain_server.idle()
    assert not plain_server.faults


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_a_call(plain: LiveGateway, pair: Pair, stream: bool) -> None:
    answer = ask(plain, pair, stream=stream)
    assert (answer.status, answer.text, answer.complete) == (200, TEXT, stream and answer.complete)
    assert answer.failures == []
    assert answer.header("cache-control") == ("no-cache, no-store" if stream else "no-store")
    assert answer.header("x-gateway-provider") == pair.kind
    record = plain.wait_record()
    assert (record.outcome, record.status) == ("ok", 200)


@pytest.mark.parametrize("pair", PAIRS[:4:3], ids=str)
def test_errors_are_the_same(plain: LiveGateway, pair: Pair) -> None:
    path = address(pair.surface)
    for headers, body, status in (
        ({}, b"{}", 401),
        ({"x-api-key": "wrong"}, b"{}", 401),
        ({"x-api-key": plain.key}, b"{", 400),
        ({"x-api-key": plain.key, "content-type": "text/plain"}, b"{}", 415),
        ({"x-api-key": plain.key}, b" " * (LIMIT + 1), 413),
    ):
        got, _, raw = send(plain, "POST", path, body, headers)
        assert got == status
        checked(pair.surface, orjson.loads(raw))
    got, pairs, raw = send(plain, "PUT", path)
    assert (got, dict(pairs)["allow"]) == (405, "POST")


@pytest.mark.parametrize("path", ["/v1/nothing", "/v1/v1/models", "/v1/chat/completions/"])
def test_unknown_addresses_ask_for_a_key_first(plain: LiveGateway, path: str) -> None:
    assert send(plain, "GET", path, headers={})[0] == 401
    status, _, raw = send(plain, "DELETE", path)
    assert (status, checked("chat", orjson.loads(raw))["code"]) == (404, "not_found")


def test_models_and_health(plain: LiveGateway) -> None:
    plain.use(plain.snapshot([plain.route("org/model:1", plain.provider("ollama"))]))
    for path in ("/v1/models/org/model:1", "/v1/models/org%2Fmodel%3A1"):
        status, _, raw = send(plain, "GET", path)
        assert (status, orjson.loads(raw)["id"]) == (200, "org/model:1")
    assert send(plain, "GET", "/health", headers={})[::2] == (200, b'{"status":"ok"}')
    assert send(plain, "HEAD", "/v1/models")[::2] == (200, b"")


def test_two_keys_are_two_keys_here_too(plain: LiveGateway) -> None:
    with Wire(plain) as wire:
        wire.head("GET", "/v1/models", [("x-api-key", "other")])
        assert wire.reply("GET").status == 400


@pytest.mark.parametrize("begun", [False, True], ids=["before", "within"])
@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_a_client_that_leaves_lets_the_provider_go(
    plain: LiveGateway, fake_upstream: FakeUpstream, pair: Pair, begun: bool
) -> None:
    fake_upstream.script("", [Answer(events=pair.leading + 5), Stall()] if begun else [Stall()])
    with Wire(plain) as wire:
        wire.post(address(pair.surface), orjson.dumps(request_body(pair, stream=True)))
        fake_upstream.wait_for(1)
        if begun:
            wire.until(b"rd2")
        left = time.monotonic()
    assert fake_upstream.wait_closed(fake_upstream.last)
    assert (fake_upstream.last.closed_at or 0) - left < 1
    record = plain.wait_record()
    assert (record.outcome, record.status) == ("client_gone", 499)
