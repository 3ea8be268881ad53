"""Exceptions that nobody expected, and servers that fail: answered, told to the operators, and closed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from typing import Any

import orjson
import pytest

from apiv1.base import GatewayView, Visit
from apiv1.door import Door, Message
from apiv1.urls import EXACT, PREFIXES
from pipeline.call import Call, Record, Reply
from tests.support.fake_upstream import FakeUpstream
from tests.support.live_gateway import LiveGateway
from tests.support.surfaces import CHAT_OPENAI, MESSAGES_OPENAI, Pair, ask, checked, request_body, send
from tests.support.upstream.script import Answer, Stall

SECRET = "secret-in-an-exception"


class Broken:
    """A stage that fails as only a bug can: at once, or within the body."""

    def __init__(self, inner: Callable[[Call], Awaitable[Reply]]) -> None:
        self._inner = inner
        self.where = ""

    async def __call__(self, call: Call) -> Reply:
        if self.where == "before":
            raise ValueError(SECRET)
        reply = await self._inner(call)
        if self.where == "after":
            raise KeyError(SECRET)
        if self.where == "within" and not isinstance(reply.body, bytes):
            reply.body = Breaking(reply.body)
        return reply


class Breaking:
    """A body that fails after its first piece."""

    def __init__(self, body: Any) -> None:
        self._body = body
        self._taken = 0

    def __aiter__(self) -> Breaking:
        return self

    async def __anext__(self) -> bytes:
        self._taken += 1
        if self._taken > 1:
            raise RuntimeError(SECRET)
        return bytes(await anext(self._body))

    async def aclose(self) -> None:
        await self._body.aclose()


class BrokenView(GatewayView):
    """An endpoint with a bug of its own."""

    surface = "broken"

    async def get(self, visit: Visit) -> Reply:
        raise ZeroDivisionError(SECRET)


@pytest.fixture
def broken(fake_upstream: FakeUpstream) -> Iterator[tuple[LiveGateway, Broken]]:
    """A gateway of its own, with a stage that can be broken. Observed from within, as in production."""
    gateway = LiveGateway(fake_upstream)
    stage = Broken(gateway.services.handler)
    gateway.door = Door(
        replace(gateway.services, handler=stage), {**EXACT, "/v1/broken": BrokenView}, PREFIXES
    )
    gateway.start()
    yield gateway, stage
    gateway.idle()
    gateway.stop()


@pytest.mark.parametrize("pair", [CHAT_OPENAI, MESSAGES_OPENAI], ids=str)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("where", ["before", "after"])
def test_x7_a_bug_before_the_reply_is_a_500_without_its_words(
    broken: tuple[LiveGateway, Broken], where: str, stream: bool, pair: Pair
) -> None:
    gateway, stage = broken
    stage.where = where
    answer = ask(gateway, pair, stream=stream)
    assert answer.status == 500
    error = answer.error()
    assert error["type"] == ("api_error" if pair.surface == "messages" else "server_error")
    assert SECRET.encode() not in answer.raw
    assert b"Traceback" not in answer.raw
    assert [type(fault) for fault in gateway.faults] == [ValueError if where == "before" else KeyError]
    if where == "after":
        record = gateway.wait_record()
        assert (record.outcome, record.code, record.status) == ("error", "internal_error", 500)


@pytest.mark.parametrize("pair", [CHAT_OPENAI, MESSAGES_OPENAI], ids=str)
def test_x7_a_bug_within_a_stream_is_told_in_band(
    broken: tuple[LiveGateway, Broken], pair: Pair, fake_upstream: FakeUpstream
) -> None:
    gateway, stage = broken
    stage.where = "within"
    fake_upstream.script("", [Answer(events=4), Stall()])
    answer = ask(gateway, pair, stream=True)
    assert answer.status == 200
    assert not answer.complete
    (error,) = answer.failures
    assert error["type"] == ("api_error" if pair.surface == "messages" else "server_error")
    assert SECRET.encode() not in answer.raw
    record = gateway.wait_record()
    assert (record.outcome, record.code) == ("error", "internal_error")
    assert [type(fault) for fault in gateway.faults] == [RuntimeError]
    assert fake_upstream.wait_closed(fake_upstream.last)


def test_x7_a_bug_in_a_view_is_a_500(broken: tuple[LiveGateway, Broken]) -> None:
    gateway, _ = broken
    status, _, body = send(gateway, "GET", "/v1/broken")
    assert status == 500
    assert checked("chat", orjson.loads(body))["code"] == "internal_error"
    assert SECRET.encode() not in body
    assert gateway.refusals[-1].code == "internal_error"
    # And the next one is served.
    assert send(gateway, "GET", "/v1/models")[0] == 200


@pytest.mark.parametrize("moment", ["http.response.start", "http.response.body"])
@pytest.mark.parametrize("failure", [OSError("gone"), asyncio.CancelledError()], ids=["error", "cancelled"])
def test_a_server_that_cannot_write_leaves_nothing_open(
    live: LiveGateway, fake_upstream: FakeUpstream, moment: str, failure: BaseException
) -> None:
    """Also when it fails before the first piece was taken from the stream."""
    record = asyncio.run_coroutine_threadsafe(_written_badly(live, moment, failure), live.loop).result(10)
    assert (record.outcome, record.status) == ("client_gone", 499)
    live.idle()


async def _written_badly(live: LiveGateway, moment: str, failure: BaseException) -> Record:
    body = orjson.dumps(request_body(CHAT_OPENAI, stream=True))
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        if messages:
            return messages.pop()
        return await asyncio.Future()

    async def write(message: Message) -> None:
        if message["type"] == moment:
            raise failure

    scope = {
        "type": "http", "method": "POST", "path": "/v1/chat/completions", "query_string": b"",
        "headers": [(b"host", b"x"), (b"x-api-key", live.key.encode())], "http_version": "1.1",
    }  # fmt: skip
    with pytest.raises(type(failure)):
        await live.door(scope, receive, write)
    return live.records[-1]
