"""Tells how a key was used of late, from the ledger, and whether anybody would miss it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import OuterRef, Subquery
from django.utils import timezone

from accounts.ledger.rows import RequestEntry
from accounts.models import ApiKey
from accounts.rights import Action, may
from accounts.scope import teams_of

# Whoever has used nothing for so long will hardly begin again.
QUIET = timedelta(days=7)
# Of one key: more is as good as this many.
_MOST_COUNTED = 1000


@dataclass(frozen=True, slots=True)
class KeyUse:
    """As the ledger has it, some seconds late. `safe_to_revoke`: it works no more anyway; or it was not used
    since its successor first was, or for seven days where none was."""

    last_used: datetime | None
    requests_7d: int
    safe_to_revoke: bool


def use_seen_by(user: Any, row: ApiKey) -> KeyUse | None:
    """The use of a key for who may see its team's requests; None for others."""
    teams = teams_of(user)
    if not may(user, Action.READ_REQUESTS) or (teams is not None and row.team_id not in teams):
        return None
    used = RequestEntry.objects.filter(key_id=row.pk)
    last = used.order_by("-at").values_list("at", flat=True).first()
    since = timezone.now() - QUIET
    count = used.filter(at__gte=since)[:_MOST_COUNTED].count()
    taken_over = _first_use(list(row.successors.values_list("pk", flat=True)))
    if row.state != "active":
        safe = True
    elif taken_over is not None:
        safe = last is None or last < taken_over
    else:
        safe = count == 0 and row.created < since
    return KeyUse(last, count, safe)


def last_uses(user: Any, rows: Iterable[ApiKey]) -> dict[int, datetime | None]:
    """When each of these keys was last used, by its id; without those of which `use_seen_by` tells nothing.
    One query, in which each key is looked up once: so of a page's keys, not of all."""
    if not may(user, Action.READ_REQUESTS):
        return {}
    teams = teams_of(user)
    pks = [row.pk for row in rows if teams is None or row.team_id in teams]
    used = RequestEntry.objects.filter(key_id=OuterRef("pk")).order_by("-at").values("at")[:1]
    keys = ApiKey.objects.filter(pk__in=pks).order_by().annotate(last_used=Subquery(used))
    return dict(keys.values_list("pk", "last_used"))


def _first_use(keys: list[int]) -> datetime | None:
    if not keys:
        return None
    used = RequestEntry.objects.filter(key_id__in=keys)
    return used.order_by("at").values_list("at", flat=True).first()
