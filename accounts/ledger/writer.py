"""The thread that carries the journal into the database, looks after what dead processes have left, and
deletes what is too old."""

from __future__ import annotations

import logging
import threading
import time
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Protocol

from django.db import connections

from accounts.ledger import keep
from accounts.ledger.folding import fold_next
from accounts.ledger.journal import Abandoned, Journal, abandoned
from accounts.ledger.metrics import LedgerMetrics
from accounts.ledger.sums import spent
from accounts.ledger.table import write
from accounts.ledger.watch import BEAT_SECONDS, Census, orphan

logger = logging.getLogger(__name__)

# Long enough that a call of a second is one row written once, short enough for who looks at the page.
INTERVAL = 0.5
# While the database is away it is asked so often.
PAUSE = 1.0
# So far behind is worth a person's attention.
BEHIND_SECONDS = 30.0
# A second of the end of a process; what is not carried then is carried by whoever comes next.
STOP_SECONDS = 5.0
# A budget's counter waits two seconds for its beginning.
_FLUSH_SECONDS = 1.5


class Lines(Protocol):
    """Somebody's journal."""

    def lines(self) -> list[bytes]: ...

    def carried(self) -> None: ...


class Writer:
    """`start`, and what the journal is given is in the database a moment later; `stop`, and all of it is. It
    never raises. `days`: how long requests are kept, None for ever."""

    def __init__(
        self, journal: Journal, folder: Path, metrics: LedgerMetrics, days: int | None = None
    ) -> None:
        self.interval = INTERVAL
        self._journal = journal
        self._folder = folder
        self._metrics = metrics
        self._days = days
        self._census = Census(journal.name)
        # Whoever carries lines: the thread, or a budget that wants to know what is spent.
        self._carrying = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._well = True
        self._carried_at = time.monotonic()
        self._beat_at = 0.0
        self._kept: date | None = None
        self._folded: date | None = None

    @property
    def lag(self) -> float:
        """For how many seconds, at most, something has waited for the database."""
        return time.monotonic() - self._carried_at if self._journal.depth else 0.0

    @property
    def behind(self) -> bool:
        """True when that needs a person."""
        return self.lag > BEHIND_SECONDS

    def start(self) -> None:
        """Begin. Starting twice is starting once."""
        if self._thread is None:
            self._journal.open()
            self._stop.clear()
            self._thread = threading.Thread(target=self._run, name="ledger-writer", daemon=True)
            self._thread.start()

    def stop(self, wait: float = STOP_SECONDS) -> None:
        """Write what is left and end; wait at most `wait` seconds for it. Blocks."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._stop.set()
            thread.join(wait)
            if not thread.is_alive():
                self._journal.close()

    def spent(self, unit: str, since: date, *, team_id: int | None = None, key_id: int | None = None) -> int:
        """What is spent since this day, with all that this process has written down. Blocks. Raises
        DatabaseError, or TimeoutError where the thread hangs in the database."""
        if not self._carrying.acquire(timeout=_FLUSH_SECONDS):
            raise TimeoutError
        try:
            self._carry(self._journal, self._journal.name)
            self._look_around()
            return spent(unit, since, team_id=team_id, key_id=key_id)
        finally:
            self._carrying.release()
            connections.close_all()

    def _run(self) -> None:
        while not self._stop.wait(self.interval if self._well else PAUSE):
            self._round()
        self._last()

    def _round(self) -> None:
        try:
            self._journal.open()
            due = time.monotonic() - self._beat_at >= BEAT_SECONDS
            if due:
                # Before anything is written in this name.
                self._census.beat()
            self._carry_all()
            self._carried_at = time.monotonic()
            if due:
                self._bury_the_silent()
                self._beat_at = self._carried_at
            self._fold()
            self._keep()
        except Exception as error:  # noqa: BLE001 - a background loop: whatever it is, calls go on
            self._census.forget()
            self._beat_at = 0.0
            if self._well:
                # The type alone: a driver's text may name hosts and users.
                logger.error("the ledger cannot be written: %s", type(error).__name__)  # noqa: TRY400 - an outage must not fill the log with traces
            self._well = False
            connections.close_all()
        else:
            if not self._well:
                logger.warning("the ledger can be written again")
            self._well = True
        self._metrics.waiting(self.lag, self._journal.depth)

    def _last(self) -> None:
        try:
            with self._carrying:
                self._carry(self._journal, self._journal.name)
            self._census.leave()
        except Exception as error:  # noqa: BLE001 - as above
            logger.warning("some of the ledger is left for the next start: %s", type(error).__name__)
        connections.close_all()

    def _carry_all(self) -> None:
        with self._carrying:
            self._carry(self._journal, self._journal.name)
            self._look_around()

    def _carry(self, source: Lines, name: str) -> None:
        while lines := source.lines():
            done = write(lines, name)
            source.carried()
            self._metrics.written(done.ended)
            self._metrics.dropped("stale", done.stale)
            self._metrics.dropped("unreadable", done.unreadable)

    def _bury_the_silent(self) -> None:
        """Charge what processes of other machines have left when they died."""
        for name in self._census.dead():
            count = orphan(name)
            self._metrics.orphaned(count)
            logger.warning("a process has died: %d requests were charged as reserved", count)

    def _look_around(self) -> None:
        """Carry and charge what processes of this machine have left when they died."""
        for found in abandoned(self._folder, self._journal.name):
            empty = False
            try:
                self._carry(found, found.name)
                self._bury(found)
                empty = True
            finally:
                found.release(empty=empty)

    def _bury(self, found: Abandoned) -> None:
        self._metrics.dropped("unreadable", found.torn)
        # Nothing more will come of it, so what is still under way will never end.
        count = orphan(found.name)
        self._metrics.orphaned(count)
        logger.warning("a process has died: its journal is written, %d requests charged as reserved", count)

    def _fold(self) -> None:
        """Fold the days that are over: once a day, a day in each round."""
        today = datetime.now(UTC).date()
        if self._folded != today and not fold_next(today):
            self._folded = today

    def _keep(self) -> None:
        """Delete what is too old: once a day, a batch in each round, so that writing does not wait."""
        if self._days is None:
            return
        before = keep.first_kept(self._days)
        if self._kept == before:
            return
        keep.cut(before)
        if not keep.delete_some(before):
            self._kept = before
