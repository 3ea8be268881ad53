"""C1 to C5: clients that leave. Providers are let go, and the record tells the truth."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

import orjson
import pytest

from apiv1.tests.wire import Wire
from routing.snapshot import Queue, Target
from tests.faults.trial import EVERYWHERE, STREAMS, WHOLE, Charge, Counts, Trial, Try
from tests.support.surfaces import address, request_body
from tests.support.upstream.script import Answer, Json, Send, SendHead, Stall, WaitFor

# How soon a provider must be let go when the client has left.
AT_ONCE = 1.0
WAYS: Mapping[str, Callable[[Wire], None]] = {"FIN": lambda wire: wire.socket.close(), "RST": Wire.reset}
LEAVING = pytest.mark.parametrize("way", WAYS)


def start(trial: Trial) -> Wire:
    """A call that is under way."""
    wire = Wire(trial.live)
    body = request_body(trial.pair, stream=trial.stream)
    wire.post(address(trial.pair.surface), orjson.dumps(body))
    return wire


def gone(trial: Trial, phase: str, tries: list[Try], charge: Charge) -> None:
    """The call is over because its client has left."""
    more: Counts = {("gateway_client_gone", trial.pair.surface, phase): 1}
    record = trial.over(tries, 499, "client_gone", charge, more)
    assert record.outcome == "client_gone"


def let_go(trial: Trial, left: float) -> None:
    request = trial.fake.last
    assert trial.fake.wait_closed(request)
    assert request.closed_at is not None
    assert request.closed_at - left < AT_ONCE


@EVERYWHERE
@LEAVING
def test_c01_in_line(trial: Trial, way: str) -> None:
    go_on = threading.Event()
    trial.serve(Target(1, trial.named("first"), max_in_flight=1), queue=Queue(seconds=60))
    trial.does(WaitFor(go_on), Answer(), times=1)
    before = start(trial)
    trial.fake.wait_for(1)
    waiting = start(trial)
    slots = trial.live.live.slots
    trial.live.wait(lambda: slots.waiting("*") == 1)
    WAYS[way](waiting)
    record = trial.live.wait_record()
    assert (record.code, record.status, record.attempts) == ("client_gone", 499, [])
    assert record.queue_seconds > 0
    assert slots.waiting("*") == 0
    assert len(trial.fake.requests) == 1, "the provider never hears of it"
    labels = {"surface": trial.pair.surface, "phase": "queue"}
    assert (trial.live.registry.get_sample_value("gateway_client_gone_total", labels) or 0) >= 1
    go_on.set()
    assert before.reply().status == 200
    before.socket.close()
    trial.live.wait_record(2)


@EVERYWHERE
@LEAVING
def test_c02_before_the_first_byte(trial: Trial, way: str) -> None:
    """The prompt is charged by estimate: the provider may bill it."""
    trial.alone()
    trial.does(Stall())
    wire = start(trial)
    trial.fake.wait_for(1)
    left = time.monotonic()
    WAYS[way](wire)
    let_go(trial, left)
    gone(trial, "waiting", [("first", "client_gone", "neutral")], "input")


@STREAMS
def test_c02_a_probe_whose_client_leaves_is_given_back(trial: Trial) -> None:
    provider = trial.named("first")
    provider = replace(provider, breaker=replace(provider.breaker, consecutive=1))
    trial.serve(provider)
    trial.does(Json(500, {}), times=1)
    trial.does(Stall(), times=1)
    assert trial.ask().status == 502
    trial.live.skipped += 20
    wire = start(trial)
    trial.fake.wait_for(2)
    wire.socket.close()
    assert trial.live.wait_record(2).code == "client_gone"
    assert trial.ask().status == 200, "the next one may probe at once"
    trial.live.wait_record(3)
    trial.live.idle()
    assert trial.live.live.verdicts[-3:] == [("first", "failed"), ("first", "neutral"), ("first", "ok")]


@STREAMS
@LEAVING
def test_c03_mid_stream(trial: Trial, way: str) -> None:
    trial.alone()
    trial.does(trial.begun, Stall())
    wire = start(trial)
    wire.until(b"rd3")
    left = time.monotonic()
    WAYS[way](wire)
    let_go(trial, left)
    gone(trial, "answer", [("first", "ok", "neutral")], "partial")


@STREAMS
@LEAVING
def test_c04_after_the_last_chunk(trial: Trial, way: str) -> None:
    """A good call, charged in full by what the provider counts."""
    trial.alone()
    wire = start(trial)
    wire.until(b"[DONE]\n\n" if trial.pair.surface == "chat" else b'"message_stop"}\n\n')
    WAYS[way](wire)
    trial.over([("first", "ok", "ok")], 200, "", "provider")


@WHOLE
@LEAVING
def test_c05_within_a_whole_answer(trial: Trial, way: str) -> None:
    trial.alone()
    head = SendHead(200, {"content-type": "application/json", "content-length": "5000"}, "none")
    trial.does(head, Send(b'{"id":"x"'), Stall())
    wire = start(trial)
    trial.fake.wait_for(1)
    left = time.monotonic()
    WAYS[way](wire)
    let_go(trial, left)
    gone(trial, "waiting", [("first", "client_gone", "neutral")], "input")
