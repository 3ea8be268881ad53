"""Reads on streams whose clients have left, where the route says so, to learn what they cost in truth."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

# What a model still says in half a minute is most of any answer; more would be paid for nobody.
SECONDS = 30.0
# Each costs a connection at the provider. Beyond this an estimate is good enough.
MOST = 64


class Lingering:
    """Keeps what runs on after its client has gone: so many at once and so long."""

    def __init__(self, seconds: float = SECONDS, most: int = MOST) -> None:
        self._seconds = seconds
        self._most = most
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def full(self) -> bool:
        return len(self._tasks) >= self._most

    def adopt(self, reading: Awaitable[None], *, bounded: bool = True) -> None:
        """Run `reading` beside everything else. It gives back what it holds when it is cancelled. Not
        `bounded`: it has an end of its own."""
        task = asyncio.create_task(self._read(reading, self._seconds if bounded else None))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """End all of them."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @staticmethod
    async def _read(reading: Awaitable[None], seconds: float | None) -> None:
        try:
            async with asyncio.timeout(seconds):
                await reading
        except TimeoutError:
            pass
