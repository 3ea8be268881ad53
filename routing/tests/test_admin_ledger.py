"""The ledger in the admin: to read only, found by every filter, explained in words, never counted whole."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models import ProtectedError
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.ledger.admin import RequestAdmin, UsageDayAdmin
from accounts.ledger.rows import RequestEntry, UsageDay
from accounts.ledger.table import write
from accounts.ledger.watch import orphan
from accounts.models import Team
from accounts.tests.ledger_lines import ending, opening
from routing.tests.admin_pages import browser, page
from tests.support.rows import make_key, make_staff

pytestmark = pytest.mark.django_db

LIST = page("accounts_requestentry_changelist")
DAYS = page("accounts_usageday_changelist")
NOW = datetime.now(UTC)


@pytest.fixture
def reader() -> Client:
    return browser(
        make_staff("accounts.view_requestentry", "accounts.view_attemptentry", "accounts.view_usageday")
    )


@pytest.fixture
def ledger() -> None:
    """Several, of whom each filter takes some."""
    now, before = NOW.timestamp(), (NOW - timedelta(days=1)).timestamp()
    other: dict[str, Any] = {
        "team_id": 8,
        "team": "others",
        "key_id": 10,
        "key": "gw-def",
        "model": "claude",
        "provider": "anthropic",
    }
    write(
        [
            ending("one", at=now),
            ending("two", at=now, attempts=2, possible_double_bill=True),
            ending("three", at=before, **other, cost=None, rate_input=None),
            ending("four", at=now, outcome="error", status=503, code="overloaded", state="released", cost=0,
                   input_tokens=0, output_tokens=0, usage_source=""),
            ending("five", at=now, outcome="client_gone", status=499, state="estimated",
                   usage_source="estimated", flags="no_usage"),
            ending("six", at=now, attempts=0, cache="hit", saved=72_500, cost=0),
            opening("seven", at=now),
        ],
        "p1",
    )  # fmt: skip
    write([opening("eight", at=now)], "dead")
    orphan("dead")


def shown(client: Client, query: str) -> set[str]:
    return {row.request_id for row in client.get(LIST + query).context["cl"].result_list}


@pytest.mark.usefixtures("ledger")
@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", "one two three four five six seven eight"),
        ("?team=8", "three"),
        ("?key=9", "one two four five six seven eight"),
        ("?model=claude", "three"),
        ("?provider=anthropic", "three"),
        ("?status=503", "four"),
        ("?outcome=client_gone", "five"),
        ("?outcome=error", "four eight"),
        ("?state=reserved", "seven"),
        ("?state=orphaned", "eight"),
        ("?day=yesterday", "three"),
        (f"?day={(NOW - timedelta(days=1)).date()}", "three"),
        ("?day=7&status=200&team=7", "one two six"),
        ("?q=two", "two"),
        ("?q=tw", ""),
        ("?team=77", ""),
        ("?team=x", ""),
        ("?day=x&status=x&state=x", "one two three four five six seven eight"),
    ],
)
def test_requests_are_found_by(reader: Client, query: str, names: str) -> None:
    assert shown(reader, query) == set(names.split())


@pytest.mark.usefixtures("ledger")
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("one", [
            "8 tokens of input x $2.5 a million = $0.00002",
            "2 tokens of input read from the provider's cache x $1.25 a million = $0.0000025",
            "5 tokens of output (of which 1 reasoning) x $10 a million = $0.00005",
            "Together $0.0000725, as the provider counted, by the prices of revision 3.",
        ]),
        ("two", ["An attempt that brought no answer may be billed by its provider as well."]),
        ("three", ["The catalogue lacks a price of gpt-4o at anthropic: the cost is unknown."]),
        ("four", ["No provider was reached, or it failed before any content: nothing is charged."]),
        ("five", ["as the gateway estimated", "gave no count that can be read"]),
        ("six", ["Answered from the cache: nothing was asked of a provider. Saved: $0.0000725."]),
        ("seven", ["Under way: 10 tokens of input and 4096 of output, $0.041"]),
        ("eight", ["Its process died, so it is charged as reserved: 10 tokens of input", "$0.041"]),
    ],
)  # fmt: skip
def test_a_request_says_why_it_was_charged(reader: Client, name: str, words: list[str]) -> None:
    row = RequestEntry.objects.get(request_id=name)
    answer = reader.get(page("accounts_requestentry_change", row.pk))
    assert answer.status_code == 200
    text = answer.content.decode().replace("&#x27;", "'")
    for each in words:
        assert each in text
    assert text.count('value="default"') + text.count(">default<") == row.attempts.count() or row.tries == 0


@pytest.mark.usefixtures("ledger")
def test_nobody_changes_the_ledger_here() -> None:
    superuser = make_staff(name="root")
    superuser.is_superuser = True
    superuser.save()
    client = browser(superuser)
    row = RequestEntry.objects.get(request_id="one")
    for url in (LIST + "add/", page("accounts_requestentry_delete", row.pk), DAYS + "add/"):
        assert client.post(url, {"post": "yes"}).status_code == 403
    assert client.post(page("accounts_requestentry_change", row.pk), {"cost": 1}).status_code == 403
    client.post(LIST, {"action": "delete_selected", "_selected_action": row.pk, "post": "yes"})
    assert RequestEntry.objects.count() == 8


@pytest.mark.usefixtures("ledger")
def test_no_page_counts_or_reads_the_whole_table(reader: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """As far as there are more rows than a page has."""
    for pages in (RequestAdmin, UsageDayAdmin):
        monkeypatch.setattr(pages, "list_per_page", 1)
        monkeypatch.setattr(pages, "list_max_show_all", 1)
    for url in (LIST, LIST + "?team=7", LIST + "?day=today&outcome=ok&p=1", DAYS):
        with CaptureQueriesContext(connection) as queries:
            assert reader.get(url).status_code == 200
        told = [query["sql"] for query in queries.captured_queries]
        about = [sql for sql in told if "accounts_requestentry" in sql or "accounts_usageday" in sql]
        assert len(about) > 2
        assert [sql for sql in about if not re.search(r"LIMIT \d+", sql)] == []


@pytest.mark.usefixtures("ledger")
def test_sums_of_days_are_listed_and_taken_away(reader: Client) -> None:
    text = reader.get(DAYS + "?team=8").content.decode()
    assert "others" in text
    assert "and 1 unknown" in text
    chosen = list(UsageDay.objects.filter(team_id=8).values_list("pk", flat=True))
    answer = reader.post(DAYS, {"action": "export_csv", "_selected_action": chosen})
    assert (
        answer.content.decode()
        .splitlines()[1]
        .startswith(f"{(NOW - timedelta(days=1)).date()},others,gw-def,claude")
    )


def test_a_team_that_goes_leaves_what_it_spent() -> None:
    key = make_key("crew")
    team = key.row.team
    write([ending("one", team_id=team.pk, key_id=key.row.pk)], "p1")
    with pytest.raises(ProtectedError):
        team.delete()
    key.row.delete()
    Team.objects.get(pk=team.pk).delete()
    assert RequestEntry.objects.get().team == "crew"
    assert UsageDay.objects.get().team_id == team.pk


def test_without_the_permission_there_is_nothing() -> None:
    assert browser(make_staff("routing.view_route")).get(LIST).status_code == 403
