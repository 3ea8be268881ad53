"""Places and lines: who gets a place that comes free, and that none is lost or given twice."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from pipeline.slots import Place, Slots
from routing.snapshot import Priority

SOON = 5.0
A, B = ("one", "m"), ("two", "m")


async def in_line(
    slots: Slots, priority: Priority = "normal", places: Sequence[Place] = (A,)
) -> asyncio.Task[object]:
    """A task that waits, and stands in line already."""
    task: asyncio.Task[object] = asyncio.create_task(slots.wait(places, "route", priority, SOON))
    await asyncio.sleep(0)
    return task


async def test_places_are_counted() -> None:
    slots = Slots()
    assert not slots.is_full(A, 1)
    slots.take(A)
    assert (slots.taken(A), slots.total) == (1, 1)
    assert slots.is_full(A, 1)
    assert not slots.is_full(A, None)
    slots.give_back(A)
    assert (slots.taken(A), slots.total) == (0, 0)


async def test_the_first_in_line_gets_the_place_and_nobody_slips_in() -> None:
    slots = Slots()
    slots.take(A)
    first, second = await in_line(slots), await in_line(slots)
    assert slots.waiting("route") == 2
    slots.give_back(A)
    assert slots.is_full(A, 1), "the place belongs to who has waited"
    assert await first == A
    assert not second.done()
    slots.give_back(A)
    assert await second == A
    assert (slots.taken(A), slots.waiting("route")) == (1, 0)


async def test_a_higher_priority_goes_first() -> None:
    slots = Slots()
    slots.take(A)
    waiting = {word: await in_line(slots, word) for word in ("low", "normal", "high")}
    order = []
    for _ in waiting:
        slots.give_back(A)
        await asyncio.sleep(0)
        order += [word for word, task in waiting.items() if task.done() and word not in order]
    assert order == ["high", "normal", "low"]
    await asyncio.gather(*waiting.values())


async def test_nobody_starves(monkeypatch: pytest.MonkeyPatch) -> None:
    slots, loop = Slots(), asyncio.get_running_loop()
    slots.take(A)
    low = await in_line(slots, "low")
    real = loop.time
    monkeypatch.setattr(loop, "time", lambda: real() + 31.0)
    high = await in_line(slots, "high")
    monkeypatch.undo()
    slots.give_back(A)
    assert await low == A
    slots.give_back(A)
    assert await high == A


async def test_whoever_waits_for_several_takes_the_first_and_leaves_the_other_lines() -> None:
    slots = Slots()
    slots.take(A)
    slots.take(B)
    both = await in_line(slots, places=(A, B))
    slots.give_back(B)
    assert await both == B
    slots.give_back(A)
    assert slots.taken(A) == 0


async def test_a_wait_that_is_over_gives_nothing_and_loses_nothing() -> None:
    slots = Slots()
    slots.take(A)
    assert await slots.wait((A,), "route", "normal", 0.001) is None
    assert slots.waiting("route") == 0
    slots.give_back(A)
    assert (slots.taken(A), slots.total) == (0, 0)


async def test_a_client_that_leaves_the_line_takes_no_place() -> None:
    slots = Slots()
    slots.take(A)
    gone, next_one = await in_line(slots), await in_line(slots)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    slots.give_back(A)
    assert await next_one == A


async def test_a_client_that_leaves_as_it_gets_its_place_gives_it_back() -> None:
    slots = Slots()
    slots.take(A)
    gone, next_one = await in_line(slots), await in_line(slots)
    slots.give_back(A)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    assert await next_one == A
    slots.give_back(A)
    assert slots.total == 0
