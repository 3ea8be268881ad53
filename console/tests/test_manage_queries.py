"""Lists of the management API ask the database as often for many rows as for one."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.models import Budget, Limit, Team
from console.tests.test_manage_access import ask, bearer
from tests.support.rows import make_provider, make_route

pytestmark = pytest.mark.django_db


def _more(begin: int, count: int) -> None:
    for n in range(begin, begin + count):
        team = Team.objects.create(name=f"team-{n}")
        first, second = (make_provider(f"p{n}-{place}") for place in range(2))
        make_route(f"m{n}", first, second, team=team)
        Limit.objects.create(team=team, kind="requests", amount=1, per="minute")
        Budget.objects.create(team=team, amount=1, unit="usd", period="month")


@pytest.mark.parametrize("table", ["providers", "routes", "teams", "limits", "budgets", "prices", "keys"])
def test_a_list_has_as_many_queries_whatever_its_rows(client: Client, table: str) -> None:
    cache.clear()
    root = bearer(User.objects.create_superuser("root"))
    _more(0, 1)
    ask(client, "GET", table, root)
    counts = []
    for _ in range(2):
        with CaptureQueriesContext(connection) as asked:
            assert ask(client, "GET", table, root).status_code == 200
        counts.append(len(asked))
        if len(counts) == 1:
            _more(1, 4)
    assert counts[0] == counts[1]
