"""Limits and budgets counted in this process: without Redis, and in its place while it is away."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from pipeline.stores import PARTS, Ask, Demand, Level, Verdict, Watch

# Seconds for which a meter is remembered beyond its time, for when it is begun anew.
_KEPT = 86_400.0
# At so many counters those that have run empty are dropped, and again at twice what is then left.
_SWEEP = 1000


class Window:
    """Uses in the last `span` seconds, in parts."""

    __slots__ = ("_parts", "_size", "total")

    def __init__(self, span: int) -> None:
        self._size = span / PARTS
        # [number of the part, uses], oldest first.
        self._parts: deque[list[int]] = deque()
        self.total = 0

    def trim(self, now: float) -> None:
        """Forget what has left the window."""
        oldest = int(now / self._size) - PARTS
        parts = self._parts
        while parts and parts[0][0] < oldest:
            self.total -= parts.popleft()[1]

    def add(self, amount: int, at: float) -> None:
        """Count uses at the moment `at`, or with the newest that there are."""
        number = int(at / self._size)
        if not self._parts or number > self._parts[-1][0]:
            self._parts.append([number, 0])
        self._parts[-1][1] += amount
        self.total += amount

    def take_back(self, amount: int, at: float) -> None:
        """Uncount uses of the moment `at`, as far as they still count."""
        number = int(at / self._size)
        for part in reversed(self._parts):
            if part[0] <= number:
                amount = min(amount, part[1]) if part[0] == number else 0
                part[1] -= amount
                self.total -= amount
                return

    def wait(self, room: int, now: float) -> float:
        """Seconds until at most `room` are counted."""
        left = self.total
        if left <= room:
            return 0.0
        for number, amount in self._parts:
            left -= amount
            if left <= room:
                return max(0.0, (number + PARTS + 1) * self._size - now)
        return math.inf

    def reset(self, now: float) -> float:
        """Seconds until nothing counts any more."""
        return max(0.0, (self._parts[-1][0] + PARTS + 1) * self._size - now) if self._parts else 0.0


class Meter:
    """A sum; `base` is what it began at."""

    __slots__ = ("base", "ends", "used")

    def __init__(self, used: int, ends: float) -> None:
        self.base = used
        self.used = used
        self.ends = ends


class Clocks(NamedTuple):
    """One that is never set, for what lasts, and one that tells the date."""

    steady: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time


CLOCKS = Clocks()


class MemoryStore:
    """A store of one process among `share` that serve together: each lets its part through, at least one."""

    degraded = False

    def __init__(self, share: int = 1, watch: Watch | None = None, clocks: Clocks = CLOCKS) -> None:
        self.share = max(1, share)
        self._watch = watch
        self._clocks = clocks
        self._windows: dict[str, Window] = {}
        self._leases: dict[str, set[str]] = {}
        self._meters: dict[str, Meter] = {}
        self._firsts: dict[str, float] = {}
        self._open: set[str] = set()
        self._sweep_at = _SWEEP

    def now(self) -> float:
        """The machine's own time."""
        return self._clocks.wall()

    async def decide(self, demand: Demand) -> Verdict:
        """See `decide_now`: nothing here waits."""
        return self.decide_now(demand)

    def decide_now(self, demand: Demand) -> Verdict:
        """Take all that is asked, or nothing."""
        now = self._clocks.steady()
        missing = tuple(ask.key for ask in demand.asks if ask.kind == "meter" and self._ended(ask.key, now))
        if missing:
            return Verdict(admitted=False, missing=missing)
        room = [self._cap(ask) - self._used(ask, now) for ask in demand.asks]
        admitted = all(
            left >= ask.amount or not ask.hard for ask, left in zip(demand.asks, room, strict=True)
        )
        if admitted:
            self._open.add(demand.id)
            for ask in demand.asks:
                self._take(ask, demand.id, now)
        levels = tuple(
            self._level(ask, left, now, admitted=admitted)
            for ask, left in zip(demand.asks, room, strict=True)
        )
        return Verdict(admitted, levels, at=now)

    async def look(self, asks: Sequence[Ask]) -> list[int | None]:
        """Of this process alone."""
        now = self._clocks.steady()
        return [
            None if ask.kind == "meter" and self._ended(ask.key, now) else self._used(ask, now)
            for ask in asks
        ]

    def settle(self, demand: Demand, verdict: Verdict, actual: tuple[int, ...]) -> None:
        """Give back or charge the difference, once."""
        if demand.id not in self._open:
            return
        self._open.discard(demand.id)
        now = self._clocks.steady()
        metered: dict[str, int] = {}
        for ask, amount in zip(demand.asks, actual, strict=True):
            more = amount - ask.amount
            if ask.kind == "window" and more:
                window = self._window(ask, now)
                if more > 0:
                    window.add(more, now)
                else:
                    window.take_back(-more, verdict.at)
            elif ask.kind == "lease":
                self.release(ask.key, demand.id)
            elif ask.kind == "meter" and ask.key in self._meters:
                meter = self._meters[ask.key]
                meter.used += more
                metered[ask.key] = meter.used
        if metered and self._watch is not None:
            self._watch(metered)

    async def seed(self, key: str, used: int, seconds: float | None) -> None:
        """See `begin`: nothing here waits."""
        self.begin(key, used, seconds)

    def begin(self, key: str, used: int, seconds: float | None) -> None:
        """Begin a meter, unless there is one. One whose time is over was a guess: what this process has let
        through since is not forgotten."""
        now = self._clocks.steady()
        if not self._ended(key, now):
            return
        old = self._meters.get(key)
        for name in [name for name, meter in self._meters.items() if meter.ends + _KEPT <= now]:
            del self._meters[name]
        meter = self._meters[key] = Meter(used, math.inf if seconds is None else now + seconds)
        if old is not None and old.used > used:
            meter.base, meter.used = max(old.base, used), old.used

    def _ended(self, key: str, now: float) -> bool:
        meter = self._meters.get(key)
        return meter is None or meter.ends <= now

    async def first(self, key: str, seconds: float) -> bool:
        """Of this process alone."""
        now = self._clocks.steady()
        for old in [name for name, ends in self._firsts.items() if ends <= now]:
            del self._firsts[old]
        if key in self._firsts:
            return False
        self._firsts[key] = now + seconds
        return True

    async def start(self) -> None:
        """Nothing goes on beside the calls."""

    async def stop(self) -> None:
        """Nothing is left to write."""

    # -- for whoever stands this in for a store that is away

    def hold(self, key: str, lease: str) -> None:
        """A place that was given elsewhere."""
        self._leases.setdefault(key, set()).add(lease)

    def release(self, key: str, lease: str) -> None:
        """Give a place back, if it is held."""
        held = self._leases.get(key)
        if held is not None:
            held.discard(lease)
            if not held:
                del self._leases[key]

    def leases(self) -> Iterable[tuple[str, set[str]]]:
        """Who holds places."""
        return self._leases.items()

    def reach(self, ask: Ask, used: int, at: float) -> None:
        """Let a window count at least `used`, of which the missing ones were at the moment `at`."""
        window = self._window(ask, self._clocks.steady())
        if window.total < used:
            window.add(used - window.total, at)
            window.trim(self._clocks.steady())

    def forget_meters(self) -> list[tuple[str, int]]:
        """Where they stood: they are counted elsewhere again."""
        stood = [(key, meter.used) for key, meter in self._meters.items()]
        self._meters.clear()
        return stood

    # -- inside

    def _cap(self, ask: Ask) -> int:
        """What this process may let through, of what all may."""
        if ask.kind == "meter":
            base = self._meters[ask.key].base
            return base + max(0, ask.limit - base) // self.share
        return min(ask.limit, max(1, ask.limit // self.share))

    def _used(self, ask: Ask, now: float) -> int:
        if ask.kind == "window":
            return self._window(ask, now).total
        if ask.kind == "lease":
            return len(self._leases.get(ask.key, ()))
        return self._meters[ask.key].used

    def _take(self, ask: Ask, call: str, now: float) -> None:
        if ask.kind == "window":
            self._window(ask, now).add(ask.amount, now)
        elif ask.kind == "lease":
            self.hold(ask.key, call)
        else:
            self._meters[ask.key].used += ask.amount

    def _level(self, ask: Ask, left: int, now: float, *, admitted: bool) -> Level:
        """What others have is not free for this process: it counts as used."""
        fits = admitted or left >= ask.amount or not ask.hard
        used = ask.limit - left + (ask.amount if admitted else 0)
        if ask.kind != "window":
            return Level(used, 0.0 if fits else math.inf)
        window = self._window(ask, now)
        room = self._cap(ask) - ask.amount
        wait = 0.0 if fits else math.inf if room < 0 else window.wait(room, now)
        return Level(used, wait, window.reset(now))

    def _window(self, ask: Ask, now: float) -> Window:
        found = self._windows.get(ask.key)
        if found is None:
            if len(self._windows) >= self._sweep_at:
                self._sweep(now)
            found = self._windows[ask.key] = Window(ask.span)
        found.trim(now)
        return found

    def _sweep(self, now: float) -> None:
        """Drop the windows of limits that nobody uses any more."""
        for key, window in list(self._windows.items()):
            window.trim(now)
            if not window.total:
                del self._windows[key]
        self._sweep_at = max(_SWEEP, 2 * len(self._windows))
