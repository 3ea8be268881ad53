"""Hears of new revisions and swaps the snapshot whole, in a thread of its own beside the event loop."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from routing.snapshot import Snapshot

logger = logging.getLogger(__name__)

# Two looks in a second, so that an edit is seen within one even when a look is slow.
INTERVAL = 0.4
# Older than this, what is in memory may lack a key that was issued since: a look hangs or fails.
FRESH_SECONDS = 5.0


class SnapshotHolder:
    """The snapshot in force. A request reads `current` once and keeps what it got."""

    def __init__(self, current: Snapshot) -> None:
        self.current = current


class Watcher:
    """Asks `latest` every `interval` seconds and, when the number has moved, swaps in what `load` builds.

    It never raises: while either fails, the last good snapshot stays, one log line says so, and another
    says when it is over. `release` closes what the thread holds open (its database connection), after a
    failure and at the end. The thread is a daemon, because a database that hangs must not keep the process.
    """

    def __init__(
        self,
        holder: SnapshotHolder,
        load: Callable[[], Snapshot],
        latest: Callable[[], int],
        interval: float = INTERVAL,
        *,
        release: Callable[[], None] = lambda: None,
    ) -> None:
        self._holder = holder
        self._load = load
        self._latest = latest
        self._interval = interval
        self._release = release
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._first = threading.Event()
        self._looked: float | None = None
        self.healthy = True

    @property
    def age(self) -> float | None:
        """Seconds since the database was last seen to hold what is in force; None before the first time."""
        return None if self._looked is None else time.monotonic() - self._looked

    def fresh(self) -> bool:
        """True while what is in force is what the database holds, give or take a moment."""
        age = self.age
        return age is not None and age < FRESH_SECONDS

    def start(self, wait: float = 0.0) -> None:
        """Begin watching, and wait at most `wait` seconds for the first look. Starting twice is starting
        once."""
        if self._thread is None:
            self._stop.clear()
            self._thread = threading.Thread(target=self._run, name="snapshot-watcher", daemon=True)
            self._thread.start()
        self._first.wait(wait)

    def stop(self, wait: float = 1.0) -> None:
        """End watching; wait at most `wait` seconds for a look that is under way."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._stop.set()
            thread.join(wait)

    def _run(self) -> None:
        self._look()
        self._first.set()
        while not self._stop.wait(self._interval):
            self._look()
        self._let_go()

    def _look(self) -> None:
        try:
            number = self._latest()
            if number != self._holder.current.revision:
                self._holder.current = self._load()
                logger.info("revision %d is in force", self._holder.current.revision)
        except Exception as error:  # noqa: BLE001 - a background loop: whatever it is, the last good one serves
            self._let_go()
            if self.healthy:
                # The type alone: a driver's text may name hosts and users.
                logger.error("configuration cannot be read, the last one stays: %s", type(error).__name__)  # noqa: TRY400 - repeated outages must not fill the log with traces
            self.healthy = False
        else:
            self._looked = time.monotonic()
            if not self.healthy:
                logger.warning("configuration can be read again")
            self.healthy = True

    def _let_go(self) -> None:
        try:
            self._release()
        except Exception as error:  # noqa: BLE001 - as above
            logger.warning("closing after a failure failed: %s", type(error).__name__)
