"""Sums of days made anew come to what they were, while others write, and without what was deleted."""

from __future__ import annotations

import threading
from datetime import date, timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connections
from django.db.models import F, Sum

from accounts.ledger import keep, proof
from accounts.ledger.rollup import rollup
from accounts.ledger.rows import UsageDay
from accounts.ledger.sums import BOUNDS, KEY, SPREAD, SUMS
from accounts.ledger.table import write
from accounts.ledger.watch import orphan
from accounts.tests.ledger_lines import AT, ending, opening

pytestmark = pytest.mark.usefixtures("database")
DAY = AT.date()


def days() -> set[tuple[Any, ...]]:
    return set(UsageDay.objects.values_list(*KEY, *SUMS))


def sound() -> bool:
    return not [found for found in proof.prove(date(1970, 1, 1)) if found.check == "sums"]


@pytest.fixture
def three_days(database: None) -> None:
    changes: list[dict[str, Any]] = [
        {},
        {"total_ms": 60_001},
        {"outcome": "error", "state": "released", "cost": 0},
        {"team_id": 8, "team": "others", "cost": None},
        {"cache": "hit", "saved": 5, "cost": 0, "ttft_ms": None, "total_ms": 0},
        {"outcome": "client_gone", "state": "estimated"},
    ]
    write(
        [
            ending(f"req_{day}_{number}", at=(AT - timedelta(days=day)).timestamp(), **change)
            for day in range(3)
            for number, change in enumerate(changes)
        ],
        "p1",
    )
    write([opening("open"), opening("orphan")], "p2")
    orphan("p2")


@pytest.mark.usefixtures("three_days")
@pytest.mark.parametrize("harm", ["changed", "gone", "too many", "nothing"])
def test_sums_are_made_anew(harm: str) -> None:
    before = days()
    if harm == "changed":
        UsageDay.objects.update(cost=F("cost") + 1, ok_more=7)
    elif harm == "gone":
        UsageDay.objects.all().delete()
    elif harm == "too many":
        UsageDay.objects.create(day=DAY, team_id=9, team="x", key_id=9, key="x", model="m", requests=4)
    assert sound() == (harm == "nothing")
    assert list(rollup()) == [DAY - timedelta(days=2), DAY - timedelta(days=1), DAY]
    assert days() == before
    assert sound()


@pytest.mark.usefixtures("three_days")
def test_only_days_that_are_asked_for() -> None:
    UsageDay.objects.update(cost=1)
    assert list(rollup(DAY)) == [DAY]
    assert not UsageDay.objects.filter(day=DAY, cost=1).exists()
    assert not UsageDay.objects.filter(day__lt=DAY).exclude(cost=1).exists()


@pytest.mark.usefixtures("three_days")
def test_the_command_says_how_many_days() -> None:
    before = days()
    UsageDay.objects.update(cost=1)
    told = StringIO()
    call_command("ledger", "rollup", stdout=told)
    assert told.getvalue() == "Sums of 3 days were made anew.\n"
    assert days() == before
    with pytest.raises(CommandError, match="--days"):
        call_command("ledger", "rollup", days=-1)


@pytest.mark.usefixtures("three_days")
def test_what_was_deleted_keeps_its_sums() -> None:
    before = days()
    keep.delete(DAY - timedelta(days=1))
    keep.delete(DAY + timedelta(days=1), team_id=8)
    # A request of a day that is gone, which the cut keeps out.
    UsageDay.objects.filter(day=DAY, team_id=7).update(cost=1)
    assert list(rollup()) == [DAY - timedelta(days=1), DAY]
    assert days() == before


def test_without_requests_there_is_nothing_to_do() -> None:
    assert list(rollup()) == []


def test_others_write_meanwhile() -> None:
    """Three write ends, some of them twice, while sums are made anew over and over."""
    write([ending("first")], "p0")
    failed: list[BaseException] = []

    def process(turn: int) -> None:
        try:
            for begin in range(0, 60, 10):
                some = [ending(f"req_{turn}_{n}", total_ms=n * 100) for n in range(begin, begin + 10)]
                write(some, f"p{turn}")
                write(some[:5], f"p{turn}")
        except BaseException as error:
            failed.append(error)
            raise
        finally:
            connections.close_all()

    threads = [threading.Thread(target=process, args=(turn,)) for turn in range(3)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        list(rollup())
    for thread in threads:
        thread.join()
    assert failed == []
    assert UsageDay.objects.aggregate(all=Sum("requests"))["all"] == 181
    assert sound()


def test_a_request_is_in_one_place_of_the_spread_in_rows_and_sums_alike() -> None:
    times = [0, *BOUNDS, *(bound + 1 for bound in BOUNDS)]
    write([ending(f"req_{ms}", model=f"{ms}", total_ms=ms) for ms in times], "p1")
    for row in UsageDay.objects.values("model", *SPREAD):
        ms = int(row.pop("model"))
        bounds = [bound for bound in BOUNDS if ms <= bound]
        assert {name: count for name, count in row.items() if count} == {
            f"ok_{bounds[0]}" if bounds else "ok_more": 1
        }
    assert UsageDay.objects.count() == len(times)
    assert sound()


@pytest.mark.parametrize("outcome", ["error", "client_gone"])
def test_what_did_not_end_well_is_in_none(outcome: str) -> None:
    write([ending(outcome=outcome)], "p1")
    assert not any(UsageDay.objects.values_list(*SPREAD).get())
    assert sound()
