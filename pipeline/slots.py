"""Places at targets, and the lines of calls that wait for one: by priority and arrival, so that nobody
starves."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

from routing.snapshot import Priority

# By how many seconds of waiting a low priority comes later than a high one that arrives with it: a call that
# has waited longer than that goes before newer ones of any priority.
LATER: Mapping[Priority, float] = {"high": 0.0, "normal": 5.0, "low": 30.0}


# Provider and upstream model: what fails together. Several routes may lead there.
Place = tuple[str, str]


@dataclass(order=True, slots=True)
class _Waiter:
    turn: float
    number: int
    place: asyncio.Future[Place] = field(compare=False)


class Slots:
    """Counts the calls at each place and hands a place that comes free to who has waited for it."""

    def __init__(self) -> None:
        self.total = 0
        self._taken: dict[Place, int] = {}
        self._lines: dict[Place, list[_Waiter]] = {}
        self._waiting: dict[Hashable, int] = {}
        self._numbers = itertools.count()

    def taken(self, place: Place) -> int:
        """Calls that are there now."""
        return self._taken.get(place, 0)

    def all_taken(self) -> Mapping[Place, int]:
        """Calls at each place where there are any."""
        return self._taken

    def is_full(self, place: Place, limit: int | None) -> bool:
        """True when a call must wait: all places are taken, or somebody waits already."""
        return limit is not None and (self.taken(place) >= limit or bool(self._line(place)))

    def take(self, place: Place) -> None:
        self._taken[place] = self._taken.get(place, 0) + 1
        self.total += 1

    def give_back(self, place: Place) -> None:
        """The next in line gets it, if there is one: the count stays then."""
        line = self._line(place)
        if line:
            heapq.heappop(line).place.set_result(place)
            return
        self.total -= 1
        left = self._taken[place] - 1
        if left:
            self._taken[place] = left
        else:
            del self._taken[place]

    def waiting(self, group: Hashable) -> int:
        """Calls of this group that stand in line."""
        return self._waiting.get(group, 0)

    def depth(self) -> Mapping[Hashable, int]:
        """Calls in line, by group."""
        return self._waiting

    async def wait(
        self, places: Sequence[Place], group: Hashable, priority: Priority, seconds: float
    ) -> Place | None:
        """Stand in line for the first of `places` that comes free, and take it; None: none did in time."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Place] = loop.create_future()
        waiter = _Waiter(loop.time() + LATER[priority], next(self._numbers), future)
        for place in places:
            heapq.heappush(self._lines.setdefault(place, []), waiter)
        self._waiting[group] = self._waiting.get(group, 0) + 1
        try:
            async with asyncio.timeout(seconds):
                return await future
        except TimeoutError:
            return self._late(future)
        except asyncio.CancelledError:
            got = self._late(future)
            if got is not None:
                self.give_back(got)
            raise
        finally:
            future.cancel()
            left = self._waiting[group] - 1
            if left:
                self._waiting[group] = left
            else:
                del self._waiting[group]

    @staticmethod
    def _late(future: asyncio.Future[Place]) -> Place | None:
        """The place that was handed over in the very moment in which the wait ended."""
        return future.result() if future.done() and not future.cancelled() else None

    def _line(self, place: Place) -> list[_Waiter]:
        """Who still waits there; those that have gone, or got another place, are taken out."""
        line = self._lines.get(place)
        if line is None:
            return []
        while line and line[0].place.done():
            heapq.heappop(line)
        if not line:
            del self._lines[place]
        return line
