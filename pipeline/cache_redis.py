"""Answers kept in Redis, for all replicas; while it is away, or too slow, there are none."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from pipeline.cache_metrics import CacheMetrics
from pipeline.cache_redis_scripts import DROP, PUT, STOCK
from pipeline.cache_stores import Kept, Place, Stock, Sweep
from pipeline.patience import patience
from pipeline.redis_client import FAULTS, Client, connect, fetch, scanners, warm

logger = logging.getLogger(__name__)

# Apart from the counters of limits, which have another.
PREFIX = "llmgw-cache:"
# A round trip takes no longer than the first, and a call waits no longer than the second for its turn and its
# answer. In one data centre Redis answers in a fiftieth of that.
SECONDS = 0.05
PATIENCE = 0.1
# Nobody waits while connections are made again, or while much is deleted.
CONNECT_SECONDS = 1.0
# One may be an accident; after three it is done without.
FAILURES = 3
# While it is away it is asked so often whether it is back.
PROBE_SECONDS = 1.0
# Each takes thousands of answers a second; they are made before they are needed.
CONNECTIONS = 4
# What an answer costs Redis beside its value: names, ends, the place in the index.
OVERHEAD = 300
# Answers that wait to be written; a Redis that is so far behind has no use for more.
_MOST_WRITING = 200
# Names that one step looks at or deletes.
_STEP = 500
_NAME = re.compile(rb"llmgw-cache:\{(\d+)\}:(\d+):(\d+):([0-9a-f]{64})")
_INDEX = re.compile(rb"llmgw-cache:\{(\d+)\}:index")


class _Question(NamedTuple):
    names: list[str]
    answer: asyncio.Future[list[bytes | None]]


class RedisCache:
    """A store in Redis. `team`: bytes that one team may take; all teams together take what Redis has."""

    def __init__(self, url: str, team: int, metrics: CacheMetrics) -> None:
        # `patience` ends a wait; the library's own clock runs on while this process has no time to read.
        # As many connections again while those are being closed on which something failed.
        self._client: Client = connect(url, 2 * CONNECTIONS, 5 * CONNECT_SECONDS)
        self._team = team
        self._metrics = metrics
        # Questions of calls go out one after the other; beside them there is room for these.
        self._places = asyncio.Semaphore(CONNECTIONS - 1)
        self._questions: list[_Question] = []
        self._line: asyncio.Task[None] | None = None
        self._writing = 0
        self._put = self._client.register_script(PUT)
        self._drop = self._client.register_script(DROP)
        self._stock = self._client.register_script(STOCK)
        self._failures = 0
        self._refused = False
        self._probe: asyncio.Task[None] | None = None
        self.up = False

    async def get(self, place: Place, keys: Sequence[bytes]) -> list[bytes | None]:
        """The values; none of them where Redis is away. Who asks while a question is under way is asked for
        with all others in the next."""
        if self.up:
            question = _Question([_name(place, key) for key in keys], _future())
            self._questions.append(question)
            if self._line is None or self._line.done():
                self._line = asyncio.get_running_loop().create_task(self._run())
            with suppress(TimeoutError):
                return await asyncio.wait_for(question.answer, PATIENCE)
        return [None] * len(keys)

    async def put(self, place: Place, items: Sequence[Kept]) -> None:
        """Keep them; the team's answers that end first make room."""
        if not self.up or not items:
            return
        if self._writing >= _MOST_WRITING:
            self._metrics.refused("busy")
            return
        words: list[str | int | bytes] = [self._team]
        for item in items:
            words += (_rest(place, item.key), int(item.seconds * 1000), item.value)
        self._writing += 1
        try:
            refused = await self._script(self._put, place.team, *words)
        finally:
            self._writing -= 1
        self._refused = refused is None and self._refused
        for _ in range(refused or 0):
            self._metrics.refused("no_room")

    async def sweep(self, sweep: Sweep) -> int | None:
        """Delete what has to go. It looks at every name, a part at a time."""
        team = "*" if sweep.team is None else str(sweep.team)
        gone = 0
        async for names in self._names(f"{PREFIX}{{{team}}}:*"):
            if names is None:
                return None
            for owner, dropped in _grouped(names, sweep).items():
                count = await self._script(self._drop, owner, *dropped)
                if count is None:
                    return None
                gone += count
        return gone

    async def stock(self) -> dict[int, Stock]:
        """What each team has, on all replicas together."""
        stock: dict[int, Stock] = {}
        async for names in self._names(f"{PREFIX}*:index"):
            for found in filter(None, map(_INDEX.fullmatch, names or ())):
                told = await self._script(self._stock, int(found[1]))
                if told is not None:
                    stock[int(found[1])] = Stock(*map(int, told))
        return stock

    async def start(self) -> None:
        """Look for Redis, and go on without it where it is away."""
        if not await self._look():
            logger.error("redis is away at the start, answers are not cached")
            self._fell()

    async def stop(self) -> None:
        """Close the connections."""
        self.up = False
        for task in (self._probe, self._line):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        await self._client.aclose()

    async def _run(self) -> None:
        """Ask what there is to ask, all of it in one round trip."""
        while self._questions:
            asked, self._questions = self._questions, []
            names = [name for question in asked for name in question.names]
            found = await self._ask(partial(fetch, self._client, names), SECONDS) if self.up else None
            left = iter(found or [None] * len(names))
            for question in asked:
                values = list(islice(left, len(question.names)))
                if not question.answer.done():
                    question.answer.set_result(values)

    async def _names(self, pattern: str) -> AsyncIterator[list[bytes] | None]:
        """The names of this pattern, some at a time; None is the last where Redis fails."""
        for scan in scanners(self._client):
            cursor = -1
            while cursor:
                ask = partial(scan, max(cursor, 0), pattern, _STEP)
                answer = await self._ask(ask, CONNECT_SECONDS) if self.up else None
                if answer is None:
                    yield None
                    return
                cursor = int(answer[0])
                yield answer[1]

    async def _script(self, script: Any, team: int, *words: str | int | bytes) -> Any:
        arguments = [_prefix(team), OVERHEAD, *words]
        async with self._places:
            return await self._ask(partial(script, _keys(team), arguments), CONNECT_SECONDS)

    async def _ask(self, question: Callable[[], Awaitable[Any]], seconds: float) -> Any:
        """The answer; None where it fails or does not come in time."""
        try:
            async with patience(seconds):
                answer = await question()
        except ResponseError as error:
            # It is there, and refuses: its memory is full, or it is read only.
            self._metrics.failed("refused")
            if not self._refused:
                logger.error("redis does not take answers to keep: %s", type(error).__name__)  # noqa: TRY400 - a trace may quote them
            self._refused = True
            return None
        except FAULTS as error:
            self._failed(error)
            return None
        self._failures = 0
        return answer

    def _failed(self, error: Exception) -> None:
        late = isinstance(error, TimeoutError | RedisTimeoutError)
        self._metrics.failed("timeout" if late else "connection")
        self._failures += 1
        # A connection that is refused leaves no doubt.
        if self.up and (self._failures >= FAILURES or isinstance(error, RedisConnectionError)):
            # The type alone: a driver's text may name hosts and users.
            logger.error("redis is away, answers are not cached: %s", type(error).__name__)
            self._fell()

    def _fell(self) -> None:
        self.up = False
        self._metrics.up(up=False)
        if self._probe is None or self._probe.done():
            self._probe = asyncio.get_running_loop().create_task(self._wait())

    async def _wait(self) -> None:
        """Ask from time to time, beside the calls, until it is there again."""
        while not self.up:
            await asyncio.sleep(PROBE_SECONDS)
            if await self._look():
                logger.warning("redis is there again, answers are cached")

    async def _look(self) -> bool:
        """True when it answers; its connections are then made."""
        try:
            async with patience(CONNECT_SECONDS):
                await warm(self._client, CONNECTIONS)
        except FAULTS:
            return False
        self.up, self._failures = True, 0
        self._metrics.up(up=True)
        return True


def _future() -> asyncio.Future[list[bytes | None]]:
    return asyncio.get_running_loop().create_future()


def _prefix(team: int) -> str:
    return f"{PREFIX}{{{team}}}:"


def _rest(place: Place, key: bytes) -> str:
    return f"{place.route}:{place.epoch}:{key.hex()}"


def _name(place: Place, key: bytes) -> str:
    return _prefix(place.team) + _rest(place, key)


def _keys(team: int) -> list[str]:
    return [f"{_prefix(team)}index", f"{_prefix(team)}sum"]


def _grouped(names: Sequence[bytes], sweep: Sweep) -> dict[int, list[str]]:
    """Of these names those that have to go, without their prefix, by team."""
    teams: dict[int, list[str]] = {}
    for found in filter(None, map(_NAME.fullmatch, names)):
        team, route, epoch = (int(found[group]) for group in (1, 2, 3))
        place, key = Place(team, route, epoch), bytes.fromhex(found[4].decode())
        if sweep.takes(place, key):
            teams.setdefault(team, []).append(_rest(place, key))
    return teams
