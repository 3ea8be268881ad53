"""Keeps the store of answers tidy beside the calls: what is over its time goes, and what was purged."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import Protocol

from pipeline.cache_memory import MemoryCache
from pipeline.cache_metrics import CacheMetrics
from pipeline.cache_stores import CacheStore, Sweep
from routing.caching import Purge
from routing.snapshot import Snapshot

logger = logging.getLogger(__name__)

# A purge is in force with its snapshot; so soon after, what it concerns is deleted as well.
TICK_SECONDS = 1.0


class Holder(Protocol):
    """Where the current snapshot is."""

    @property
    def current(self) -> Snapshot: ...


class Keeper:
    """Starts and stops the store, and looks after it in between."""

    def __init__(self, store: CacheStore, holder: Holder, metrics: CacheMetrics) -> None:
        self._store = store
        self._holder = holder
        self._metrics = metrics
        # The last purge that was carried out here. Of those from before the start nothing is left in memory,
        # and Redis may have missed them.
        self._done = 0
        self._loop: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await self._store.start()
        self._loop = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        if self._loop is not None:
            self._loop.cancel()
            with suppress(asyncio.CancelledError):
                await self._loop
        await self._store.stop()

    async def look(self) -> None:
        """Do what there is to do now."""
        store = self._store
        if isinstance(store, MemoryCache):
            store.expire()
            self._metrics.size(store.size)
        for purge in self._holder.current.purges:
            if purge.id > self._done:
                if await store.sweep(_sweep(purge)) is None:
                    # Once more later: deleting what is gone does no harm.
                    return
                self._done = purge.id

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            try:
                await self.look()
            except Exception as error:  # noqa: BLE001 - a background loop: without it nothing would be deleted
                logger.error("looking after the cache failed: %s", type(error).__name__)  # noqa: TRY400 - a trace may quote answers


def _sweep(purge: Purge) -> Sweep:
    key = bytes.fromhex(purge.key) if purge.key else None
    return Sweep(purge.id, purge.team_id, purge.route_id, key)
