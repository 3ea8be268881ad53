"""Clients that leave, and a gateway that goes down: providers are let go, and the record tells the truth."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from apiv1.tests.wire import Wire
from tests.support.fake_upstream import FakeUpstream
from tests.support.live_gateway import LiveGateway
from tests.support.surfaces import PAIRS, TEXT, Pair, address, checked, parse_events, request_body
from tests.support.upstream.script import Answer, Send, SendHead, Stall, WaitFor
from tests.support.upstream.wire import Received

# How soon a provider must be let go when the client has left.
AT_ONCE = 1.0
Leave = Callable[[Wire], None]
WAYS: dict[str, Leave] = {"FIN": lambda wire: wire.socket.close(), "RST": Wire.reset}


def let_go(fake: FakeUpstream, request: Received, left: float) -> None:
    assert fake.wait_closed(request)
    assert request.closed_at is not None
    assert request.closed_at - left < AT_ONCE


def start(live: LiveGateway, pair: Pair, *, stream: bool) -> Wire:
    wire = Wire(live)
    wire.post(address(pair.surface), orjson.dumps(request_body(pair, stream=stream)))
    return wire


@pytest.mark.parametrize("stream", [False, True], ids=["C5-whole", "C2-stream"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_before_the_first_byte(
    live: LiveGateway, fake_upstream: FakeUpstream, pair: Pair, way: str, stream: bool
) -> None:
    fake_upstream.script("", [Stall()])
    wire = start(live, pair, stream=stream)
    fake_upstream.wait_for(1)
    left = time.monotonic()
    WAYS[way](wire)
    let_go(fake_upstream, fake_upstream.last, left)
    record = live.wait_record()
    assert (record.outcome, record.code, record.status) == ("client_gone", "client_gone", 499)
    assert [attempt.outcome for attempt in record.attempts] == ["client_gone"]
    assert record.usage is None


@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_c5_within_a_whole_answer(live: LiveGateway, fake_upstream: FakeUpstream, pair: Pair) -> None:

    head = SendHead(200, {"content-type": "application/json", "content-length": "5000"}, "none")
    fake_upstream.script("", [head, Send(b'{"id":"x"'), Stall()])
    wire = start(live, pair, stream=False)
    fake_upstream.wait_for(1)
    left = time.monotonic()
    wire.socket.close()
    let_go(fake_upstream, fake_upstream.last, left)
    assert live.wait_record().status == 499


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_c3_in_the_middle_of_a_stream(
    live: LiveGateway, fake_upstream: FakeUpstream, pair: Pair, way: str
) -> None:
    fake_upstream.script("", [Answer(events=pair.leading + 5), Stall()])
    wire = start(live, pair, stream=True)
    wire.until(b"rd3")
    left = time.monotonic()
    WAYS[way](wire)
    let_go(fake_upstream, fake_upstream.last, left)
    record = live.wait_record()
    assert (record.outcome, record.code, record.status) == ("client_gone", "client_gone", 499)
    assert record.usage is not None
    assert record.usage.source == "estimated"
    assert record.usage.output_tokens == -(-len(TEXT[:17]) // 4)


@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_c4_after_the_last_event(live: LiveGateway, fake_upstream: FakeUpstream, pair: Pair) -> None:
    """A client may leave as soon as it has read the end: that is a good call, counted in full."""
    wire = start(live, pair, stream=True)
    wire.until(b"[DONE]\n\n" if pair.surface == "chat" else b'"message_stop"}\n\n')
    wire.reset()
    record = live.wait_record()
    assert (record.outcome, record.code, record.status) == ("ok", "", 200)
    assert record.usage is not None
    assert record.usage.source == "provider"


def test_while_the_body_is_still_being_sent(live: LiveGateway, fake_upstream: FakeUpstream) -> None:
    with Wire(live) as wire:
        wire.head("POST", address("chat"), [("content-length", "100")])
        wire.write(b'{"model"')
    live.idle()
    assert fake_upstream.requests == []
    assert live.records == []


def test_many_at_once_leave_nothing_behind(live: LiveGateway, fake_upstream: FakeUpstream) -> None:
    fake_upstream.script("", [Answer(events=4), Stall()])
    wires = [start(live, PAIRS[0], stream=True) for _ in range(50)]
    fake_upstream.wait_for(50)
    for number, wire in enumerate(wires):
        if number % 2:
            wire.until(b"data: ")
        wire.reset()
    live.wait_record(50)
    live.idle()
    assert all(fake_upstream.wait_closed(request) for request in fake_upstream.requests)
    # And the next call is as quick and as good as ever.
    fake_upstream.reset()
    with start(live, PAIRS[0], stream=False) as wire:
        assert wire.reply().status == 200


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_a_gateway_that_goes_down_says_so_before_the_reply(
    live: LiveGateway, fake_upstream: FakeUpstream, pair: Pair, stream: bool
) -> None:
    fake_upstream.script("", [Stall()])
    with start(live, pair, stream=stream) as wire:
        fake_upstream.wait_for(1)
        live.cut()
        reply = wire.reply()
    assert reply.status == (529 if pair.surface == "messages" else 503)
    error = checked(pair.surface, reply.json)
    assert error["type"] == ("overloaded_error" if pair.surface == "messages" else "server_error")
    assert (reply.header("retry-after"), reply.header("x-should-retry")) == ("1", "true")
    record = live.wait_record()
    assert (record.outcome, record.code, record.status) == ("error", "draining", reply.status)
    assert fake_upstream.wait_closed(fake_upstream.last)


@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_a_gateway_that_goes_down_says_so_within_a_stream(
    live: LiveGateway, fake_upstream: FakeUpstream, pair: Pair
) -> None:
    fake_upstream.script("", [Answer(events=pair.leading + 5), Stall()])
    with start(live, pair, stream=True) as wire:
        begun = wire.until(b"rd2")
        live.cut()
        reply = wire.rest(begun)
    assert reply.status == 200
    events = parse_events(reply.body)
    name, last = events[-1]
    error = checked(pair.surface, last)
    assert name == ("error" if pair.surface == "messages" else "")
    assert error["type"] == ("overloaded_error" if pair.surface == "messages" else "server_error")
    assert "restarting" in error["message"]
    assert not any(data == "[DONE]" or data.get("type") == "message_stop" for _, data in events)
    record = live.wait_record()
    assert (record.outcome, record.code, record.status) == ("error", "draining", 200)
    assert fake_upstream.wait_closed(fake_upstream.last)


def test_a_gateway_that_goes_down_while_a_body_is_on_its_way(live: LiveGateway) -> None:
    with Wire(live) as wire:
        wire.head("POST", address("chat"), [("content-length", "100")])
        wire.write(b"{")
        live.wait(lambda: live.door.in_flight == 1)
        live.cut()
        assert wire.reply().status == 503
    live.idle()
    assert live.records == []


def test_what_is_over_is_not_cut(live: LiveGateway, fake_upstream: FakeUpstream) -> None:
    with start(live, PAIRS[0], stream=False) as wire:
        assert wire.reply().status == 200
        live.cut()
        live.idle()
        wire.post(address("chat"), orjson.dumps(request_body(PAIRS[0])))
        assert wire.reply().status == 200


def test_in_flight_counts_what_is_open(live: LiveGateway, fake_upstream: FakeUpstream) -> None:
    go_on = threading.Event()
    fake_upstream.script("", [WaitFor(go_on), Answer()])
    wires = [start(live, PAIRS[0], stream=number % 2 == 0) for number in range(6)]
    fake_upstream.wait_for(6)
    assert live.door.in_flight == live.ears.open == 6
    go_on.set()
    for wire in wires:
        assert wire.reply().status == 200
        wire.socket.close()
    live.idle()


def test_a_server_that_does_not_tell_of_leaving_is_asked(
    live: LiveGateway, fake_upstream: FakeUpstream
) -> None:
    """ASGI's own way, by a further `receive`, where the server has no extension for it."""
    fake_upstream.script("", [Stall()])
    pair = PAIRS[0]
    body = orjson.dumps(request_body(pair, stream=False))
    left = asyncio.Event()
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop()
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(_: Any) -> None:
        raise AssertionError("nobody is there to read")

    scope = {
        "type": "http",
        "method": "POST",
        "path": address(pair.surface),
        "query_string": b"",
        "headers": [(b"host", b"h"), (b"x-api-key", live.key.encode())],
    }
    serving = asyncio.run_coroutine_threadsafe(_serve(live, scope, receive, send), live.loop)
    fake_upstream.wait_for(1)
    live.loop.call_soon_threadsafe(left.set)
    serving.result(10)
    assert live.wait_record().outcome == "client_gone"
    assert fake_upstream.wait_closed(fake_upstream.last)


async def _serve(live: LiveGateway, *connection: Any) -> None:
    await live.door(*connection)
