"""Tries a change of the configuration, takes it back, and says what it would have done to recent requests."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.utils import timezone
from msgspec import Struct

from providers.apps import vault
from routing.freeze import only_tried
from routing.impact import Impact, impact
from routing.loader import build_snapshot
from routing.recent import recent
from routing.revisions import hold
from routing.snapshot import EMPTY, Snapshot


@dataclass(slots=True)
class Rehearsal:
    """The configuration as it is, and, when it is over, as it would be."""

    before: Snapshot
    after: Snapshot = EMPTY


@contextmanager
def rehearsed() -> Iterator[Rehearsal]:
    """Within it a change is made, and may be published; afterwards nothing has happened. Blocks, and holds
    others' changes up. Raises DatabaseError."""
    with transaction.atomic(), only_tried():
        hold()
        rehearsal = Rehearsal(build_snapshot(vault()))
        yield rehearsal
        rehearsal.after = build_snapshot(vault())
        transaction.set_rollback(True)


class Preview(Struct):
    """An impact, and of when the requests are. `all_of_it`: there are no older ones in the ledger."""

    impact: Impact
    since: datetime | None
    until: datetime | None
    all_of_it: bool


def preview(rehearsal: Rehearsal, teams: Collection[int] | None = None) -> Preview:
    """What the change would have done to the newest requests of these teams (None: of all). Blocks. Raises
    DatabaseError."""
    looked = recent(teams)
    found = impact(rehearsal.before, rehearsal.after, looked.requests, timezone.now())
    return Preview(found, looked.since, looked.until, looked.all_of_it)
