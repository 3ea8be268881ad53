"""Who folds a day and who adds to its sums wait for each other on PostgreSQL, so that nothing is lost between
the two."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connection, connections, transaction

from accounts.ledger.folding import alone, fold, fold_next
from accounts.ledger.rows import UsageFold
from accounts.ledger.table import write
from accounts.tests.ledger_lines import AT, ending

pytestmark = [pytest.mark.postgres, pytest.mark.usefixtures("a_request")]
# The day of the requests is over.
LATER = AT.date() + timedelta(days=3)


@pytest.fixture
def a_request(postgres: None) -> None:
    """One that is summed up."""
    write([ending()], "p1")


def folded() -> UsageFold:
    return UsageFold.objects.get()


def beside(work: Callable[[], object]) -> threading.Thread:
    """Begin this in another thread, and come back when it waits for a lock of ours."""

    def run() -> None:
        try:
            work()
        finally:
            connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    end = time.monotonic() + 30
    while not _somebody_waits():
        assert thread.is_alive(), "it did not wait"
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)
    return thread


def _somebody_waits() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted AND relation IS NOT NULL")
        return bool(cursor.fetchone() != (0,))


def test_who_folds_waits_for_who_has_added() -> None:
    with transaction.atomic():
        write([ending("late", cost=7)], "p2")
        folding = beside(lambda: fold_next(LATER))
    folding.join()
    assert (folded().requests, folded().cost) == (2, 72_507)


def test_who_adds_while_a_day_is_folded_adds_to_both() -> None:
    with transaction.atomic():
        alone()
        adding = beside(lambda: write([ending("late", cost=7)], "p2"))
        fold(AT.date())
    adding.join()
    assert (folded().requests, folded().cost) == (2, 72_507)
