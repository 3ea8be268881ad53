"""A call's way through its targets: same or next, now or later, and which credential."""

from __future__ import annotations

import pytest

from dialects.errors import BAD_REQUEST, BUDGET, BUSY, RATE, UPSTREAM_BAD, GatewayError
from pipeline.call import Deadline
from pipeline.tests.errands import OK, A, B, World, failure, target
from routing.snapshot import (
    BreakerSettings,
    Patience,
)


@pytest.fixture
def world() -> World:
    return World()


async def test_a_route_may_ask_a_target_twice_before_the_next(world: World) -> None:
    world.targets(A, B, tries=2)
    world.script = {"a": [failure(UPSTREAM_BAD), OK]}
    call = await world.send()
    assert world.asked == ["a", "a"]
    assert [attempt.reason for attempt in call.record.attempts] == ["first", "retry"]


async def test_after_its_tries_the_next_is_asked(world: World) -> None:
    world.targets(A, B, tries=2)
    world.script = {"a": [failure(BUSY), failure(BUSY)]}
    call = await world.send()
    assert world.asked == ["a", "a", "b"]
    assert call.record.attempts[-1].reason == "after outage"


@pytest.mark.parametrize(("asked_for", "least"), [(2.0, 2.0), (0.3, 0.3)])
async def test_u19_the_pause_is_what_the_provider_asked_for_at_least(
    world: World, asked_for: float, least: float
) -> None:
    world.targets(A)
    world.script = {"a": [failure(RATE, cool=asked_for), OK]}
    await world.send()
    assert world.asked == ["a", "a"]
    assert world.pauses[0] >= least


async def test_u20_a_rate_limit_without_a_word_is_waited_out_longer_than_a_failure(world: World) -> None:
    world.targets(A)
    world.script = {"a": [failure(RATE), OK]}
    await world.send()
    assert world.pauses == [0.5], "half of a second, for a draw of one half"


async def test_u21_a_long_wait_is_not_waited_for(world: World) -> None:
    world.targets(A)
    error = failure(RATE, cool=300.0)
    world.script = {"a": [error, OK]}
    with pytest.raises(GatewayError) as caught:
        await world.send()
    assert caught.value is error
    assert world.pauses == []
    with pytest.raises(GatewayError) as caught:
        await world.send()
    assert caught.value.code == "no_healthy_target"
    assert caught.value.detail.retry_after == 60.0
    assert world.asked == ["a"], "and it is left alone"


async def test_u19_no_wait_beyond_the_deadline(world: World) -> None:
    world.targets(A)
    world.script = {"a": [failure(RATE, cool=4.0), OK]}
    call = world.call()
    call.deadline = Deadline.after(3)
    with pytest.raises(GatewayError):
        await world.send(call)
    assert world.pauses == []


async def test_u25_another_credential_is_tried_at_once(world: World) -> None:
    world.targets(target("a", keys=("one", "two")))
    world.script = {"a": [failure(UPSTREAM_BAD, "upstream_auth"), OK]}
    call = await world.send()
    assert set(world.used) == {"one", "two"}
    assert world.pauses == []
    assert call.record.attempts[-1].reason == "other credential"
    world.used.clear()
    for _ in range(4):
        await world.send()
    assert len(set(world.used)) == 1, "the refused one is left alone"


@pytest.mark.parametrize("error", [failure(RATE, cool=1.0), failure(BUDGET)], ids=["rate", "quota"])
async def test_limits_of_one_credential_are_not_those_of_the_next(world: World, error: GatewayError) -> None:
    world.targets(target("a", keys=("one", "two")), B)
    world.script = {"a": [error, OK]}
    await world.send()
    assert world.asked == ["a", "a"]
    assert len(set(world.used)) == 2


async def test_a_refused_credential_does_not_open_the_breaker(world: World) -> None:
    world.targets(target("a", keys=("one",)), B)
    for _ in range(10):
        world.script = {"a": [failure(UPSTREAM_BAD, "upstream_auth")]}
        await world.send()
    assert world.asked.count("a") == 1
    assert world.live.report()["a", ""][0] == "closed"


async def test_spares_are_asked_only_after_their_kind_of_failure(world: World) -> None:
    big = target("big", 2, after=frozenset({"context_length"}))
    world.targets(A, big)
    await world.send()
    world.script = {"a": [failure(BAD_REQUEST, "context_length_exceeded")]}
    call = await world.send()
    assert world.asked == ["a", "a", "big"]
    assert call.record.attempts[-1].reason == "spare for context_length"
    world.script = {"a": [failure(UPSTREAM_BAD)]}
    await world.send()
    assert world.asked[3:] == ["a", "a"], "an outage is not what it is for"


async def test_a_content_policy_is_the_clients_to_hear_unless_a_spare_is_for_it(world: World) -> None:
    world.targets(A, B)
    error = failure(BAD_REQUEST, "content_policy_violation")
    world.script = {"a": [error]}
    with pytest.raises(GatewayError) as caught:
        await world.send()
    assert caught.value is error
    assert world.asked == ["a"]
    world.targets(A, target("lenient", 3, after=frozenset({"content_policy"})))
    world.script = {"a": [error]}
    await world.send()
    assert world.asked[1:] == ["a", "lenient"]


async def test_others_come_before_spares(world: World) -> None:
    world.targets(A, target("spare", 0, after=frozenset({"outage"})), B)
    world.script = {"a": [failure(BUSY)], "b": [failure(BUSY)]}
    await world.send()
    assert world.asked == ["a", "b", "spare"]


async def test_a_retry_over_the_budget_is_not_made(world: World) -> None:
    world.targets(A)
    holding = []
    for _ in range(3):
        ticket = world.live.start(A)
        assert ticket is not None
        world.live.retried(ticket)
        holding.append(ticket)
    world.script = {"a": [failure(UPSTREAM_BAD)]}
    call = world.call()
    with pytest.raises(GatewayError):
        await world.send(call)
    assert world.asked == ["a"]
    assert call.record.budget_spent


async def test_l13_a_dead_provider_is_hardly_asked_any_more(world: World) -> None:
    world.targets(A, B)
    world.script = {"a": [failure(BUSY)] * 1000}
    for _ in range(100):
        await world.send()
    assert world.asked.count("a") == BreakerSettings().consecutive
    assert world.asked.count("b") == 100


async def test_a_target_that_is_back_is_used_again(world: World) -> None:
    world.targets(A, B)
    world.script = {"a": [failure(BUSY)] * 5}
    for _ in range(6):
        await world.send()
    world.asked.clear()
    world.now += 15
    for _ in range(3):
        await world.send()
    assert world.asked == ["a", "a", "a"]


async def test_the_last_targets_of_a_route_are_never_closed_silently(world: World) -> None:
    world.targets(A)
    world.script = {"a": [failure(BUSY)] * 6}
    for _ in range(2):
        with pytest.raises(GatewayError):
            await world.send()
    asked = len(world.asked)
    for _ in range(10):
        with pytest.raises(GatewayError):
            await world.send()
    assert len(world.asked) == asked + 1, "one a second while all are down"
    world.now += 1
    await world.send()


async def test_a_stream_that_breaks_later_counts_against_its_target(world: World) -> None:
    world.targets(A, B)
    for _ in range(5):
        call = world.call(stream=True)
        await world.failover(call)
        attempt = call.record.attempts[-1]
        attempt.outcome, attempt.fault, call.record.outcome = "reset", "upstream_bad", "error"
        call.close()
    assert world.live.report()["a", ""][0] == "open"


async def test_clients_that_leave_say_nothing_of_the_target(world: World) -> None:
    world.targets(A, B)
    for _ in range(20):
        call = world.call(stream=True)
        await world.failover(call)
        call.record.outcome = "client_gone"
        call.close()
    assert world.live.report()["a", ""][0] == "closed"
    assert world.live.slots.total == 0


async def test_the_routes_own_timeouts_hold(world: World) -> None:
    world.targets(A, patience=Patience(first_byte_stream=3.0, total=20.0))
    call = await world.send()
    assert (call.timeouts.first_byte_stream, call.timeouts.total, call.timeouts.connect) == (3.0, 20.0, 5.0)
    assert call.deadline.remaining() <= 20.0
