"""Lines of calls that wait for a place under a limit of requests at once, by priority and arrival."""

from __future__ import annotations

import asyncio
import itertools
from bisect import insort
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

from msgspec import structs

from dialects.errors import UPSTREAM_TIMEOUT, Detail, GatewayError
from pipeline.allowance_replies import rate_error
from pipeline.call import Call
from pipeline.reservation import Expected, Granted, Plea, plea
from pipeline.slots import LATER
from pipeline.stores import Ask, Level, Store, Verdict
from routing.allowances import Limit

# As many as a route's line takes where nobody says otherwise: each holds a connection and its request's body.
MOST_IN_LINE = 100
# Places that other processes give back are found by asking again. Only the first of a line asks, so a limit
# costs each process so many decisions a second at most, beside those for places that come free here.
PACE_SECONDS = 0.25


class Counting(Protocol):
    """Where limits and budgets are counted."""

    store: Store

    async def decide(self, asked: Plea) -> Verdict: ...


class News(Protocol):
    """Told who waits. `scope`: of the limit."""

    def queued(self, scope: str, change: int) -> None: ...

    def waited(self, scope: str, seconds: float) -> None: ...

    def refused(self, kind: str, scope: str) -> None: ...


@dataclass(order=True, slots=True)
class _Waiter:
    """`turn`: its place among all who wait, whichever line it stands in. `told`: there is reason to ask."""

    turn: float
    number: int
    told: asyncio.Event = field(compare=False, default_factory=asyncio.Event)


@dataclass(frozen=True, slots=True)
class _Full:
    """The limit that makes a call wait. The key of its counter is what its line is known by."""

    limit: Limit
    ask: Ask


class LimitLines:
    """Decides for calls, and lets those wait that may. Nothing is reserved for a call in line: it asks for
    all that it needs once more when its turn has come."""

    def __init__(self, counters: Counting, news: News) -> None:
        self._counters = counters
        self._news = news
        self._lines: dict[str, list[_Waiter]] = {}
        self._numbers = itertools.count()

    async def decide(self, call: Call, asked: Plea, likely: Expected) -> Granted:
        """What was asked in the end, and the decision. Raises GatewayError where the call could not even ask,
        because its line is too long, and where its own time was over first."""
        decided = None
        full = self._taken(asked)
        if full is None:
            decided = Granted(asked, await self._counters.decide(asked))
            full = _may_wait(decided)
            if full is None:
                return decided
        if len(self._lines.get(full.ask.key, ())) < MOST_IN_LINE:
            decided = await self._wait(call, likely, full) or decided
        if decided is None:
            self._news.refused(full.limit.kind, full.limit.scope)
            raise rate_error(full.limit, full.ask, Level(full.ask.limit))
        return decided

    def given_back(self, asked: Plea) -> None:
        """A call that was let in is over: who is first in line for one of its places may ask."""
        for ask in asked.demand.asks:
            if ask.kind == "lease":
                self._tell(ask.key)

    async def _wait(self, call: Call, likely: Expected, full: _Full) -> Granted | None:
        """The last decision before the wait ended; None: it never came to one."""
        clock = asyncio.get_running_loop().time
        began = clock()
        waiter = _Waiter(began + LATER[call.caller.priority], next(self._numbers))
        decided = None
        self._enter(full, waiter)
        try:
            for times in itertools.count(1):
                seconds = min(began + full.limit.wait_seconds - clock(), call.deadline.remaining())
                if not await self._called(full.ask.key, waiter, clock() + seconds):
                    break
                asked = plea(call, likely, self._counters.store.now())
                # A store decides each demand once.
                asked = structs.replace(asked, demand=structs.replace(asked.demand, id=f"{call.id}~{times}"))
                decided = Granted(asked, await self._counters.decide(asked))
                again = _may_wait(decided)
                if again is None:
                    return decided
                if again.ask.key != full.ask.key:
                    self._leave(full, waiter)
                    full = again
                    self._enter(full, waiter)
        finally:
            self._leave(full, waiter)
            call.record.queue_seconds += clock() - began
            self._news.waited(full.limit.scope, clock() - began)
        if call.deadline.remaining() <= 0:
            words = "The request's time was over before a place came free."
            raise GatewayError(UPSTREAM_TIMEOUT, words, Detail(code="deadline_exceeded"))
        return decided

    async def _called(self, key: str, waiter: _Waiter, until: float) -> bool:
        """Wait until the waiter is first in line and has reason to ask; False: the time was over before."""
        clock = asyncio.get_running_loop().time
        line = self._lines[key]
        while clock() < until:
            ends = min(until, clock() + PACE_SECONDS) if line[0] is waiter else until
            with suppress(TimeoutError):
                async with asyncio.timeout_at(ends):
                    await waiter.told.wait()
            waiter.told.clear()
            if line[0] is waiter and clock() < until:
                return True
        return False

    def _enter(self, full: _Full, waiter: _Waiter) -> None:
        insort(self._lines.setdefault(full.ask.key, []), waiter)
        self._news.queued(full.limit.scope, 1)

    def _leave(self, full: _Full, waiter: _Waiter) -> None:
        """Whoever is first then asks: there may be more places than one."""
        line = self._lines[full.ask.key]
        line.remove(waiter)
        self._news.queued(full.limit.scope, -1)
        if line:
            self._tell(full.ask.key)
        else:
            del self._lines[full.ask.key]

    def _tell(self, key: str) -> None:
        line = self._lines.get(key)
        if line:
            line[0].told.set()

    def _taken(self, asked: Plea) -> _Full | None:
        """The first limit for which others wait already: nobody goes before them."""
        if self._lines:
            for row, ask in zip(asked.rows, asked.demand.asks, strict=True):
                if isinstance(row, Limit) and row.wait_seconds > 0 and ask.key in self._lines:
                    return _Full(row, ask)
        return None


def _may_wait(decided: Granted) -> _Full | None:
    """The limit that a refused call may wait for; None where it was let in, or something refuses it for which
    nobody waits."""
    full = None
    asked, verdict = decided.plea, decided.verdict
    if verdict.admitted:
        return None
    for row, ask, level in zip(asked.rows, asked.demand.asks, verdict.levels, strict=True):
        if level.wait <= 0:
            continue
        if not isinstance(row, Limit) or row.wait_seconds <= 0:
            return None
        full = full or _Full(row, ask)
    return full
