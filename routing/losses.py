"""What was lost in translation, on its way from a book in memory to the table: the thread that writes."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple, Protocol

logger = logging.getLogger(__name__)

# Somebody who looks at the page sees what happened a moment ago; the database sees one small write.
INTERVAL = 10.0
# Long enough to see whether an application was mended, short enough that the table stays small.
KEEP = timedelta(days=30)


class Loss(NamedTuple):
    """Which field was lost where. `refused`: the route is strict, and the call was refused for it."""

    day: date
    route: str
    provider: str
    surface: str
    model: str
    field: str
    refused: bool


@dataclass(slots=True)
class Tally:
    """How often, and when last."""

    count: int
    last_seen: datetime


class Losses(Protocol):
    """Where losses are gathered. Both may be called from any thread."""

    def take(self) -> dict[Loss, Tally]:
        """All that was gathered; from now on it is the caller's."""
        ...

    def give_back(self, losses: Mapping[Loss, Tally]) -> None:
        """What could not be written: it is taken again later."""
        ...


class Store(Protocol):
    """Where they are written. All of it blocks, and any of it may raise."""

    def add(self, losses: Mapping[Loss, Tally]) -> None:
        """Add to what is there: all or nothing."""
        ...

    def forget(self, before: date) -> None:
        """Delete what is older."""
        ...

    def release(self) -> None:
        """Close what the calling thread holds open."""
        ...


class LossWriter:
    """Writes what was gathered every `interval` seconds, in a daemon thread of its own. It never raises:
    while the database is away, what was gathered is kept, as far as the book's bound goes."""

    def __init__(self, losses: Losses, store: Store, interval: float = INTERVAL) -> None:
        self._losses = losses
        self._store = store
        self._interval = interval
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._swept: date | None = None
        self._well = True

    def start(self) -> None:
        """Begin. Starting twice is starting once."""
        if self._thread is None:
            self._stop.clear()
            self._thread = threading.Thread(target=self._run, name="loss-writer", daemon=True)
            self._thread.start()

    def stop(self, wait: float = 2.0) -> None:
        """Write what is left and end; wait at most `wait` seconds for it. Blocks."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._stop.set()
            thread.join(wait)

    def _run(self) -> None:
        while not self._stop.wait(self._interval):
            self._write()
        self._write()

    def _write(self) -> None:
        losses = self._losses.take()
        if not losses:
            return
        written = False
        try:
            self._store.add(losses)
            written = True
            self._sweep()
        except Exception as error:  # noqa: BLE001 - a background loop: whatever it is, calls go on
            if not written:
                self._losses.give_back(losses)
            if self._well:
                # The type alone: a driver's text may name hosts and users.
                logger.error("translation losses cannot be written: %s", type(error).__name__)  # noqa: TRY400 - repeated outages must not fill the log with traces
            self._well = False
        else:
            if not self._well:
                logger.warning("translation losses can be written again")
            self._well = True
        finally:
            self._let_go()

    def _sweep(self) -> None:
        """Forget what is too old, once a day."""
        today = datetime.now(UTC).date()
        if self._swept != today:
            self._store.forget(today - KEEP)
            self._swept = today

    def _let_go(self) -> None:
        # A write every few seconds at most needs no connection in between.
        try:
            self._store.release()
        except Exception as error:  # noqa: BLE001 - as above
            logger.warning("closing after writing losses failed: %s", type(error).__name__)
