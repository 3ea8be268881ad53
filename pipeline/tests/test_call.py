"""A call's own promises: its deadline, and that it is closed once, in order, however often it is told to."""

from __future__ import annotations

import math
import time
from functools import partial

import pytest

from dialects.chat import CHAT
from dialects.types import Facts
from pipeline.call import OPEN_END, Call, Deadline, Record
from routing.snapshot import EMPTY, ApiKey, Team


@pytest.fixture
def call() -> Call:
    return Call(
        dialect=CHAT,
        raw=b"{}",
        body={},
        facts=Facts(model="gpt-4o"),
        caller=ApiKey(id=1, prefix="gw-test", digest=b"", team=Team(1, "default")),
        snapshot=EMPTY,
        record=Record(request_id="req_1", surface="chat", started=time.monotonic()),
        headers={},
    )


def test_a_deadline_counts_down_and_not_below_nothing() -> None:
    deadline = Deadline.after(30)
    first = deadline.remaining()
    assert 29 < first <= 30
    assert deadline.remaining() <= first
    assert Deadline(time.monotonic() - 5).remaining() == 0.0


def test_an_open_end_never_comes() -> None:
    assert OPEN_END.remaining() == math.inf
    assert 59 < OPEN_END.sooner(60).remaining() <= 60


def test_the_sooner_of_two_deadlines_wins() -> None:
    deadline = Deadline.after(10)
    assert deadline.sooner(60) == deadline
    assert deadline.sooner(1).remaining() <= 1
    # The first one is a value: it has not changed.
    assert deadline.remaining() > 5


def test_a_call_closes_in_the_order_opposite_to_its_opening(call: Call) -> None:
    told: list[str] = []
    for name in ("books", "lease", "usage"):
        call.on_close(partial(told.append, name))
    call.close()
    assert told == ["usage", "lease", "books"]


def test_a_call_closes_once(call: Call) -> None:
    told: list[float] = []
    call.on_close(lambda: told.append(call.record.ended))
    call.close()
    ended = call.record.ended
    call.close()
    # Whoever is told finds the end written down already, and a second close does not move it.
    assert told == [ended]
    assert call.record.ended == ended > 0


def test_a_callback_that_closes_again_changes_nothing(call: Call) -> None:
    told: list[str] = []
    call.on_close(lambda: told.append("outer"))
    call.on_close(call.close)
    call.on_close(lambda: told.append("inner"))
    call.close()
    assert told == ["inner", "outer"]
