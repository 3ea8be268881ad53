"""How hard pressed this process is, and who is refused for it: the low priorities first."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from typing import Literal, Protocol

from routing.snapshot import Priority

# Looked at so often: quick enough to see a burst, and a thousandth of what the looking costs.
INTERVAL = 0.1
# The share of the memory limit at which the low priorities are refused, and at which all new calls are: what
# is in flight needs the rest to come to its end.
_MEMORY_LOW, _MEMORY_ALL = 0.85, 0.92
# The seconds by which the event loop is late: every token of every stream is late by as much. Over the first
# only who can wait is refused, over the second nobody new would be answered in time.
_LAG_LOW, _LAG_ALL = 0.25, 1.0
# The median of so many looks: one slow collection of garbage is no overload.
_LOOKS = 5
# The share of the calls that may be open at which the low priorities are refused.
_CALLS_LOW = 0.9

Cause = Literal["memory", "lag", "calls"]
# 0: everybody is let in; 1: not the low priorities; 2: nobody.
Level = Literal[0, 1, 2]

# From which level on a priority is refused.
_REFUSED_FROM: Mapping[Priority, int] = {"high": 2, "normal": 2, "low": 1}


class Watcher(Protocol):
    """Hears what is seen. It must not raise and must not wait."""

    def lag(self, seconds: float) -> None:
        """How late the event loop was."""
        ...

    def pressure(self, level: Level, cause: Cause | None) -> None:
        """The level has changed."""
        ...


class Pressure:
    """Looks at memory, at how late the event loop is, and at how many calls are open.

    `memory`: the share of the limit that is used, 0.0 where there is none. `calls`: how many are open, of at
    most `most` (None: as many as come).
    """

    def __init__(
        self, memory: Callable[[], float], calls: Callable[[], int], most: int | None, watcher: Watcher
    ) -> None:
        self.level: Level = 0
        self.cause: Cause | None = None
        # Grows with each look, so that who watches the loop from elsewhere sees that it goes on.
        self.looks = 0
        self._memory = memory
        self._calls = calls
        self._most = most
        self._watcher = watcher
        self._lags: deque[float] = deque([0.0] * _LOOKS, _LOOKS)
        self._task: asyncio.Task[None] | None = None

    def refuses(self, priority: Priority) -> bool:
        """True when a new call of this priority must not be let in."""
        if self._most is not None and self._calls() > self._most:
            # Between two looks a burst may fill what is left.
            return True
        return self.level >= _REFUSED_FROM[priority]

    @property
    def late(self) -> float:
        """By how many seconds the event loop is late, as a rule."""
        return sorted(self._lags)[_LOOKS // 2]

    def look(self, lag: float) -> None:
        """Judge anew; the loop was `lag` seconds late."""
        self.looks += 1
        self._lags.append(lag)
        self._watcher.lag(lag)
        level, cause = self._judge()
        if (level, cause) != (self.level, self.cause):
            self.level, self.cause = level, cause
            self._watcher.pressure(level, cause)

    def start(self) -> None:
        """Begin to look, on the running loop."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End it."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + INTERVAL
            await asyncio.sleep(INTERVAL)
            self.look(max(0.0, loop.time() - due))

    def _judge(self) -> tuple[Level, Cause | None]:
        memory, lag = self._memory(), self.late
        calls = self._calls() / self._most if self._most else 0.0
        if memory >= _MEMORY_ALL:
            return 2, "memory"
        if lag >= _LAG_ALL:
            return 2, "lag"
        if memory >= _MEMORY_LOW:
            return 1, "memory"
        if lag >= _LAG_LOW:
            return 1, "lag"
        return (1, "calls") if calls >= _CALLS_LOW else (0, None)
