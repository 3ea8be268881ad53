"""Answers kept in this process: bounded in bytes, for all and for each team, the least recently used go
first."""

from __future__ import annotations

import asyncio
import heapq
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import NamedTuple

from pipeline.cache_stores import Kept, Place, Stock, Sweep

# What an entry costs beside its value: the key, the records here, the places in two tables and a heap.
OVERHEAD = 600
# A sweep of a great many looks at so many before it lets others go on.
_STEP = 1000


class _Held(NamedTuple):
    value: bytes
    ends: float
    place: Place

    @property
    def size(self) -> int:
        return len(self.value) + OVERHEAD


class _Shelf(OrderedDict[bytes, _Held]):
    """A team's entries, the least recently used first."""

    size = 0


class MemoryCache:
    """A store of one process. `total` and `team` are bytes, of all and of each team; time is the steady
    clock's."""

    up = True

    def __init__(self, total: int, team: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._total = total
        self._team = min(team, total)
        self._clock = clock
        self._shelves: dict[int, _Shelf] = {}
        # When an entry ends, its team and its key; entries that are gone are passed over.
        self._ends: list[tuple[float, int, bytes]] = []
        self.size = 0

    async def get(self, place: Place, keys: Sequence[bytes]) -> list[bytes | None]:
        """See `get_now`: nothing here waits."""
        return [self.get_now(place, key) for key in keys]

    def get_now(self, place: Place, key: bytes) -> bytes | None:
        """The value under a key, which is the most recently used from now on."""
        shelf = self._shelves.get(place.team)
        held = None if shelf is None else shelf.get(key)
        if shelf is None or held is None:
            return None
        if held.ends <= self._clock():
            self._drop(place.team, key)
            return None
        shelf.move_to_end(key)
        return held.value

    async def put(self, place: Place, items: Sequence[Kept]) -> None:
        """Keep them. What is larger than a team's share is not kept; of the team's others the least recently
        used make room, and then those of the largest team."""
        self.expire()
        for item in items:
            held = _Held(item.value, self._clock() + item.seconds, place)
            if held.size > self._team:
                continue
            self._drop(place.team, item.key)
            shelf = self._shelves.setdefault(place.team, _Shelf())
            shelf[item.key] = held
            shelf.size += held.size
            self.size += held.size
            heapq.heappush(self._ends, (held.ends, place.team, item.key))
            self._make_room(place.team)
        self._tidy()

    async def sweep(self, sweep: Sweep) -> int:
        """Delete what has to go, a part at a time."""
        teams = list(self._shelves) if sweep.team is None else [sweep.team]
        gone = 0
        for team in teams:
            keys = list(self._shelves.get(team, ()))
            for start in range(0, len(keys), _STEP):
                gone += self._sweep(team, keys[start : start + _STEP], sweep)
                await asyncio.sleep(0)
        return gone

    async def stock(self) -> dict[int, Stock]:
        """What each team has, by what is counted."""
        self.expire()
        return {team: Stock(len(shelf), shelf.size) for team, shelf in self._shelves.items()}

    async def start(self) -> None:
        """Nothing goes on beside the calls."""

    async def stop(self) -> None:
        """Forget everything."""
        self._shelves.clear()
        self._ends.clear()
        self.size = 0

    def expire(self) -> None:
        """Drop what is over its time, so that no answer stays in memory for longer than was said."""
        now = self._clock()
        while self._ends and self._ends[0][0] <= now:
            ends, team, key = heapq.heappop(self._ends)
            held = self._held(team, key)
            if held is not None and held.ends == ends:
                self._drop(team, key)

    def _sweep(self, team: int, keys: Sequence[bytes], sweep: Sweep) -> int:
        gone = 0
        for key in keys:
            held = self._held(team, key)
            if held is not None and sweep.takes(held.place, key):
                self._drop(team, key)
                gone += 1
        return gone

    def _make_room(self, team: int) -> None:
        while self._shelves[team].size > self._team:
            self._drop(team, next(iter(self._shelves[team])))
        while self.size > self._total:
            largest = max(self._shelves, key=lambda each: self._shelves[each].size)
            self._drop(largest, next(iter(self._shelves[largest])))

    def _tidy(self) -> None:
        """Build the heap anew where most of it is of entries that are gone."""
        entries = sum(map(len, self._shelves.values())) if len(self._ends) > _STEP else 0
        if len(self._ends) > max(_STEP, 2 * entries):
            self._ends = [
                (held.ends, team, key) for team, shelf in self._shelves.items() for key, held in shelf.items()
            ]
            heapq.heapify(self._ends)

    def _held(self, team: int, key: bytes) -> _Held | None:
        shelf = self._shelves.get(team)
        return None if shelf is None else shelf.get(key)

    def _drop(self, team: int, key: bytes) -> None:
        shelf = self._shelves.get(team)
        held = None if shelf is None else shelf.pop(key, None)
        if shelf is None or held is None:
            return
        shelf.size -= held.size
        self.size -= held.size
        if not shelf:
            del self._shelves[team]
