"""The rows of measures, to what a snapshot says of them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

from django.utils import timezone


class Standing(NamedTuple):
    """A measure: what it is, of which provider, and until when."""

    kind: str
    provider_id: int | None
    until: datetime


def measure(row: tuple[Any, ...]) -> Standing:
    """A row as the tables or a kept file have it. Raises ValueError, TypeError."""
    _, kind, provider_id, until = row
    moment = datetime.fromisoformat(until) if isinstance(until, str) else until
    if not isinstance(moment, datetime) or moment.tzinfo is None:
        raise TypeError("until is no moment")
    return Standing(kind, provider_id, moment)


class Held:
    """Of measures those that hold now. `drained`: a provider's id to until when, in words; `shed_until` and
    `ends` as the snapshot has them."""

    def __init__(self, found: Iterable[Standing]) -> None:
        rows = list(found)
        now = timezone.now()
        holding = [row for row in rows if row.until > now]
        self.drained = {
            row.provider_id: f"{row.until:%Y-%m-%d %H:%M} UTC"
            for row in holding
            if row.kind == "drain" and row.provider_id is not None
        }
        self.shed_until = max((row.until.timestamp() for row in holding if row.kind == "shed"), default=0.0)
        # Those whose time is over too: somebody has to write that down.
        self.ends = min((row.until.timestamp() for row in rows), default=None)
