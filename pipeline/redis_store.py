"""Limits and budgets counted in Redis, exact across replicas; while it is away, by each process a share."""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import secrets
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from pipeline.memory import CLOCKS, Clocks, MemoryStore
from pipeline.redis_link import CONNECT_SECONDS, RedisLink, Step
from pipeline.redis_scripts import DECIDE, LOOK, RENEW, SETTLE
from pipeline.stores import Ask, Demand, Level, Verdict, Watch

logger = logging.getLogger(__name__)

PREFIX = "llmgw:"
# A place whose process died is free again after this; four renewals that are missed are no accident.
LEASE_SECONDS = 20.0
RENEW_SECONDS = 5.0
# While Redis is away it is asked so often whether it is back.
PROBE_SECONDS = 1.0
# Longer than any call lasts; what is still reserved then belongs to a process that died, and stays charged.
_RECORD_SECONDS = 86_400
# One round trip takes so many of each kind, at some ten microseconds.
_BATCH = 128
# Settlements that wait for Redis: at some hundred bytes, tens of megabytes, and hours of an outage.
MAX_OUTBOX = 100_000
# Members that one step renews.
_RENEWED = 500
_STOP_SECONDS = 1.0
_AGAIN_SECONDS = 0.1
# Levels that are remembered for an outage; those of limits that are gone are dropped after a day.
_MAX_SEEN = 10_000
_SEEN_SECONDS = 86_400.0
_SCRIPTS = (DECIDE, SETTLE, RENEW, LOOK)


class Reports(NamedTuple):
    """Who is told: whether Redis is away, of a meter that was begun anew, how many settlements wait, and of
    one that was lost."""

    degraded: Callable[[bool], None]
    rebuilt: Callable[[], None]
    waiting: Callable[[int], None]
    lost: Callable[[], None]


class _Settlement(NamedTuple):
    """One that waits. `meters`: for each ask its key if it is a meter."""

    step: Step
    meters: tuple[str | None, ...]


class _Question(NamedTuple):
    demand: Demand
    answer: asyncio.Future[Verdict | None]


class RedisStore:
    """A store in Redis. Whatever this process has to say goes out in one line, so that a place that a call
    gave back is free before the next call asks for it."""

    def __init__(self, url: str, local: MemoryStore, watch: Watch, reports: Reports, clocks: Clocks = CLOCKS):
        self._link = RedisLink(url, self._changed)
        self._local = local
        self._watch = watch
        self._reports = reports
        self._clocks = clocks
        self._name = secrets.token_hex(8)
        self._epochs = itertools.count()
        self._questions: deque[_Question] = deque()
        self._outbox: deque[_Settlement] = deque()
        self._renewals: list[Step] = []
        self._line: asyncio.Task[None] | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        # Key to what was last used, and when on the steady clock.
        self._seen: dict[str, tuple[int, float]] = {}
        self._ahead = clocks.wall() - clocks.steady()

    # -- what is asked

    @property
    def degraded(self) -> bool:
        """True while Redis is away."""
        return not self._link.up

    def now(self) -> float:
        """Redis's time as far as it is known, carried on by a clock that nobody sets."""
        return self._clocks.steady() + self._ahead

    async def decide(self, demand: Demand) -> Verdict:
        """By Redis, in one round trip; by this process's share where Redis does not answer."""
        if self._link.up:
            question = _Question(demand, asyncio.get_running_loop().create_future())
            self._questions.append(question)
            self._go()
            try:
                verdict = await question.answer
            except asyncio.CancelledError:
                self._unwanted(question)
                raise
            if verdict is not None:
                return verdict
        return self._decide_here(demand)

    async def look(self, asks: Sequence[Ask]) -> list[int | None]:
        """Of all replicas; None of each while Redis is away."""
        steps = [Step(LOOK, [PREFIX + ask.key], [ask.kind, ask.span]) for ask in asks]
        answers = await self._link.run(steps) if self._link.up and steps else None
        if answers is None:
            return [None] * len(asks)
        return [None if used < 0 else int(used) for used in answers]

    def settle(self, demand: Demand, verdict: Verdict, actual: tuple[int, ...]) -> None:
        """Goes out in a moment, or when Redis is back."""
        here = not verdict.ticket
        if here:
            self._local.settle(demand, verdict, actual)
        leases = [ask.key for ask in demand.asks if ask.kind == "lease"]
        for key in leases:
            self._local.release(key, demand.id)
        if not here or leases or any(ask.kind == "meter" for ask in demand.asks):
            self._put(_settlement(demand, actual, verdict.ticket))

    async def seed(self, key: str, used: int, seconds: float | None) -> None:
        """Begin a meter; where it is known to have stood higher, there."""
        used = max(used, self._seen.get(key, (0, 0.0))[0])
        made = await self._link.once(PREFIX + key, used, seconds) if self._link.up else None
        if made is None:
            self._local.begin(key, used, seconds)
        elif made and used:
            self._reports.rebuilt()

    async def first(self, key: str, seconds: float) -> bool:
        """Of all replicas; of this process while Redis is away."""
        made = await self._link.once(PREFIX + key, 1, seconds) if self._link.up else None
        return await self._local.first(key, seconds) if made is None else made

    async def start(self) -> None:
        """Look for Redis, and go on without it where it is away."""
        await self._link.run([self._presence()], CONNECT_SECONDS)
        if self._link.up:
            await self._link.teach(_SCRIPTS)
            policy = await self._link.policy()
            if policy not in (None, "noeviction"):
                logger.warning(
                    "redis may evict counters when its memory is full (maxmemory-policy %s): set noeviction",
                    policy,
                )
        else:
            logger.error("redis is away at the start, limits are counted in each process")
        self._reports.degraded(self.degraded)
        self._keeper = asyncio.get_running_loop().create_task(self._keep())

    async def stop(self) -> None:
        """Send what waits, as far as Redis takes it at once."""
        keeper = self._keeper
        while keeper is not None and not keeper.done():
            # Below it a cancellation may be taken for the end of a wait of its own: then it is said again.
            keeper.cancel()
            await asyncio.wait({keeper}, timeout=_AGAIN_SECONDS)
        with suppress(TimeoutError):
            async with asyncio.timeout(_STOP_SECONDS):
                while self._outbox and self._link.up:
                    await asyncio.shield(self._go())
        if self._line is not None:
            self._line.cancel()
        await self._link.aclose()

    # -- the line to Redis

    def _go(self) -> asyncio.Task[None]:
        if self._line is None or self._line.done():
            self._line = asyncio.get_running_loop().create_task(self._run())
        return self._line

    async def _run(self) -> None:
        while self._link.up and (self._questions or self._outbox or self._renewals):
            renewals, self._renewals = self._renewals, []
            settlements = list(_taken(self._outbox))
            questions = [each for each in _taken(self._questions) if not each.answer.done()]
            # A renewal was written down before these settlements: sent after them it would bring back places.
            steps = [
                *renewals,
                *(each.step for each in settlements),
                *(self._question(each.demand) for each in questions),
            ]
            answers = None
            try:
                answers = await self._link.run(steps)
            finally:
                self._answered(settlements, questions, answers)
        while self._questions:
            _say(self._questions.popleft(), None)

    def _answered(
        self, settlements: list[_Settlement], questions: list[_Question], answers: list[Any] | None
    ) -> None:
        if answers is None:
            # They may have been made all the same. What is sent twice counts once.
            self._outbox.extendleft(reversed(settlements))
            for question in questions:
                self._put(_settlement(question.demand, (), undo=True))
                _say(question, None)
            return
        first = len(answers) - len(questions)
        for settlement, answer in zip(settlements, answers[first - len(settlements) : first], strict=True):
            self._settled(settlement, answer)
        for question, answer in zip(questions, answers[first:], strict=True):
            verdict = self._verdict(question.demand, answer)
            if not _say(question, verdict) and verdict is not None and verdict.admitted:
                # Whoever asked has left meanwhile.
                self.settle(question.demand, verdict, _nothing(question.demand))
        self._reports.waiting(len(self._outbox))

    def _question(self, demand: Demand) -> Step:
        place = f"{PREFIX}{{{demand.tag}}}:"
        keys = [f"{place}call:{demand.id}", f"{place}epoch"]
        words: list[str | int] = [demand.id, int(LEASE_SECONDS * 1000), self._epoch(), _RECORD_SECONDS]
        for ask in demand.asks:
            keys.append(PREFIX + ask.key)
            words += (ask.kind, ask.limit, ask.amount, ask.span, int(ask.hard))
        return Step(DECIDE, keys, words)

    def _unwanted(self, question: _Question) -> None:
        """Whoever asked leaves in the very moment of the answer: what was let in is given back."""
        answer = question.answer
        if answer.done() and not answer.cancelled() and (verdict := answer.result()) and verdict.admitted:
            self.settle(question.demand, verdict, _nothing(question.demand))

    def _epoch(self) -> str:
        """A name that nobody has used, for the case that Redis has none."""
        return f"{self._name}.{next(self._epochs)}"

    def _verdict(self, demand: Demand, answer: list[Any]) -> Verdict | None:
        status, now, epoch, *rest = answer
        steady = self._clocks.steady()
        self._ahead = now / 1000 - steady
        if status == -2:
            return None
        used, waits, resets = rest[::3], rest[1::3], rest[2::3]
        if status == -1:
            return Verdict(
                admitted=False,
                missing=tuple(ask.key for ask, each in zip(demand.asks, used, strict=True) if each < 0),
            )
        for ask, each in zip(demand.asks, used, strict=True):
            if ask.kind == "lease":
                if status == 1:
                    self._local.hold(ask.key, demand.id)
            else:
                self._seen[ask.key] = (each, steady)
        levels = tuple(
            Level(each, math.inf if wait < 0 else wait / 1000, reset / 1000)
            for each, wait, reset in zip(used, waits, resets, strict=True)
        )
        return Verdict(status == 1, levels, ticket=epoch.decode())

    def _put(self, settlement: _Settlement) -> None:
        if len(self._outbox) >= MAX_OUTBOX:
            self._outbox.popleft()
            self._reports.lost()
        self._outbox.append(settlement)
        if self._link.up:
            self._go()
        else:
            self._reports.waiting(len(self._outbox))

    def _settled(self, settlement: _Settlement, answer: list[int]) -> None:
        if not answer:
            return
        steady = self._clocks.steady()
        used = {
            key: stands
            for key, stands in zip(settlement.meters, answer, strict=True)
            if key is not None and stands >= 0
        }
        for key, stands in used.items():
            self._seen[key] = (stands, steady)
        if used:
            self._watch(used)

    # -- without Redis

    def _decide_here(self, demand: Demand) -> Verdict:
        """By this process's share of what was still free when Redis was last heard of."""
        for ask in demand.asks:
            used, at = self._seen.get(ask.key, (0, 0.0))
            if ask.kind == "window" and used:
                del self._seen[ask.key]
                self._local.reach(ask, math.ceil(used / self._local.share), at)
            elif ask.kind == "meter" and used:
                self._local.begin(ask.key, used, None)
        return self._local.decide_now(demand)

    def _changed(self) -> None:
        self._reports.degraded(self.degraded)
        self._wake.set()
        if self._link.up:
            steady = self._clocks.steady()
            for key, used in self._local.forget_meters():
                self._seen[key] = (used, steady)
            self._renewals = list(self._leases())
            self._go()

    async def _keep(self) -> None:
        """Say that this process is there and which places it holds; while Redis is away, look for it."""
        while True:
            self._wake.clear()
            if self._link.up:
                with suppress(TimeoutError):
                    async with asyncio.timeout(RENEW_SECONDS):
                        await self._wake.wait()
            if not self._link.up:
                await asyncio.sleep(PROBE_SECONDS)
            try:
                await self._look()
            except Exception as error:  # noqa: BLE001 - a background loop: without it nothing would be renewed
                logger.error("renewing in redis failed: %s", type(error).__name__)  # noqa: TRY400 - a trace may quote addresses

    async def _look(self) -> None:
        was_up = self._link.up
        answers = await self._link.run([self._presence()], CONNECT_SECONDS)
        if answers is None:
            return
        self._local.share = max(1, int(answers[0][0]))
        if was_up:
            self._renewals += self._leases()
            self._go()
        else:
            logger.warning("redis is there again, limits are counted in it")
            await self._link.teach(_SCRIPTS)
        if len(self._seen) > _MAX_SEEN:
            long_ago = self._clocks.steady() - _SEEN_SECONDS
            self._seen = {key: seen for key, seen in self._seen.items() if seen[1] > long_ago}

    def _presence(self) -> Step:
        return Step(RENEW, [f"{PREFIX}replicas"], [int(LEASE_SECONDS * 1000), self._name])

    def _leases(self) -> Iterator[Step]:
        for key, calls in self._local.leases():
            members = list(calls)
            for begin in range(0, len(members), _RENEWED):
                words: list[str | int] = [int(LEASE_SECONDS * 1000)]
                words += members[begin : begin + _RENEWED]
                yield Step(RENEW, [PREFIX + key], words)


def _settlement(
    demand: Demand, actual: tuple[int, ...], epoch: str = "", *, undo: bool = False
) -> _Settlement:
    place = f"{PREFIX}{{{demand.tag}}}:"
    keys = [f"{place}call:{demand.id}", f"{place}epoch", f"{place}settled:{demand.id}"]
    words: list[str | int] = [demand.id, epoch, int(undo), _RECORD_SECONDS]
    for ask, amount in zip(demand.asks, actual or _nothing(demand), strict=True):
        keys.append(PREFIX + ask.key)
        words += (ask.kind, ask.amount, amount, ask.span)
    return _Settlement(
        Step(SETTLE, keys, words), tuple(ask.key if ask.kind == "meter" else None for ask in demand.asks)
    )


def _nothing(demand: Demand) -> tuple[int, ...]:
    return (0,) * len(demand.asks)


def _taken(queue: deque[Any]) -> Iterator[Any]:
    for _ in range(min(len(queue), _BATCH)):
        yield queue.popleft()


def _say(question: _Question, verdict: Verdict | None) -> bool:
    """False where nobody waits for it any more."""
    if question.answer.done():
        return False
    question.answer.set_result(verdict)
    return True
