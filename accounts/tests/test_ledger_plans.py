"""How PostgreSQL finds what the admin lists and adds up: by an index that has the order in it, whatever the
number of rows. Tables of tests are small, and would be read whole if that were allowed."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.db import connection
from django.db.models import Q, QuerySet, Sum
from django.test import RequestFactory
from django.test.utils import CaptureQueriesContext

from accounts.ledger.admin_filters import ModelFilter
from accounts.ledger.rows import RequestEntry, UsageDay
from accounts.ledger.table import write
from accounts.ledger.usage import asked
from accounts.tests.ledger_lines import AT, ending

pytestmark = pytest.mark.postgres

NEWEST = ("-at", "-id")


def page(**filters: Any) -> QuerySet[RequestEntry]:
    return RequestEntry.objects.filter(**filters).order_by(*NEWEST)[:50]


def following(**filters: Any) -> QuerySet[RequestEntry]:
    """As a stream of CSV goes on."""
    older = Q(at__lt=AT) | Q(at=AT, id__lt=5)
    return RequestEntry.objects.filter(older, at__lte=AT, **filters).order_by(*NEWEST)[:1000]


def days(**query: str) -> QuerySet[Any]:
    span = {"first": f"{AT.date() - timedelta(days=2)}", "last": f"{AT.date()}"}
    chosen = asked({**span, **query}).of(UsageDay.objects.all())
    return chosen.order_by().values("day").annotate(cost_of_all=Sum("cost"))


# What is asked for, and the index that has it in its order.
PLANS: dict[str, tuple[Callable[[], QuerySet[Any]], str]] = {
    "newest": (page, "request_latest"),
    "of a team": (lambda: page(team_id=3), "request_team"),
    "of a key": (lambda: page(key_id=3), "request_key"),
    "of a model": (lambda: page(model="m1"), "request_model"),
    "of a provider": (lambda: page(provider="p1"), "request_provider"),
    "of a code": (lambda: page(code="overloaded"), "request_code_some"),
    "of an outcome": (lambda: page(outcome="error"), "request_outcome_bad"),
    "of a status": (lambda: page(status=503), "request_status_bad"),
    "of a state": (lambda: page(state="released"), "request_state_odd"),
    "of an hour": (lambda: page(at__gte=AT - timedelta(hours=1), at__lt=AT), "request_latest"),
    "the rest": (following, "request_latest"),
    "the rest of a team": (lambda: following(team_id=3), "request_team"),
}


@pytest.fixture
def rows(postgres: None) -> None:
    write(
        [
            ending(
                f"req_{number}",
                at=(AT - timedelta(minutes=7 * number)).timestamp(),
                team_id=number % 9,
                key_id=number % 20,
                model=f"m{number % 7}",
                provider=f"p{number % 3}",
                **({} if number % 20 else _BAD),
            )
            for number in range(800)
        ],
        "p1",
    )
    with connection.cursor() as cursor:
        # Sums lie in the order of their days where they came one day after the other.
        cursor.execute("CLUSTER accounts_usageday USING usage_day_day")
        cursor.execute("ANALYZE")
        cursor.execute("SET enable_seqscan = off")
        cursor.execute("SET enable_bitmapscan = off")


@pytest.mark.usefixtures("rows")
def test_requests_are_found_in_their_order() -> None:
    plans = {name: ask().explain() for name, (ask, _) in PLANS.items()}
    wrong = {
        name: plan
        for name, plan in plans.items()
        if not re.search(rf"using \S*{PLANS[name][1]}", plan) or "Sort" in plan
    }
    assert wrong == {}


@pytest.mark.usefixtures("rows")
@pytest.mark.parametrize("team", ["", "3"])
def test_sums_of_days_are_found_by_day(team: str) -> None:
    plan = days(team=team).explain()
    assert re.search(r"using \S*usage_day_(team|once|day)", plan), plan
    assert re.search(r"Index Cond: .*day >= ", plan), plan


@pytest.mark.usefixtures("rows")
def test_choices_of_filters_are_of_a_week_found_by_its_days() -> None:
    admin.autodiscover()
    user = User.objects.create_superuser("root")
    request = RequestFactory().get("/")
    request.user = user
    with CaptureQueriesContext(connection) as asked:
        ModelFilter(request, {}, RequestEntry, admin.site._registry[RequestEntry])
    (sql,) = [each["sql"] for each in asked if "accounts_usageday" in each["sql"]]
    with connection.cursor() as cursor:
        cursor.execute("EXPLAIN " + sql)
        plan = "\n".join(line for (line,) in cursor.fetchall())
    assert re.search(r"using usage_day_day", plan), plan


_BAD: dict[str, Any] = {
    "outcome": "error",
    "status": 503,
    "code": "overloaded",
    "state": "released",
    "cost": 0,
}
