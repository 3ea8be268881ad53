"""Who is refused when a process has too much to do, and that those who are in are left alone."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.pressure import Cause, Level, Pressure
from routing.snapshot import Priority
from tests.support.live_gateway import LiveGateway
from tests.support.surfaces import PAIRS, TEXT, Pair, ask, send


def refused(pressure: Pressure) -> list[bool]:
    priorities: tuple[Priority, ...] = ("high", "normal", "low")
    return [pressure.refuses(priority) for priority in priorities]


class Heard:
    """A watcher."""

    def __init__(self) -> None:
        self.levels: list[tuple[Level, Cause | None]] = []
        self.lags: list[float] = []

    def lag(self, seconds: float) -> None:
        self.lags.append(seconds)

    def pressure(self, level: Level, cause: Cause | None) -> None:
        self.levels.append((level, cause))


class World:
    """What a process is like, set by hand."""

    def __init__(self, most: int | None = None) -> None:
        self.memory, self.calls, self.heard = 0.0, 0, Heard()
        self.pressure = Pressure(lambda: self.memory, lambda: self.calls, most, self.heard)

    def look(self, lag: float = 0.0, times: int = 1) -> list[bool]:
        for _ in range(times):
            self.pressure.look(lag)
        return refused(self.pressure)


NOBODY, LOW, ALL = [False, False, False], [False, False, True], [True, True, True]


@pytest.mark.parametrize(("share", "who"), [(0.5, NOBODY), (0.84, NOBODY), (0.86, LOW), (0.93, ALL)])
def test_x3_memory(share: float, who: list[bool]) -> None:
    world = World()
    world.memory = share
    assert world.look() == who


@pytest.mark.parametrize(("lag", "who"), [(0.01, NOBODY), (0.3, LOW), (1.5, ALL)])
def test_a_late_loop(lag: float, who: list[bool]) -> None:
    assert World().look(lag, times=3) == who


def test_one_late_look_is_no_overload() -> None:
    world = World()
    assert world.look(5.0) == NOBODY
    assert world.look(0.0, times=5) == NOBODY
    assert world.heard.levels == []


def test_calls_up_to_a_limit() -> None:
    world = World(most=100)
    world.calls = 89
    assert world.look() == NOBODY
    world.calls = 90
    assert world.look() == LOW
    world.calls = 101
    assert refused(world.pressure) == ALL, "without waiting for the next look"
    world.calls = 0
    assert world.look() == NOBODY


def test_changes_are_told_once() -> None:
    world = World()
    world.memory = 0.9
    world.look(times=3)
    world.memory = 0.1
    world.look(times=3)
    assert world.heard.levels == [(1, "memory"), (0, None)]
    assert len(world.heard.lags) == 6


def with_priority(live: LiveGateway, priority: str) -> None:
    live.use(live.snapshot(key={"priority": priority}))


@pytest.mark.parametrize("pair", PAIRS, ids=str)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_refusal_is_in_the_clients_words(live: LiveGateway, pair: Pair, stream: bool) -> None:
    live.memory = 0.95
    live.pressure.look(0.0)
    answer = ask(live, pair, stream=stream)
    assert answer.status == (529 if pair.surface == "messages" else 503)
    assert answer.error()["type"] == ("overloaded_error" if pair.surface == "messages" else "server_error")
    assert answer.header("retry-after") == "1"
    assert answer.header("x-should-retry") == "true"
    assert live.fake.requests == []
    live.memory = 0.1
    live.pressure.look(0.0)
    assert ask(live, pair, stream=stream).text == TEXT


def test_the_low_priority_is_refused_first(live: LiveGateway) -> None:
    live.memory = 0.9
    live.pressure.look(0.0)
    statuses: dict[str, Any] = {}
    for priority in ("high", "normal", "low"):
        with_priority(live, priority)
        statuses[priority] = ask(live, PAIRS[0]).status
    assert statuses == {"high": 200, "normal": 200, "low": 503}


def test_probes_and_lists_are_answered_all_the_same(live: LiveGateway) -> None:
    live.memory = 0.99
    live.pressure.look(0.0)
    for path in ("/health", "/ready", "/v1/models"):
        assert send(live, "GET", path)[0] == 200
