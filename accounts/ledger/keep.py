"""How long requests are kept: deletion in the database, a batch at a time, by age and by team."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

from django.db import connection, transaction
from django.db.models import F
from django.db.models.functions import Greatest

from accounts.ledger.rows import AttemptEntry, LedgerCut, RequestEntry, UsageDay, UsageFold

# A deletion of so many rows is over before anybody waits for it, and no row comes into this process.
BATCH = 1000
ALL = 0


def first_kept(days: int, today: date | None = None) -> date:
    """The first day that is kept where `days` whole days beside today are."""
    return (today or datetime.now(UTC).date()) - timedelta(days=days)


def cut(before: date, team_id: int = ALL) -> None:
    """Say that requests of days before this one are to go: their days are not compared with the sums any
    more. Raises DatabaseError."""
    row, made = LedgerCut.objects.get_or_create(team_id=team_id, defaults={"before": before})
    if not made and row.before < before:
        LedgerCut.objects.filter(pk=row.pk).update(before=Greatest(F("before"), before))


def delete_some(before: date, team_id: int = ALL) -> int:
    """Delete at most BATCH requests of days before this one that have ended, with their attempts. How many;
    0: there are none left. Raises DatabaseError."""
    moment = datetime.combine(before, time(), UTC)
    rows = RequestEntry.objects.filter(at__lt=moment).exclude(state="reserved")
    if team_id != ALL:
        rows = rows.filter(team_id=team_id)
    chosen = rows.order_by("at", "id").values("pk")[:BATCH]
    requests, attempts = RequestEntry._meta.db_table, AttemptEntry._meta.db_table
    with transaction.atomic(), connection.cursor() as cursor:
        inner, values = chosen.query.sql_with_params()
        # The foreign key is checked when the transaction ends, so whose attempts they are can go first and
        # the choice need be made only once.
        cursor.execute(f"DELETE FROM {requests} WHERE id IN ({inner}) RETURNING id", values)  # noqa: S608 - Django's own SQL
        pks = [pk for (pk,) in cursor.fetchall()]
        if pks:
            marks = ", ".join(["%s"] * len(pks))
            cursor.execute(f"DELETE FROM {attempts} WHERE request_id IN ({marks})", pks)  # noqa: S608 - marks alone
    return len(pks)


def delete(before: date, team_id: int = ALL) -> int:
    """Delete all of it. How many requests."""
    cut(before, team_id)
    count = 0
    while done := delete_some(before, team_id):
        count += done
    return count


def delete_sums(team_id: int) -> int:
    """Delete a team's sums of days too: budgets in total of everybody then no longer know what it spent."""
    with transaction.atomic():
        # In this order: who folds a day waits for the first.
        count, _ = UsageDay.objects.filter(team_id=team_id).delete()
        UsageFold.objects.filter(team_id=team_id).delete()
    return count
