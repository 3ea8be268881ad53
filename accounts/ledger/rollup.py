"""Makes the sums of days anew from the rows, a day at a time, while gateways go on writing."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta

from django.db import transaction
from django.db.models import Max, Min, QuerySet

from accounts.ledger.folding import alone, fold, fold_again
from accounts.ledger.keep import ALL
from accounts.ledger.rows import LedgerCut, RequestEntry, UsageDay
from accounts.ledger.sums import add, folded_until, midnight, summed


def rollup(since: date | None = None) -> Iterator[date]:
    """Each day that was made anew, oldest first: from `since`, or from the first that has rows, on. Days of
    which requests were deleted keep the sums that they have. Blocks. Raises DatabaseError."""
    # What an older version has written of days that were over is in none of them.
    fold_again(since)
    span = RequestEntry.objects.aggregate(first=Min("at"), last=Max("at"))
    if span["first"] is None:
        return
    day = max(filter(None, (since, span["first"].date())))
    while day <= span["last"].date():
        if _anew(day):
            yield day
        day += timedelta(days=1)


def _anew(day: date) -> bool:
    """Make one day anew. False: it was deleted.

    Writers add to the sums in the transaction that ends a request. They wait while this one has the table:
    what they had committed before is in the rows that are read here, and what comes later is added later.
    """
    with transaction.atomic():
        alone()
        rows = RequestEntry.objects.filter(at__gte=midnight(day), at__lt=midnight(day + timedelta(days=1)))
        found = dict(summed(rows))
        # Read after the rows: whoever deletes some of them has said so before.
        cut = dict(LedgerCut.objects.filter(before__gt=day).values_list("team_id", "before"))
        if ALL in cut:
            return False
        kept: QuerySet[UsageDay] = UsageDay.objects.filter(day=day).exclude(team_id__in=list(cut))
        kept.delete()
        until = folded_until()
        add({key: amounts for key, amounts in found.items() if key[1] not in cut}, {})
        if until is not None and day <= until:
            fold(day)
    return True
