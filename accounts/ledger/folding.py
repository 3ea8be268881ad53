"""Makes the sums without keys of days that are over, a day at a time, while gateways go on writing."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import Min, QuerySet, Sum

from accounts.ledger.rows import UsageDay, UsageFold
from accounts.ledger.sums import FOLDED, SUMS, folded_until

# Today and the two days before it are read as they are: nearly all that is written is of these.
_OPEN_DAYS = 3


def alone() -> None:
    """Hold up who writes sums until the transaction ends; readers go on. What they had committed before can
    be read then, and what comes later is added later."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            # SQLite has one writer at a time in any case.
            cursor.execute(f"LOCK TABLE {UsageDay._meta.db_table} IN SHARE ROW EXCLUSIVE MODE")


def fold_next(today: date | None = None) -> bool:
    """Fold the first day that is over and is not folded. False: there is none. Blocks. Raises
    DatabaseError."""
    before = (today or datetime.now(UTC).date()) - timedelta(days=_OPEN_DAYS - 1)
    if _next(before) is None:
        return False
    with transaction.atomic():
        alone()
        # Another process may have been before us.
        day = _next(before)
        if day is not None:
            fold(day)
    return True


def fold_again(since: date | None = None) -> None:
    """Fold anew what is folded. Blocks. Raises DatabaseError."""
    for day in folded_days(since):
        with transaction.atomic():
            alone()
            fold(day)


def fold(day: date) -> None:
    """Fold one day, within the transaction of who is alone."""
    UsageFold.objects.filter(day=day).delete()
    inner, values = without_keys(day).query.sql_with_params()
    columns = ", ".join((*FOLDED, *SUMS))
    with connection.cursor() as cursor:
        cursor.execute(f"INSERT INTO {UsageFold._meta.db_table} ({columns}) {inner}", values)


def without_keys(day: date) -> QuerySet[Any]:
    """What the sums of a day come to, FOLDED by name and each of SUMS as `sum_...`, in this order."""
    added = {f"sum_{name}": Sum(name) for name in SUMS}
    sums: QuerySet[Any] = UsageDay.objects.filter(day=day).order_by().values(*FOLDED).annotate(**added)
    return sums


def folded_days(since: date | None = None) -> Iterator[date]:
    """The days that are folded, oldest first."""
    days = UsageFold.objects.filter(day__gte=since or date.min)
    yield from list(days.order_by("day").values_list("day", flat=True).distinct())


def _next(before: date) -> date | None:
    until = folded_until()
    days = UsageDay.objects.filter(day__lt=before)
    if until is not None:
        days = days.filter(day__gt=until)
    first: date | None = days.aggregate(first=Min("day"))["first"]
    return first
