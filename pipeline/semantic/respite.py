"""Whether something that failed is left alone: calls do not wait again and again for what is away."""

from __future__ import annotations

import time
from collections.abc import Callable

# One may be an accident.
FAILURES = 3
# As long as an outage is not noticed by those who wait for a model's answer.
SECONDS = 5.0


class Respite:
    """Counts failures in a row; after some of them there is a rest, and then one more try at a time."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures = 0
        self._until = 0.0

    @property
    def resting(self) -> bool:
        """True while nobody should ask. Whoever finds it False after a rest asks for all."""
        now = self._clock()
        if self._failures < FAILURES or now >= self._until:
            self._until = now + SECONDS if self._failures >= FAILURES else 0.0
            return False
        return True

    def failed(self) -> None:
        self._failures += 1
        if self._failures >= FAILURES:
            self._until = self._clock() + SECONDS

    def worked(self) -> None:
        self._failures = 0
