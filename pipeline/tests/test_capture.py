"""What a team has captured of its calls: on every surface, and nothing unless it says so."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from accounts.capture.setting import Capturing, Taken
from accounts.capture.writer import stored
from pipeline.capture import Capture
from tests.support.live_gateway import LiveGateway
from tests.support.surfaces import PAIRS, Pair, ask

CANARY = "canary-of-a-prompt-7431"
ALL = Capturing("all", 100, 64 << 10)


class Box:
    """Keeps what it is given; `full`: it has no room for answers under way."""

    def __init__(self) -> None:
        self.taken: list[Taken] = []
        self.held = 0
        self.full = False

    def put(self, taken: Taken) -> None:
        self.taken.append(taken)

    def room(self, size: int) -> bool:
        self.held += 0 if self.full else size
        return not self.full

    def free(self, size: int) -> None:
        self.held -= size


@pytest.fixture
def box(gateway: LiveGateway) -> Box:
    """Where the gateway's captures go."""
    made = Box()
    handler = gateway.services.handler
    assert isinstance(handler, Capture)
    handler._captures = made
    return made


def team(gateway: LiveGateway, capture: Capturing | None, **changes: Any) -> None:
    gateway.use(gateway.snapshot(key={"team": replace(gateway.team, capture=capture)}, **changes))


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_every_surface_is_captured_where_the_team_says_so(
    gateway: LiveGateway,
    box: Box,
    pair: Pair,
    stream: bool,
) -> None:
    more: dict[str, Any] = {"system" if pair.surface == "messages" else "user": CANARY}
    ask(gateway, pair, stream=stream, **more)
    gateway.wait_record()
    gateway.idle()
    assert box.taken == []
    team(gateway, ALL)
    answer = ask(gateway, pair, stream=stream, **more)
    gateway.wait_record(2)
    gateway.wait(lambda: len(box.taken) == 1)
    (taken,) = box.taken
    assert (answer.status, taken.status, taken.team_id, box.held) == (200, 200, 1, 0)
    assert taken.answer == answer.raw
    assert CANARY in stored(taken)[0]


def test_of_errors_only_those_are_captured(gateway: LiveGateway, box: Box) -> None:
    team(gateway, Capturing("errors", 100, 64 << 10))
    assert ask(gateway, PAIRS[0]).status == 200
    gateway.wait_record()
    team(gateway, Capturing("errors", 100, 64 << 10), routes=[])
    answer = ask(gateway, PAIRS[0])
    gateway.wait(lambda: len(box.taken) == 1)
    assert answer.status == box.taken[0].status == 404
    assert box.taken[0].answer == answer.raw


def test_a_share_is_drawn_by_the_request_id_alone() -> None:
    ids = [f"req_{number}" for number in range(4000)]
    chosen = [each for each in ids if Capturing("share", 25, 1).begins(each)]
    assert 800 < len(chosen) < 1200
    assert chosen == [each for each in ids if Capturing("share", 25, 1).begins(each)]
    assert all(Capturing("share", 100, 1).begins(each) for each in ids)


def test_a_stream_is_cut_and_the_client_gets_all_of_it(gateway: LiveGateway, box: Box) -> None:
    team(gateway, Capturing("all", 100, 16))
    answer = ask(gateway, PAIRS[0], stream=True)
    gateway.wait(lambda: len(box.taken) == 1)
    assert answer.status == 200
    assert answer.events[-1][1] == "[DONE]"
    assert box.taken[0].cut
    assert len(box.taken[0].answer) <= 128 < len(answer.raw)


def test_where_no_memory_is_left_calls_go_on(gateway: LiveGateway, box: Box) -> None:
    box.full = True
    team(gateway, ALL)
    assert ask(gateway, PAIRS[0], stream=True).events[-1][1] == "[DONE]"
    gateway.wait(lambda: len(box.taken) == 1)
    assert (box.taken[0].cut, box.taken[0].answer, box.held) == (True, b"", 0)
