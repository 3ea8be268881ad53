"""A call's way through its targets: same or next, now or later, which credential, and who waits in line."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from dialects.chat import CHAT
from dialects.errors import BAD_REQUEST, BUDGET, BUSY, RATE, UPSTREAM_BAD, Detail, Fault, GatewayError
from dialects.types import Facts
from pipeline.call import Attempt, Call, Deadline, Record, Reply
from pipeline.errand import Means
from pipeline.failover import SESSION_HEADER, Failover
from pipeline.live import LiveState
from pipeline.slots import Slots
from providers.kinds import KINDS
from providers.wire import Timeouts
from routing.allowances import Limit
from routing.snapshot import (
    ApiKey,
    BreakerSettings,
    Credential,
    Patience,
    Provider,
    Queue,
    Route,
    Snapshot,
    Target,
    Team,
)

OK = Reply(200, [], b"{}")
Outcome = GatewayError | Reply


def failure(fault: Fault, code: str | None = None, cool: float | None = None) -> GatewayError:
    return GatewayError(fault, "it failed", Detail(code=code, cool=cool))


class World:
    """Failover over a script of outcomes by provider, on a clock that passes only when somebody pauses."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.pauses: list[float] = []
        self.asked: list[str] = []
        self.used: list[str] = []
        self.script: dict[str, list[Outcome]] = {}
        self.live = LiveState(Slots(), clock=lambda: self.now)
        self.failover = Failover(self._answer, Means(self.live, lambda: 0.5, self._pause), self)
        self.route = Route(1, "r", "m*", ())
        self.limited: dict[str, GatewayError] = {}
        self.on_ask: Callable[[], None] = lambda: None

    async def admit(self, _call: Call, target: Target) -> GatewayError | None:
        """The limits of the providers."""
        return self.limited.get(target.provider.name)

    async def _pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds

    async def _answer(self, call: Call) -> Reply:
        assert call.target is not None
        name = call.target.provider.name
        self.asked.append(name)
        self.used.append(call.credential.label if call.credential else "")
        call.record.attempts.append(Attempt(name, "m", time.monotonic(), reason=call.reason))
        self.on_ask()
        outcome = self.script.get(name, [OK]).pop(0) if self.script.get(name) else OK
        if isinstance(outcome, GatewayError):
            raise outcome
        call.record.attempts[-1].outcome = "ok"
        return outcome

    def targets(self, *targets: Target, **route: Any) -> None:
        self.route = replace(self.route, targets=targets, **route)

    def call(self, *, key: str = "gw-test", session: str = "", stream: bool = False) -> Call:
        return Call(
            dialect=CHAT,
            raw=b"{}",
            body={},
            facts=Facts(model="m1", stream=stream),
            caller=ApiKey(1, key, b"", Team(1, "default")),
            snapshot=Snapshot(revision=1, routes=(self.route,)),
            record=Record(request_id="req_1", surface="chat", started=time.monotonic()),
            headers={SESSION_HEADER: session} if session else {},
        )

    async def send(self, call: Call | None = None) -> Call:
        """The call, closed, after it was answered."""
        call = call or self.call()
        try:
            assert await self.failover(call) is OK
        finally:
            call.close()
        return call


@pytest.fixture
def world() -> World:
    return World()


def target(name: str, number: int = 1, keys: Sequence[str] = (), **changes: Any) -> Target:
    """One at a provider of its own."""
    credentials = tuple(Credential(hash((name, key)), key, "", "secret") for key in keys)
    kind = KINDS["openai_compatible"]
    provider = Provider(number, name, kind, "http://x", Timeouts(), credentials)
    return replace(Target(number, provider, tier=number), **changes)


A, B, C = (target(name, number) for number, name in enumerate("abc"))


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


# -- places and lines


def narrow(name: str, number: int = 1) -> Target:
    return target(name, number, max_in_flight=1)


async def test_a_full_target_is_passed_over(world: World) -> None:
    world.targets(narrow("a", 1), B)
    first = world.call()
    await world.failover(first)
    await world.send()
    first.close()
    await world.send()
    assert world.asked == ["a", "b", "a"]


async def test_when_all_are_full_the_call_waits_for_the_first_place(world: World) -> None:
    world.targets(narrow("a", 1), narrow("b", 2))
    busy = [world.call(), world.call()]
    for call in busy:
        await world.failover(call)
    waiting = asyncio.create_task(world.send())
    await asyncio.sleep(0)
    assert world.live.slots.waiting("m*") == 1
    busy[1].close()
    await waiting
    assert world.asked == ["a", "b", "b"]
    busy[0].close()
    assert world.live.slots.total == 0


async def test_a_place_is_held_until_the_last_byte_has_left(world: World) -> None:
    world.targets(narrow("a"))
    call = world.call(stream=True)
    await world.failover(call)
    assert world.live.slots.taken(("a", "")) == 1
    call.close()
    assert world.live.slots.taken(("a", "")) == 0


@pytest.mark.parametrize("queue", [Queue(seconds=0), Queue(limit=0)], ids=["refuse", "no-line"])
async def test_a_route_may_refuse_instead(world: World, queue: Queue) -> None:
    world.targets(narrow("a"), queue=queue)
    first = world.call()
    await world.failover(first)
    with pytest.raises(GatewayError) as caught:
        await world.send()
    assert (caught.value.fault, caught.value.code) == (BUSY, "overloaded")
    assert caught.value.detail.retry_after
    first.close()


async def test_a_wait_has_an_end(world: World) -> None:
    world.targets(narrow("a"), queue=Queue(seconds=0.01))
    first = world.call()
    await world.failover(first)
    with pytest.raises(GatewayError) as caught:
        await world.send()
    assert (caught.value.fault, caught.value.code) == (BUSY, "queue_timeout")
    first.close()
    assert world.live.slots.total == 0


async def test_a_call_whose_time_is_over_in_line_reaches_nobody(world: World) -> None:
    world.targets(narrow("a"))
    first = world.call()
    await world.failover(first)
    late = world.call()
    late.deadline = Deadline.after(0.01)
    with pytest.raises(GatewayError) as caught:
        await world.send(late)
    assert (caught.value.status("openai"), caught.value.code) == (504, "deadline_exceeded")
    assert world.asked == ["a"]
    first.close()


async def test_c1_a_client_that_leaves_the_line_leaves_nothing_behind(world: World) -> None:
    world.targets(narrow("a"))
    first = world.call()
    await world.failover(first)
    waiting = asyncio.create_task(world.send())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    first.close()
    assert (world.live.slots.total, world.live.slots.waiting("m*")) == (0, 0)
    await world.send()


# -- what keeps calls together


async def test_a_key_stays_with_its_target_and_moves_only_while_that_is_down(world: World) -> None:
    world.targets(*(target(name, 1 + n, tier=0) for n, name in enumerate("abcd")), affinity="key")
    homes = {}
    for number in range(40):
        world.asked.clear()
        for _ in range(3):
            await world.send(world.call(key=f"gw-{number}"))
        assert len(set(world.asked)) == 1
        homes[number] = world.asked[0]
    assert set(homes.values()) == set("abcd")
    down = homes[0]
    lost = next(one for one in world.route.targets if one.provider.name == down)
    world.live.cool(lost, 60, "it is ill")
    for number, home in homes.items():
        world.asked.clear()
        await world.send(world.call(key=f"gw-{number}"))
        assert (world.asked[0] == home) is (home != down)
    world.now += 60
    world.asked.clear()
    await world.send(world.call(key="gw-0"))
    assert world.asked == [down]


async def test_sessions_stay_together_and_calls_without_one_do_not(world: World) -> None:
    world.targets(*(target(name, 1 + n, tier=0) for n, name in enumerate("abcd")), affinity="session")
    for number in range(10):
        world.asked.clear()
        for key in ("gw-1", "gw-2"):
            await world.send(world.call(session=f"s{number}", key=key))
        assert len(set(world.asked)) == 1


# -- limits of a provider


LIMITED = (Limit(1, "requests", 10),)


def limited(name: str, number: int) -> Target:
    made = target(name, number)
    return replace(made, provider=replace(made.provider, limits=LIMITED))


async def test_a_provider_at_its_limit_is_passed_over(world: World) -> None:
    world.targets(limited("a", 1), B)
    world.limited = {"a": failure(RATE, "requests")}
    await world.send()
    assert world.asked == ["b"]
    assert world.live.slots.total == 0


async def test_the_last_providers_limit_is_what_the_client_hears(world: World) -> None:
    world.targets(limited("a", 1))
    world.limited = {"a": failure(RATE, "requests")}
    with pytest.raises(GatewayError) as caught:
        await world.send()
    assert caught.value is world.limited["a"]
    assert world.asked == []
    assert world.live.report()["a", ""][0] == "closed"
