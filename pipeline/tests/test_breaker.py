"""When a breaker opens, for how long, and how it finds out that its target is well again."""

from __future__ import annotations

import pytest

from pipeline.breaker import PANIC_SECONDS, Breaker, Pass, Verdict
from routing.snapshot import BreakerSettings

PATIENCE = 60.0


def tell(breaker: Breaker, verdict: Verdict, now: float, times: int = 1) -> list[str]:
    """Let so many attempts end like this; the changes of state that they caused."""
    changes: list[str] = []
    for _ in range(times):
        leave = breaker.ask(now, PATIENCE)
        if leave is None:
            break
        changed = breaker.report(leave, verdict, now)
        if changed:
            changes.append(changed)
    return changes


def opened(now: float = 0.0, **settings: float) -> Breaker:
    breaker = Breaker(BreakerSettings(**settings))  # type: ignore[arg-type]  # figures by name
    assert tell(breaker, "failed", now, 5) == ["open"]
    return breaker


def test_five_failures_in_a_row_open_it() -> None:
    breaker = Breaker(BreakerSettings())
    assert tell(breaker, "failed", 0.0, 4) == []
    assert breaker.state == "closed"
    assert tell(breaker, "failed", 0.0) == ["open"]
    assert breaker.ask(0.0, PATIENCE) is None
    assert breaker.wait(5.0) == 10.0


def test_a_success_between_breaks_the_row() -> None:
    breaker = Breaker(BreakerSettings())
    for _ in range(3):
        assert tell(breaker, "failed", 0.0, 4) == []
        assert tell(breaker, "ok", 0.0) == []


def test_half_of_twenty_within_the_window_opens_it() -> None:
    breaker = Breaker(BreakerSettings(consecutive=1000))
    for at in range(9):
        assert tell(breaker, "failed", at) == []
        assert tell(breaker, "ok", at) == []
    assert tell(breaker, "ok", 9) == []
    assert tell(breaker, "failed", 10) == ["open"]


def test_what_is_older_than_the_window_does_not_count() -> None:
    breaker = Breaker(BreakerSettings(consecutive=1000))
    assert tell(breaker, "failed", 0, 19) == []
    assert tell(breaker, "failed", 31) == []
    assert tell(breaker, "ok", 32, 18) == []
    assert breaker.state == "closed"


def test_what_is_the_requests_own_fault_says_nothing() -> None:
    breaker = Breaker(BreakerSettings())
    assert tell(breaker, "failed", 0.0, 4) == []
    assert tell(breaker, "neutral", 0.0, 100) == []
    assert tell(breaker, "failed", 0.0) == ["open"]


def test_after_its_time_one_probe_goes_and_closes_it() -> None:
    breaker = opened()
    assert breaker.ask(14.9, PATIENCE) is None
    probe = breaker.ask(15.0, PATIENCE)
    assert probe is not None
    assert probe.probe
    assert breaker.ask(15.1, PATIENCE) is None, "only one at a time"
    assert breaker.report(probe, "ok", 16.0) == "closed"
    assert breaker.closed_at == 16.0
    assert breaker.ask(16.0, PATIENCE) is not None


def test_each_failed_probe_makes_the_next_wait_longer_up_to_a_maximum() -> None:
    breaker = opened(max_open_seconds=40.0)
    now, waits = 0.0, []
    for _ in range(4):
        now += breaker.wait(now)
        probe = breaker.ask(now, PATIENCE)
        assert probe is not None
        assert breaker.report(probe, "failed", now) == "open"
        waits.append(breaker.wait(now))
    assert waits == [30.0, 40.0, 40.0, 40.0]


def test_after_a_success_the_waits_begin_anew() -> None:
    breaker = opened()
    probe = breaker.ask(15.0, PATIENCE)
    assert probe is not None
    breaker.report(probe, "failed", 15.0)
    probe = breaker.ask(45.0, PATIENCE)
    assert probe is not None
    breaker.report(probe, "ok", 45.0)
    assert tell(breaker, "failed", 50.0, 5) == ["open"]
    assert breaker.wait(50.0) == 15.0


def test_g7_a_probe_that_never_reports_does_not_hold_it_for_ever() -> None:
    breaker = opened()
    assert breaker.ask(15.0, PATIENCE) is not None
    assert breaker.ask(15.0 + PATIENCE - 1, PATIENCE) is None
    assert breaker.ask(15.0 + PATIENCE, PATIENCE) is not None


def test_g7_a_probe_that_says_nothing_gives_its_leave_to_the_next() -> None:
    breaker = opened()
    probe = breaker.ask(15.0, PATIENCE)
    assert probe is not None
    assert breaker.report(probe, "neutral", 16.0) is None
    assert breaker.ask(16.0, PATIENCE) is not None


def test_answers_from_before_it_opened_say_nothing() -> None:
    breaker = Breaker(BreakerSettings())
    old = [breaker.ask(0.0, PATIENCE) for _ in range(20)]
    assert tell(breaker, "failed", 0.0, 5) == ["open"]
    for leave in old:
        assert isinstance(leave, Pass)
        assert breaker.report(leave, "failed", 1.0) is None
    assert breaker.wait(1.0) == 14.0
    assert breaker.opened == 1


def test_in_panic_one_goes_each_second() -> None:
    breaker = opened()
    assert breaker.ask(1.0, PATIENCE, panic=True) is not None
    assert breaker.ask(1.0 + PANIC_SECONDS / 2, PATIENCE, panic=True) is None
    assert breaker.ask(1.0 + PANIC_SECONDS, PATIENCE, panic=True) is not None


def test_what_another_replica_knows_opens_it_too() -> None:
    breaker = Breaker(BreakerSettings())
    breaker.override(100.0, 2)
    assert breaker.wait(70.0) == 30.0
    probe = breaker.ask(100.0, PATIENCE)
    assert probe is not None
    assert breaker.report(probe, "failed", 100.0) == "open"
    assert breaker.wait(100.0) == 45.0


@pytest.mark.parametrize("until", [10.0, 15.0])
def test_an_earlier_word_does_not_shorten_what_it_knows_itself(until: float) -> None:
    breaker = opened()
    breaker.override(until, 1)
    assert breaker.wait(0.0) == 15.0
