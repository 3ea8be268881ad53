"""What is known of targets while calls run: calls in flight, latency, breakers, credentials, retries."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace

import pytest

from pipeline.breaker import State, Verdict
from pipeline.live import KEY_SECONDS, RAMP_SECONDS, LiveState, Ticket
from pipeline.slots import Place, Slots
from providers.kinds import KINDS
from providers.wire import Timeouts
from routing.snapshot import BreakerSettings, Credential, Provider, Target

KEYS = tuple(Credential(number, f"key {number}", "", "secret") for number in (1, 2, 3))
PROVIDER = Provider(1, "openai", KINDS["openai"], "http://x", Timeouts(), KEYS)
TARGET = Target(1, PROVIDER, "gpt-4o")
PLACE = ("openai", "gpt-4o")


class Ears:
    """What operators would hear."""

    def __init__(self) -> None:
        self.breakers: list[tuple[Place, State, float]] = []
        self.credentials: list[tuple[str, str, float]] = []

    def breaker(self, place: Place, state: State, seconds: float) -> None:
        self.breakers.append((place, state, seconds))

    def credential(self, provider: str, label: str, seconds: float) -> None:
        self.credentials.append((provider, label, seconds))

    def waiting(self, group: Hashable, change: int) -> None: ...


class World:
    """A live state with a clock that stands still."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.ears = Ears()
        self.live = LiveState(Slots(), self.ears, lambda: self.now)

    def start(self, target: Target = TARGET) -> Ticket:
        ticket = self.live.start(target)
        assert ticket is not None
        return ticket

    def attempts(self, verdict: Verdict, times: int, target: Target = TARGET) -> None:
        for _ in range(times):
            self.start(target).done(verdict)


@pytest.fixture
def world() -> World:
    return World()


def test_calls_in_flight_are_counted_until_they_are_done(world: World) -> None:
    first, second = world.start(), world.start()
    assert world.live.condition(TARGET).in_flight == 2
    first.done("ok")
    first.done("ok")
    assert world.live.condition(TARGET).in_flight == 1
    second.done("neutral")
    assert world.live.slots.total == 0


def test_targets_of_other_routes_at_the_same_place_share_what_is_known(world: World) -> None:
    world.attempts("failed", 5)
    other = Target(77, replace(PROVIDER, enabled=True), "gpt-4o")
    assert world.live.condition(other).out is not None
    assert world.live.condition(replace(other, upstream_model="gpt-4o-mini")).out is None


def test_a_slower_first_byte_counts_at_once_and_a_quicker_one_by_and_by(world: World) -> None:
    def measure(seconds: float) -> float:
        ticket = world.start()
        world.now += seconds
        ticket.answered()
        ticket.done("ok")
        latency = world.live.condition(TARGET).latency
        assert latency is not None
        return latency

    assert measure(1.0) == pytest.approx(1.0)
    assert measure(3.0) == pytest.approx(3.0)
    assert 2.0 < measure(1.0) < 3.0
    world.now += 100
    assert measure(1.0) == pytest.approx(1.0, abs=0.01)


def test_an_open_breaker_says_for_how_long_and_is_told_to_the_operators(world: World) -> None:
    world.attempts("failed", 5)
    condition = world.live.condition(TARGET)
    assert condition.out == "its breaker is open for 15 s after failures"
    assert condition.last_resort
    assert condition.ready_in == 15.0
    assert world.live.start(TARGET) is None
    assert world.ears.breakers == [(PLACE, "open", 15.0)]
    assert world.live.slots.total == 0


def test_every_change_of_a_breaker_is_told(world: World) -> None:
    world.attempts("failed", 5)
    world.now += 20
    world.attempts("failed", 1)
    world.now += 40
    world.attempts("ok", 1)
    told = [(state, seconds) for _, state, seconds in world.ears.breakers]
    assert told == [("open", 15), ("half_open", 0), ("open", 30), ("half_open", 0), ("closed", 0)]


def test_a_target_that_is_back_gets_its_share_by_and_by(world: World) -> None:
    world.attempts("failed", 5)
    world.now += 15
    world.attempts("ok", 1)
    assert world.ears.breakers[-1] == (PLACE, "closed", 0.0)
    assert world.live.condition(TARGET).ramp == pytest.approx(0.1)
    world.now += RAMP_SECONDS / 2
    assert world.live.condition(TARGET).ramp == pytest.approx(0.55)
    world.now += RAMP_SECONDS / 2
    assert world.live.condition(TARGET).ramp == 1.0


@pytest.mark.parametrize("mode", ["open", "closed"])
def test_the_operators_word_stands_over_the_breakers(world: World, mode: str) -> None:
    settings = BreakerSettings(mode=mode)  # type: ignore[arg-type]  # words of BreakerMode
    target = replace(TARGET, provider=replace(PROVIDER, breaker=settings))
    world.attempts("failed", 5)
    out = world.live.condition(target).out
    assert (out == "its breaker is held open by the operators") is (mode == "open")
    if mode == "closed":
        world.attempts("failed", 50, target)
        assert world.live.condition(target).out is None


def test_the_longest_cool_down_holds(world: World) -> None:
    world.live.cool(TARGET, 60, "the provider asked for a pause")
    world.live.cool(TARGET, 5, "something else")
    condition = world.live.condition(TARGET)
    assert condition.out == "the provider asked for a pause; it is left alone for 60 s"
    assert not condition.last_resort
    world.now += 60
    assert world.live.condition(TARGET).out is None


def test_credentials_take_turns(world: World) -> None:
    picked = [world.live.pick(KEYS) for _ in range(6)]
    assert {key.id for key in picked[:3] if key} == {1, 2, 3}
    assert picked[:3] == picked[3:]


def test_a_refused_credential_is_left_out_longer_each_time(world: World) -> None:
    world.live.refuse("openai", KEYS[0])
    assert {key.id for _ in range(6) if (key := world.live.pick(KEYS))} == {2, 3}
    world.now += KEY_SECONDS
    assert {key.id for _ in range(6) if (key := world.live.pick(KEYS))} == {1, 2, 3}
    world.live.refuse("openai", KEYS[0])
    world.now += KEY_SECONDS
    assert {key.id for _ in range(6) if (key := world.live.pick(KEYS))} == {2, 3}
    assert world.ears.credentials == [("openai", "key 1", 60.0), ("openai", "key 1", 120.0)]
    world.live.accepted(KEYS[0])
    assert {key.id for _ in range(6) if (key := world.live.pick(KEYS))} == {1, 2, 3}


def test_without_a_usable_credential_a_target_is_out(world: World) -> None:
    for key in KEYS:
        world.live.refuse("openai", key)
    out = world.live.condition(TARGET).out
    assert out == "the provider openai refused each of its credentials; tried again in 60 s"
    assert world.live.pick(KEYS) is None


def test_retries_are_a_fifth_of_what_is_in_flight_and_three_at_least(world: World) -> None:
    for _ in range(3):
        assert world.live.may_retry(PLACE)
        world.live.retried(world.start())
    assert not world.live.may_retry(PLACE)
    others = [world.start() for _ in range(20)]
    assert world.live.may_retry(PLACE), "a fifth of 23 is 4"
    for ticket in others:
        ticket.done("ok")
    assert not world.live.may_retry(PLACE)


def test_a_retry_that_is_done_frees_the_budget(world: World) -> None:
    tickets = [world.start() for _ in range(3)]
    for ticket in tickets:
        world.live.retried(ticket)
    assert not world.live.may_retry(PLACE)
    tickets[0].done("failed")
    assert world.live.may_retry(PLACE)


def test_the_operators_can_have_all_forgotten(world: World) -> None:
    world.attempts("failed", 5)
    world.live.refuse("openai", KEYS[0])
    world.live.forget()
    assert world.live.condition(TARGET).out is None
    assert len(world.live.usable(KEYS)) == 3
    assert world.ears.breakers[-1] == (PLACE, "closed", 0.0)
