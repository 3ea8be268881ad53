"""Hits of like questions in the database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime, time

from django.db import connections

from routing.models_semantic import SemanticEvent
from routing.semantic_hits import Event

# A statement of this many rows is over before anybody waits for it.
BATCH = 1000


class SemanticTable:
    """The table of the writer. Safe with any number of replicas."""

    def add(self, gathered: Sequence[Event]) -> None:
        """Write events down. Blocks. Raises DatabaseError."""
        rows = [SemanticEvent(**asdict(event)) for event in gathered]
        SemanticEvent.objects.bulk_create(rows, batch_size=BATCH)

    def forget(self, before: date) -> None:
        """Delete the days before this one, a batch at a time. Blocks. Raises DatabaseError."""
        day = datetime.combine(before, time.min, UTC)
        old = SemanticEvent.objects.filter(at__lt=day).order_by("pk").values_list("pk", flat=True)
        while pks := list(old[:BATCH]):
            SemanticEvent.objects.filter(pk__in=pks).delete()

    def release(self) -> None:
        """Close the calling thread's database connections."""
        connections.close_all()
