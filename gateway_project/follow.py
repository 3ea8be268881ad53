"""Tells others of each snapshot that comes into force, on the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from routing.snapshot import EMPTY, Snapshot
from routing.watch import SnapshotHolder

# With the half second that a new snapshot takes, well within the five in which a revoked key's streams end.
INTERVAL = 1.0
# Told of a new snapshot. It must not raise and must not wait.
Hear = Callable[[Snapshot], None]


class Follower:
    """Looks every `interval` seconds whether another snapshot is in force."""

    def __init__(self, holder: SnapshotHolder, hear: Sequence[Hear], interval: float = INTERVAL) -> None:
        self._holder = holder
        self._hear = hear
        self._interval = interval
        self._seen = EMPTY
        self._task: asyncio.Task[None] | None = None

    def look(self) -> None:
        """Tell them, if there is something to tell."""
        snapshot = self._holder.current
        if snapshot is not self._seen:
            self._seen = snapshot
            for hear in self._hear:
                hear(snapshot)

    def start(self) -> None:
        """Begin to look, on the running loop."""
        self.look()
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End it."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._interval)
            self.look()
