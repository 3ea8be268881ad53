"""Hears of new revisions and swaps the snapshot whole, in a thread of its own beside the event loop."""

from __future__ import annotations

import logging
import threading
import time
from math import inf
from typing import Protocol

from routing.snapshot import EMPTY, Snapshot

logger = logging.getLogger(__name__)

# Two looks in a second, so that an edit is seen within one even when a look is slow.
INTERVAL = 0.4
# A question for migrations reads their files and a table.
_ASK_SECONDS = 2.0
# Older than this, what is in memory may lack a key that was issued since: a look hangs or fails.
FRESH_SECONDS = 5.0


class SnapshotHolder:
    """The snapshot in force. A request reads `current` once and keeps what it got."""

    def __init__(self, current: Snapshot) -> None:
        self.current = current


class Source(Protocol):
    """Where snapshots come from. All of it blocks, and any of it may raise."""

    def latest(self) -> int:
        """The number of the last revision."""
        ...

    def load(self) -> Snapshot:
        """What is in force as of now."""
        ...

    def pending(self) -> bool:
        """True when the tables are older than this program."""
        ...

    def recall(self) -> Snapshot | None:
        """What was in force before this process began, for when nothing can be loaded."""
        ...

    def release(self) -> None:
        """Close what the calling thread holds open."""
        ...


class Watcher:
    """Asks the source every `interval` seconds and, when the number has moved, swaps in what it loads.

    It never raises: while the source fails, the last good snapshot stays (or what is recalled, where there
    is none yet), one log line says so, and another says when it is over. The thread is a daemon, because a
    database that hangs must not keep the process.
    """

    def __init__(self, holder: SnapshotHolder, source: Source, interval: float = INTERVAL) -> None:
        self._holder = holder
        self._source = source
        self._interval = interval
        # The last number that was loaded; what is recalled counts as none.
        self._number: int | None = None
        # What is recalled never replaces what was loaded meanwhile.
        self._swap = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._first = threading.Event()
        self._looked: float | None = None
        self._asked = -inf
        self.healthy = True
        # True while migrations are to be applied: what the tables say may not be all that it should.
        self.pending = False

    @property
    def age(self) -> float | None:
        """Seconds since the database was last seen to hold what is in force; None before the first time."""
        return None if self._looked is None else time.monotonic() - self._looked

    def fresh(self) -> bool:
        """True while what is in force is what the database holds, give or take a moment."""
        age = self.age
        return age is not None and age < FRESH_SECONDS

    def start(self, wait: float = 0.0) -> None:
        """Begin watching, and wait at most `wait` seconds for the first look; when it takes longer, what is
        recalled serves until it is over. Starting twice is starting once."""
        if self._thread is None:
            self._stop.clear()
            self._thread = threading.Thread(target=self._run, name="snapshot-watcher", daemon=True)
            self._thread.start()
        if not self._first.wait(wait) and wait:
            # A database that hangs instead of failing.
            self._fall_back()

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
            number = self._source.latest()
            if number != self._number:
                snapshot = self._source.load()
                with self._swap:
                    self._holder.current, self._number = snapshot, snapshot.revision
                logger.info("revision %d is in force", snapshot.revision)
        except Exception as error:  # noqa: BLE001 - a background loop: whatever it is, the last good one serves
            self._ask_for_migrations()
            self._let_go()
            if self.healthy:
                # The type alone: a driver's text may name hosts and users.
                logger.error("configuration cannot be read, the last one stays: %s", type(error).__name__)  # noqa: TRY400 - repeated outages must not fill the log with traces
                self._fall_back()
            self.healthy = False
        else:
            self._looked = time.monotonic()
            if self.pending or not self.healthy or self._asked == -inf:
                self._ask_for_migrations()
            if not self.healthy:
                logger.warning("configuration can be read again")
            self.healthy = True

    def _ask_for_migrations(self) -> None:
        """Now and then: at the start, after an outage, and as long as something is wrong."""
        if time.monotonic() - self._asked < _ASK_SECONDS:
            return
        self._asked = time.monotonic()
        try:
            pending = self._source.pending()
        except Exception as error:  # noqa: BLE001 - as above
            logger.info("nobody knows whether migrations are pending: %s", type(error).__name__)
            return
        if pending and not self.pending:
            logger.error("migrations are pending, not ready: start a gateway, or run manage.py migrate")
        self.pending = pending

    def _fall_back(self) -> None:
        if self._holder.current is not EMPTY:
            return
        try:
            recalled = self._source.recall()
        except Exception as error:  # noqa: BLE001 - as above
            logger.error("nothing can be recalled: %s", type(error).__name__)  # noqa: TRY400 - as above
            return
        with self._swap:
            if recalled is None or self._holder.current is not EMPTY:
                return
            self._holder.current = recalled
        logger.warning("revision %d, kept from before, is in force", recalled.revision)

    def _let_go(self) -> None:
        try:
            self._source.release()
        except Exception as error:  # noqa: BLE001 - as above
            logger.warning("closing after a failure failed: %s", type(error).__name__)
