"""The date, by a clock that does not jump when somebody sets the machine's."""

from __future__ import annotations

import time
from collections.abc import Callable

# Clocks that are kept right are moved by less than this at once.
STEP_SECONDS = 5.0
# A new time that has stood for so long is no accident. A key that has expired meanwhile lives on as long at
# the most, and none ends too early because a clock went wrong for a moment.
BELIEVED_SECONDS = 600.0


class SteadyWall:
    """Seconds since the epoch. A step of the machine's clock is believed once it has stood for
    `BELIEVED_SECONDS`; until then time goes on as it went."""

    def __init__(
        self, wall: Callable[[], float] = time.time, steady: Callable[[], float] = time.monotonic
    ) -> None:
        self._wall = wall
        self._steady = steady
        self._ahead = wall() - steady()
        # What the clock was set to, and since when on the steady one.
        self._other = 0.0
        self._since: float | None = None

    def __call__(self) -> float:
        steady = self._steady()
        ahead = self._wall() - steady
        if abs(ahead - self._ahead) <= STEP_SECONDS:
            self._ahead, self._since = ahead, None
        elif self._since is None or abs(ahead - self._other) > STEP_SECONDS:
            self._other, self._since = ahead, steady
        elif steady - self._since >= BELIEVED_SECONDS:
            self._ahead, self._since = ahead, None
        return steady + self._ahead
