"""Carries captures from memory into the database: a bounded line, and a thread that redacts, seals and
writes in batches, and prunes."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime

import orjson
from django.db import DatabaseError, connections
from prometheus_client import CollectorRegistry, Counter

from accounts.capture import keep
from accounts.capture.joined import joined
from accounts.capture.redact import Redactor, describe
from accounts.capture.rows import Capture, CaptureCut, owner
from accounts.capture.setting import Taken
from accounts.rounds import Rounds

logger = logging.getLogger(__name__)

INTERVAL = 0.5
# Of all that waits or is under way: some captures of the largest size, hundreds of usual ones.
MOST_BYTES = 32 << 20
MOST_WAITING = 1000
_BATCH = 50
PRUNE_SECONDS = 600.0
# Longer to read than is worth it: such a side is told by its size alone.
_MOST_READ = 8 << 20


class CaptureWriter:
    """`put` from the event loop neither waits nor raises: what has no room is dropped and counted."""

    def __init__(
        self, seal: Callable[[str, str], str], registry: CollectorRegistry, interval: float = INTERVAL
    ) -> None:
        self._seal = seal
        self._written = Counter("gateway_captures_written", "Captures in the database.", registry=registry)
        self._dropped = Counter(
            "gateway_captures_dropped",
            "Captures that are lost: too many waited (full), the database was away (database), or they could "
            "not be redacted or sealed (unreadable).",
            ("reason",),
            registry=registry,
        )
        self._lock = threading.Lock()
        self._line: deque[Taken] = deque()
        self._held = 0
        self._rounds = Rounds("capture-writer", self._round, interval)
        self._well = True
        self._pruned = 0.0

    def put(self, taken: Taken) -> None:
        with self._lock:
            full = len(self._line) >= MOST_WAITING or self._held + taken.size > MOST_BYTES
            if not full:
                self._held += taken.size
                self._line.append(taken)
        if full:
            self._dropped.labels("full").inc()

    def room(self, size: int) -> bool:
        with self._lock:
            if self._held + size > MOST_BYTES:
                return False
            self._held += size
            return True

    def free(self, size: int) -> None:
        with self._lock:
            self._held -= size

    def start(self) -> None:
        """Begin. Starting twice is starting once."""
        self._rounds.start()

    def stop(self, wait: float = 2.0) -> None:
        """Write what is left and end; wait at most `wait` seconds for it. Blocks."""
        self._rounds.stop(wait)

    def _round(self) -> None:
        wrote = False
        try:
            while self.write_some():
                wrote = True
            if time.monotonic() - self._pruned >= PRUNE_SECONDS or not self._pruned:
                self._pruned = time.monotonic()
                keep.prune()
        except Exception as error:  # noqa: BLE001 - a background loop: whatever it is, calls go on
            if self._well:
                # The type alone: a driver's text may quote what it was given.
                logger.error("captures cannot be written: %s", type(error).__name__)  # noqa: TRY400 - an outage must not fill the log with traces
            self._well = wrote = False
        finally:
            connections.close_all()
        if wrote and not self._well:
            logger.warning("captures can be written again")
        self._well = self._well or wrote

    def write_some(self) -> int:
        """Write a batch. How many were taken from the line; 0: it is empty. Raises DatabaseError."""
        with self._lock:
            batch = [self._line.popleft() for _ in range(min(_BATCH, len(self._line)))]
            self._held -= sum(taken.size for taken in batch)
        if not batch:
            return 0
        rows = [row for row in map(self._row, batch) if row is not None]
        try:
            Capture.objects.bulk_create(rows, ignore_conflicts=True)
            # Only now: who forgets deletes after he has said so, so one of both sees the other.
            for team, before in CaptureCut.objects.filter(
                team_id__in={row.team_id for row in rows}
            ).values_list("team_id", "before"):
                Capture.objects.filter(team_id=team, at__lte=before).delete()
        except DatabaseError:
            self._dropped.labels("database").inc(len(rows))
            raise
        self._written.inc(len(rows))
        return len(batch)

    def _row(self, taken: Taken) -> Capture | None:
        try:
            text, cut = stored(taken)
            sealed = self._seal(text, owner(taken.team_id, taken.request_id))
        except Exception as error:  # noqa: BLE001 - a background loop: one that cannot be redacted keeps no other back
            logger.warning("a capture cannot be redacted: %s", type(error).__name__)
            self._dropped.labels("unreadable").inc()
            return None
        return Capture(
            request_id=taken.request_id,
            team_id=taken.team_id,
            at=datetime.fromtimestamp(taken.at, UTC),
            surface=taken.surface,
            status=taken.status,
            cached=taken.cached,
            cut=taken.cut or cut,
            sealed=sealed,
        )


def stored(taken: Taken) -> tuple[str, bool]:
    """Both sides as they are sealed, redacted, and whether something was left out. Raises re2.error."""
    setting = taken.setting
    asks, says = Redactor(setting.patterns, setting.cap), Redactor(setting.patterns, setting.cap)
    sides = {"request": asks.value(taken.body), "answer": says.value(_answer(taken))}
    return orjson.dumps(sides, option=orjson.OPT_INDENT_2).decode(), asks.cut or says.cut


def _answer(taken: Taken) -> object:
    kind = taken.content_type.partition(";")[0].strip() or "bytes"
    if len(taken.answer) > _MOST_READ:
        return describe(kind, taken.answer)
    if kind in ("text/event-stream", "application/x-ndjson"):
        return joined(taken.answer)
    try:
        found: object = orjson.loads(taken.answer)
    except ValueError:
        readable = kind.startswith("text/")
        return taken.answer.decode("utf-8", "replace") if readable else describe(kind, taken.answer)
    return found
