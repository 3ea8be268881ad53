"""Sums without keys say what those with keys say, while others write, and spare the page of usage these."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import pytest
from django.db import connection, connections
from django.db.models import F
from django.test.utils import CaptureQueriesContext

from accounts.ledger import keep, proof
from accounts.ledger.folding import fold_again, fold_next, folded_days
from accounts.ledger.rollup import rollup
from accounts.ledger.rows import RequestEntry, UsageDay, UsageFold
from accounts.ledger.sums import FOLDED, KEY, SUMS, folded_until
from accounts.ledger.table import write
from accounts.ledger.usage import GROUPS, MEASURES, MOST_GROUPS, Usage, asked, usage
from accounts.ledger.watch import orphan
from accounts.tests.ledger_lines import AT, ending, opening

pytestmark = pytest.mark.usefixtures("database")
DAY = AT.date()
# From then on DAY is over.
LATER = DAY + timedelta(days=3)


def sums(model: type[UsageDay | UsageFold]) -> dict[tuple[Any, ...], list[int]]:
    """By what folded sums are by; without what came to nothing."""
    found: dict[tuple[Any, ...], list[int]] = {}
    for row in model.objects.values(*FOLDED, *SUMS):
        kept = found.setdefault(tuple(row[name] for name in FOLDED), [0] * len(SUMS))
        for place, name in enumerate(SUMS):
            kept[place] += row[name]
    return {whose: amounts for whose, amounts in found.items() if any(amounts)}


def fold_all(today: date = LATER) -> int:
    return sum(1 for _ in itertools.takewhile(bool, (fold_next(today) for _ in itertools.count())))


def differing() -> set[str]:
    return {found.check for found in proof.prove(date(1970, 1, 1))} & {"sums", "folded"}


@pytest.fixture
def days(database: None) -> None:
    """Four days of sixty keys of three teams, with five models."""
    write(
        [
            ending(
                f"req_{day}_{n}",
                at=(AT - timedelta(days=day)).timestamp(),
                team_id=n % 3,
                team=f"team-{n % 3}",
                key_id=n,
                key=f"key-{n}",
                model=f"m{n % 5}",
                provider=f"p{n % 2}",
                cost=n * 7 % 11,
                total_ms=n * 100,
                outcome="ok" if n % 7 else "error",
            )
            for day in range(4)
            for n in range(60)
        ],
        "p1",
    )


@pytest.mark.usefixtures("days")
def test_the_oldest_day_is_folded_first_and_the_last_three_are_left() -> None:
    assert folded_until() is None
    assert fold_next(DAY)
    assert list(folded_days()) == [DAY - timedelta(days=3)]
    assert not fold_next(DAY)
    assert fold_all() == 3
    assert folded_until() == DAY
    assert sums(UsageFold) == sums(UsageDay)
    assert UsageFold.objects.count() * 2 == UsageDay.objects.count()
    assert differing() == set()


@pytest.mark.usefixtures("days")
def test_what_comes_late_is_in_both() -> None:
    old = (AT - timedelta(days=2)).timestamp()
    write([opening("slow", at=old), opening("lost", at=old)], "p2")
    fold_all(DAY + timedelta(days=1))
    assert folded_until() == DAY - timedelta(days=2)
    # Ended late, charged as reserved, and then known after all; of a day that nobody had, and of today.
    write([ending("slow", at=old)], "p2")
    orphan("p2")
    assert sums(UsageFold).items() <= sums(UsageDay).items()
    write([ending("lost", at=old, model="another"), ending("new")], "p2")
    write([ending("older", at=(AT - timedelta(days=30)).timestamp())], "p2")
    days = {whose[0] for whose in sums(UsageFold)}
    assert days == {DAY - timedelta(days=n) for n in (2, 3, 30)}
    assert sums(UsageFold) == {w: amounts for w, amounts in sums(UsageDay).items() if w[0] in days}
    fold_all()
    assert sums(UsageFold) == sums(UsageDay)
    assert differing() == set()


def _an_older_version_wrote() -> None:
    keep.delete(DAY)
    UsageDay.objects.filter(day=DAY - timedelta(days=1)).update(cost=F("cost") + 1)


HARM: dict[str, Callable[[], object]] = {
    "without keys is too high": lambda: UsageFold.objects.filter(model="m1").update(cost=F("cost") + 1),
    "without keys is missing": lambda: UsageFold.objects.filter(model="m1", day__lt=DAY).delete(),
    "nobody has ever said": lambda: UsageFold.objects.create(day=DAY, team_id=9, model="m", requests=1),
    "requests are gone": _an_older_version_wrote,
}


@pytest.mark.usefixtures("days")
@pytest.mark.parametrize("harm", HARM)
def test_what_differs_is_found_and_folded_anew(harm: str) -> None:
    fold_all()
    HARM[harm]()
    assert differing() == {"folded"}
    list(rollup())
    assert differing() == set()
    assert sums(UsageFold) == sums(UsageDay)


@pytest.mark.usefixtures("days")
def test_days_made_anew_are_in_both() -> None:
    fold_all()
    UsageDay.objects.update(cost=1)
    assert len(list(rollup())) == 4
    assert sums(UsageFold) == sums(UsageDay)
    assert differing() == set()
    assert keep.delete_sums(1)
    assert sums(UsageFold) == sums(UsageDay)
    assert 1 not in {whose[1] for whose in sums(UsageFold)}


def told(query: dict[str, str]) -> Usage:
    return usage(asked(query), UsageDay.objects.all(), UsageFold.objects.all())


SPAN = {"first": f"{DAY - timedelta(days=3)}", "last": f"{DAY}"}
ONLY: list[dict[str, str]] = [{}, {"team": "1"}, {"model": "m1"}, {"provider": "p1"}, {"key": "4"}]


@pytest.mark.usefixtures("days")
def test_usage_is_the_same_however_much_is_folded() -> None:
    questions = [
        {**SPAN, "by": by, "measure": measure, **only}
        for by, measure, only in itertools.product(GROUPS, MEASURES, ONLY)
    ]
    before = [told(each) for each in questions]
    assert before[0].total.sums["requests"] == 240
    for today in (DAY, DAY + timedelta(days=1), LATER):
        assert fold_all(today)
        for question, found in zip(questions, before, strict=True):
            assert told(question) == found, question


@pytest.mark.usefixtures("days")
def test_more_groups_than_are_listed_are_ordered_over_both() -> None:
    write(
        [
            ending(
                f"more_{day}_{n}", at=(AT - timedelta(days=day)).timestamp(), model=f"x{n}", cost=10_000 - n
            )
            for day in (0, 3)
            for n in range(MOST_GROUPS + 5)
        ],
        "p1",
    )
    before = told({**SPAN, "by": "model"})
    assert before.rest is not None
    fold_all(DAY)
    assert told({**SPAN, "by": "model"}) == before


@pytest.mark.usefixtures("days")
@pytest.mark.parametrize("by", GROUPS)
def test_sums_with_keys_are_read_of_the_last_days_alone(by: str) -> None:
    # Of keys there is no other place to look.
    of_keys = 2 if by == "key" else 0
    fold_all(DAY + timedelta(days=2))
    last = f"\"day\" > '{DAY - timedelta(days=1)}'"
    assert len([sql for sql in with_keys({**SPAN, "by": by}) if last not in sql]) == of_keys
    fold_all()
    assert len(with_keys({**SPAN, "by": by})) == of_keys
    assert len(with_keys({**SPAN, "by": by, "key": "4"})) == 3


def with_keys(query: dict[str, str]) -> list[str]:
    """What is asked of the sums with keys."""
    with CaptureQueriesContext(connection) as said:
        told(query)
    return [each["sql"] for each in said if UsageDay._meta.db_table in each["sql"]]


def test_others_write_while_days_are_folded() -> None:
    """Three write ends and corrections of days that are folded at that moment."""
    failed: list[BaseException] = []

    def process(turn: int) -> None:
        try:
            for n in range(40):
                at = (AT - timedelta(days=n % 4)).timestamp()
                write([opening(f"req_{turn}_{n}", at=at)], f"p{turn}")
                if n % 3 == 0:
                    orphan(f"p{turn}")
                write([ending(f"req_{turn}_{n}", at=at, key_id=n)], f"p{turn}")
        except BaseException as error:
            failed.append(error)
            raise
        finally:
            connections.close_all()

    threads = [threading.Thread(target=process, args=(turn,)) for turn in range(3)]
    for thread in threads:
        thread.start()
    turn = 0
    while any(thread.is_alive() for thread in threads):
        # A day more each time; and those that are there anew.
        fold_next(min(LATER, DAY + timedelta(days=turn // 4)))
        fold_again()
        turn += 1
    for thread in threads:
        thread.join()
    assert failed == []
    fold_all()
    assert RequestEntry.objects.count() == 120
    assert sums(UsageFold) == sums(UsageDay)
    assert len({row[0] for row in UsageDay.objects.values_list(*KEY)}) == 4
    assert differing() == set()
