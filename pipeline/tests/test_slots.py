"""Places and lines: who gets a place that comes free, and that none is lost or given twice."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from pipeline.slots import Slots
from routing.snapshot import Priority

SOON = 5.0


async def in_line(
    slots: Slots, priority: Priority = "normal", places: Sequence[str] = ("a",)
) -> asyncio.Task[object]:
    """A task that waits, and stands in line already."""
    task: asyncio.Task[object] = asyncio.create_task(slots.wait(places, "route", priority, SOON))
    await asyncio.sleep(0)
    return task


async def test_places_are_counted() -> None:
    slots = Slots()
    assert not slots.is_full("a", 1)
    slots.take("a")
    assert (slots.taken("a"), slots.total) == (1, 1)
    assert slots.is_full("a", 1)
    assert not slots.is_full("a", None)
    slots.give_back("a")
    assert (slots.taken("a"), slots.total) == (0, 0)


async def test_the_first_in_line_gets_the_place_and_nobody_slips_in() -> None:
    slots = Slots()
    slots.take("a")
    first, second = await in_line(slots), await in_line(slots)
    assert slots.waiting("route") == 2
    slots.give_back("a")
    assert slots.is_full("a", 1), "the place belongs to who has waited"
    assert await first == "a"
    assert not second.done()
    slots.give_back("a")
    assert await second == "a"
    assert (slots.taken("a"), slots.waiting("route")) == (1, 0)


async def test_a_higher_priority_goes_first() -> None:
    slots = Slots()
    slots.take("a")
    waiting = {word: await in_line(slots, word) for word in ("low", "normal", "high")}  # type: ignore[arg-type]  # words of Priority
    order = []
    for _ in waiting:
        slots.give_back("a")
        await asyncio.sleep(0)
        order += [word for word, task in waiting.items() if task.done() and word not in order]
    assert order == ["high", "normal", "low"]
    await asyncio.gather(*waiting.values())


async def test_nobody_starves(monkeypatch: pytest.MonkeyPatch) -> None:
    slots, loop = Slots(), asyncio.get_running_loop()
    slots.take("a")
    low = await in_line(slots, "low")
    real = loop.time
    monkeypatch.setattr(loop, "time", lambda: real() + 31.0)
    high = await in_line(slots, "high")
    monkeypatch.undo()
    slots.give_back("a")
    assert await low == "a"
    slots.give_back("a")
    assert await high == "a"


async def test_whoever_waits_for_several_takes_the_first_and_leaves_the_other_lines() -> None:
    slots = Slots()
    slots.take("a")
    slots.take("b")
    both = await in_line(slots, places=("a", "b"))
    slots.give_back("b")
    assert await both == "b"
    slots.give_back("a")
    assert slots.taken("a") == 0


async def test_a_wait_that_is_over_gives_nothing_and_loses_nothing() -> None:
    slots = Slots()
    slots.take("a")
    assert await slots.wait(("a",), "route", "normal", 0.001) is None
    assert slots.waiting("route") == 0
    slots.give_back("a")
    assert (slots.taken("a"), slots.total) == (0, 0)


async def test_a_client_that_leaves_the_line_takes_no_place() -> None:
    slots = Slots()
    slots.take("a")
    gone, next_one = await in_line(slots), await in_line(slots)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    slots.give_back("a")
    assert await next_one == "a"


async def test_a_client_that_leaves_as_it_gets_its_place_gives_it_back() -> None:
    slots = Slots()
    slots.take("a")
    gone, next_one = await in_line(slots), await in_line(slots)
    slots.give_back("a")
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    assert await next_one == "a"
    slots.give_back("a")
    assert slots.total == 0
