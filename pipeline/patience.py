"""A bound on a wait for Redis that a busy process does not use up."""

from __future__ import annotations

import asyncio
from typing import Any

# It is counted in so many turns of the loop, each of at least its share of the time: an answer that lies
# unread because this process had no time for it is no fault of Redis.
_TURNS = 5


class patience:  # noqa: N801 - used as `asyncio.timeout` is
    """As `asyncio.timeout`, of time in which the loop could have read an answer."""

    __slots__ = ("_left", "_share", "_timeout", "_timer")

    def __init__(self, seconds: float) -> None:
        self._share = seconds / _TURNS
        self._left = _TURNS
        self._timeout = asyncio.timeout(None)

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()
        self._timer = asyncio.get_running_loop().call_later(self._share, self._turn)

    async def __aexit__(self, *about: Any) -> None:
        self._timer.cancel()
        await self._timeout.__aexit__(*about)

    def _turn(self) -> None:
        self._left -= 1
        loop = asyncio.get_running_loop()
        if self._left:
            self._timer = loop.call_later(self._share, self._turn)
        else:
            self._timeout.reschedule(loop.time())
