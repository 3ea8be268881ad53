"""A thread beside the calls that does something every so often, and once more at its end."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Rounds:
    """`work` must not raise. The thread is a daemon, because a database that hangs must not keep the
    process. `interval`: seconds between two rounds."""

    def __init__(self, name: str, work: Callable[[], None], interval: float) -> None:
        self._name = name
        self._work = work
        self._interval = interval
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin. Starting twice is starting once."""
        if self._thread is None:
            self._stop.clear()
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()

    def stop(self, wait: float) -> None:
        """Do what is left and end; wait at most `wait` seconds for it. Blocks."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._stop.set()
            thread.join(wait)

    def _run(self) -> None:
        while not self._stop.wait(self._interval):
            self._work()
        self._work()
