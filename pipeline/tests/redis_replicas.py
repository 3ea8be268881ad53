"""Stores as several processes with one Redis have them, and what they report."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import redis

from pipeline.memory import MemoryStore
from pipeline.redis_store import RedisStore, Reports
from pipeline.stores import Ask, Verdict
from pipeline.tests.test_stores import Metered, demand, requests, unique
from tests.support.services import RedisServer


class Told:
    """What a store reported."""

    def __init__(self) -> None:
        self.degraded: list[bool] = []
        self.rebuilt = 0
        self.waiting = 0
        self.lost = 0

    def reports(self) -> Reports:
        return Reports(self.degraded.append, self._rebuilt, self._waiting, self._lost)

    def _rebuilt(self) -> None:
        self.rebuilt += 1

    def _waiting(self, count: int) -> None:
        self.waiting = count

    def _lost(self) -> None:
        self.lost += 1


class Replica:
    """A store as one process of several has it."""

    def __init__(self, url: str, workers: int = 1) -> None:
        self.told = Told()
        self.metered = Metered()
        self.local = MemoryStore(workers, self.metered.hear)
        self.store = RedisStore(url, self.local, self.metered.hear, self.told.reports())

    async def take(self, *asks: Ask) -> Verdict:
        return await self.store.decide(demand(*asks))

    async def until(self, condition: Callable[[], bool | Awaitable[bool]]) -> None:
        """Wait until `condition` holds."""
        async with asyncio.timeout(60):
            while True:
                holds = condition()
                if holds if isinstance(holds, bool) else await holds:
                    return
                await asyncio.sleep(0.01)

    async def lose(self) -> None:
        """Ask until Redis is given up."""
        for _ in range(20):
            await self.take(requests(10**6, unique("noise")))
            if self.store.degraded:
                return
        raise AssertionError("Redis is still believed in")

    async def regain(self) -> None:
        """Wait until Redis is there again and has heard all that waited."""
        await self.until(lambda: not self.store.degraded and not self.store._outbox)


@asynccontextmanager
async def replicas(url: str, count: int = 1) -> AsyncIterator[list[Replica]]:
    """So many processes with one Redis."""
    made = [Replica(url, count) for _ in range(count)]
    for each in made:
        await each.store.start()
    # Each has heard of the others.
    try:
        for each in made:
            await each.store._look()
        yield made
    finally:
        for each in made:
            await each.store.stop()


def plain(server: RedisServer) -> redis.Redis:
    return redis.Redis(port=server.port, decode_responses=True)
