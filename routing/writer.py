"""What is gathered beside the calls, on its way from memory to a table: the thread that writes."""

from __future__ import annotations

import logging
from collections.abc import Sized
from datetime import UTC, date, datetime, timedelta
from typing import Generic, Protocol, TypeVar

from accounts.rounds import Rounds

logger = logging.getLogger(__name__)

# Somebody who looks at the page sees what happened a moment ago; the database sees one small write.
INTERVAL = 10.0
# Long enough to see whether an application was mended, short enough that the table stays small.
KEEP = timedelta(days=30)

G = TypeVar("G", bound=Sized)
G_in = TypeVar("G_in", bound=Sized, contravariant=True)


class Gathered(Protocol[G]):
    """Where something is gathered. Both may be called from any thread."""

    def take(self) -> G:
        """All that was gathered; from now on it is the caller's."""
        ...

    def give_back(self, gathered: G) -> None:
        """What could not be written: it is taken again later."""
        ...


class Table(Protocol[G_in]):
    """Where it is written. All of it blocks, and any of it may raise."""

    def add(self, gathered: G_in) -> None:
        """Add to what is there: all or nothing."""
        ...

    def forget(self, before: date) -> None:
        """Delete what is older."""
        ...

    def release(self) -> None:
        """Close what the calling thread holds open."""
        ...


class TableWriter(Generic[G]):
    """Writes what was gathered every `interval` seconds, in a daemon thread of its own. It never raises:
    while the database is away, what was gathered is kept, as far as the book's bound goes."""

    def __init__(self, what: str, book: Gathered[G], table: Table[G], interval: float = INTERVAL) -> None:
        self._what = what
        self._book = book
        self._table = table
        self._rounds = Rounds(f"writer of {what}", self._write, interval)
        self._swept: date | None = None
        self._well = True

    def start(self) -> None:
        """Begin. Starting twice is starting once."""
        self._rounds.start()

    def stop(self, wait: float = 2.0) -> None:
        """Write what is left and end; wait at most `wait` seconds for it. Blocks."""
        self._rounds.stop(wait)

    def _write(self) -> None:
        gathered = self._book.take()
        if not gathered:
            return
        written = False
        try:
            self._table.add(gathered)
            written = True
            self._sweep()
        except Exception as error:  # noqa: BLE001 - a background loop: whatever it is, calls go on
            if not written:
                self._book.give_back(gathered)
            if self._well:
                # The type alone: a driver's text may name hosts and users.
                logger.error("%s cannot be written: %s", self._what, type(error).__name__)  # noqa: TRY400 - repeated outages must not fill the log with traces
            self._well = False
        else:
            if not self._well:
                logger.warning("%s can be written again", self._what)
            self._well = True
        finally:
            self._let_go()

    def _sweep(self) -> None:
        """Forget what is too old, once a day."""
        today = datetime.now(UTC).date()
        if self._swept != today:
            self._table.forget(today - KEEP)
            self._swept = today

    def _let_go(self) -> None:
        # A write every few seconds at most needs no connection in between.
        try:
            self._table.release()
        except Exception as error:  # noqa: BLE001 - as above
            logger.warning("closing after writing %s failed: %s", self._what, type(error).__name__)
