"""Who of a call's targets has room, who waits in line, and which calls stay together."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from dialects.errors import BUSY, RATE, GatewayError
from pipeline.call import Deadline
from pipeline.tests.errands import B, World, failure, target
from routing.allowances import Limit
from routing.snapshot import (
    Queue,
    Target,
)


@pytest.fixture
def world() -> World:
    return World()


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
