"""Which processes live, and what becomes of the requests of those that have died."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterable

from django.db.models import F

from accounts.ledger.lines import ENDING
from accounts.ledger.rows import AttemptEntry, LedgerProcess, RequestEntry
from accounts.ledger.sums import add, sums_of
from accounts.ledger.table import BATCH, again

# A process says so often that it lives.
BEAT_SECONDS = 5.0
# And is dead when it has said nothing for so long: five beats in a row are not late by accident.
SILENT_SECONDS = 30.0


class Census:
    """The processes, as one of them sees them. All of it blocks, and may raise DatabaseError: then what was
    seen before is forgotten, because who could not reach the database either is not dead for it.

    No clocks are compared: a process counts its beats, and whoever watches measures by its own clock for how
    long it has seen no new one.
    """

    def __init__(self, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._clock = clock
        self._beats = 0
        self._seen: dict[str, tuple[int, float]] = {}

    def forget(self) -> None:
        """Begin to watch anew."""
        self._seen.clear()

    def beat(self) -> None:
        """Say that this process lives."""
        self._beats += 1
        values = {"host": socket.gethostname()[:100], "pid": os.getpid(), "beat": self._beats}
        LedgerProcess.objects.update_or_create(name=self._name, defaults=values)

    def leave(self) -> None:
        """This process has nothing left to write."""
        LedgerProcess.objects.filter(name=self._name).delete()

    def dead(self) -> list[str]:
        """The names of those that are silent for too long, and of those that are unknown and still have
        requests under way."""
        now = self._clock()
        beats = dict(LedgerProcess.objects.exclude(name=self._name).values_list("name", "beat"))
        self._seen = {name: self._since(name, beat, now) for name, beat in beats.items()}
        silent = [name for name, (_, since) in self._seen.items() if now - since >= SILENT_SECONDS]
        return [*silent, *self._unknown({*beats, self._name})]

    def _since(self, name: str, beat: int, now: float) -> tuple[int, float]:
        seen = self._seen.get(name)
        return (beat, now) if seen is None or seen[0] != beat else seen

    def _unknown(self, known: Iterable[str]) -> list[str]:
        rows = RequestEntry.objects.filter(state="reserved").exclude(process__in=list(known))
        # The default order would be part of what is distinct.
        return list(rows.order_by().values_list("process", flat=True).distinct())


def orphan(process: str) -> int:
    """End what this process has left under way, charged as reserved. How many requests. Blocks. Raises
    DatabaseError."""
    count = 0
    while ended := again(lambda: _some(process)):
        count += ended
    LedgerProcess.objects.filter(name=process).delete()
    return count


def _some(process: str) -> int:
    rows = RequestEntry.objects.select_for_update().filter(process=process, state="reserved")
    pks = [row.pk for row in rows.order_by("request_id")[:BATCH]]
    if not pks:
        return 0
    RequestEntry.objects.filter(pk__in=pks).update(
        state="orphaned",
        outcome="error",
        code="process_died",
        input_tokens=F("reserved_input"),
        output_tokens=F("reserved_output"),
        cost=F("reserved_cost"),
        usage_source="reservation",
    )
    AttemptEntry.objects.filter(request_id__in=pks, state="reserved").update(
        state="orphaned", outcome="process_died"
    )
    add(sums_of(RequestEntry.objects.filter(pk__in=pks).values_list(*ENDING)), {})
    return len(pks)
