"""A task of the event loop that does something every so often, whatever becomes of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

logger = logging.getLogger(__name__)


class Repeating:
    """`what`: in words, for the log when it fails. `interval`: seconds between two times."""

    def __init__(self, what: str, work: Callable[[], Awaitable[None]], interval: float) -> None:
        self._what = what
        self._work = work
        self._interval = interval
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin on the running loop."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End it."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            try:
                await self._work()
            except Exception:  # a background loop
                logger.exception("%s failed", self._what)
            await asyncio.sleep(self._interval)
