"""Watches the event loop from a thread beside it, and says where it hangs."""

from __future__ import annotations

import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from math import inf
from typing import Protocol

# As often as the loop itself is looked at: a look that brings no beat is a tenth of a second without one.
INTERVAL = 0.1
# Looks without a beat after which the loop is blocked: more than a quarter of a second in any case.
_BLOCKED = 3
# And after which it never comes back: three times what a liveness probe waits.
_STUCK = 300
# A loop that is blocked again and again is not told of more often.
_TOLD_SECONDS = 5.0
_FRAMES = 8


class Watcher(Protocol):
    """Hears what is seen, from another thread. It must not raise."""

    def blocked(self, where: Sequence[str] | None) -> None:
        """The loop is blocked here; None: again, and it was told of a moment ago."""
        ...


class Watchdog:
    """`beats` grows as long as the loop goes on. `stuck` is called when it has not for half a minute.

    Looks are counted and not seconds: a process that was frozen and goes on has missed nothing.
    """

    def __init__(
        self, beats: Callable[[], int], watcher: Watcher, stuck: Callable[[], None] | None = None
    ) -> None:
        self._beats = beats
        self._watcher = watcher
        self._stuck = stuck
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._watched = 0
        self._told = -inf

    def start(self) -> None:
        """Watch the thread that calls this."""
        self._watched = threading.get_ident()
        self._thread = threading.Thread(target=self._run, name="loop-watchdog", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End it."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(1.0)

    def _run(self) -> None:
        seen, missed = self._beats(), 0
        while not self._stop.wait(INTERVAL):
            beats = self._beats()
            if beats != seen:
                seen, missed = beats, 0
                continue
            missed += 1
            if missed == _BLOCKED:
                self._tell()
            elif missed == _STUCK and self._stuck is not None:
                self._stuck()

    def _tell(self) -> None:
        now = time.monotonic()
        if now - self._told < _TOLD_SECONDS:
            self._watcher.blocked(None)
            return
        self._told = now
        frame = sys._current_frames().get(self._watched)
        stack = traceback.extract_stack(frame)[-_FRAMES:] if frame is not None else []
        # Where, never the values, which may be a prompt.
        self._watcher.blocked([f"{each.filename}:{each.lineno} {each.name}" for each in stack])
