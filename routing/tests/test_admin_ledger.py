"""The ledger in the admin: to read only, found by every filter, explained in words, never counted whole."""

from __future__ import annotations

import itertools
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models import ProtectedError
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts import sheets
from accounts.ledger.admin import RequestAdmin, UsageDayAdmin
from accounts.ledger.rows import RequestEntry, UsageDay
from accounts.ledger.table import write
from accounts.ledger.watch import orphan
from accounts.models import Budget, Team
from accounts.tests.ledger_lines import ending, opening
from routing.tests.admin_pages import browser, page, taken
from tests.support.rows import make_key, make_staff

pytestmark = pytest.mark.django_db

LIST = page("accounts_requestentry_changelist")
DAYS = page("accounts_usageday_changelist")
EXPORT = page("accounts_requestentry_export")
NOW = datetime.now(UTC)


@pytest.fixture
def reader() -> Client:
    return browser(
        make_staff("accounts.view_requestentry", "accounts.view_usageday", "accounts.view_every_team")
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
        ("?code=overloaded", "four"),
        ("?code=process_died&outcome=error", "eight"),
        ("?code=nothing", ""),
        (f"?from={NOW:%Y-%m-%d}T00:00", "one two four five six seven eight"),
        (f"?until={NOW:%Y-%m-%d}T00:00", "three"),
        (f"?from={NOW - timedelta(days=1):%Y-%m-%dT%H:%M}&until={NOW:%Y-%m-%d}T00:00&model=claude", "three"),
        ("?from=x&until=99999-01-01", "one two three four five six seven eight"),
        ("?day=x&status=x&state=x", "one two three four five six seven eight"),
    ],
    # Not by the query, which has the time in it: workers that collect in two minutes would not agree.
    ids=itertools.count(),
)
def test_requests_are_found_by(reader: Client, query: str, names: str) -> None:
    assert shown(reader, query) == set(names.split())


@pytest.mark.usefixtures("ledger")
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("one", [
            "input|8|$2.5|$0.00002",
            "input read from the provider's cache|2|$1.25|$0.0000025",
            "output|4|$10|$0.00004",
            "output: reasoning|1|$10|$0.00001",
            "Charged|||$0.0000725",
            "Computed anew: $0.0000725, which is what was charged.",
            "Of $0.041 that were set aside $0.0409275 were given back.",
            "Charged to team crew and its key gw-abc.",
            "10 in, 5 out, counted",
            "Together $0.0000725, as the provider counted, by the prices of revision 3.",
        ]),
        ("two", ["An attempt that brought no answer may be billed by its provider as well."]),
        ("three", [
            "The catalogue lacks a price of gpt-4o at anthropic: the cost is unknown.",
            "input|8|unknown|unknown",
            "It cannot be computed anew, because a price that it needs is unknown.",
        ]),
        ("four", ["No provider was reached, or it failed before any content: nothing is charged.",
                  "Computed anew: $0, which is what was charged."]),
        ("five", ["as the gateway estimated", "gave no count that can be read"]),
        ("six", ["Answered from the cache: nothing was asked of a provider. Saved: $0.0000725."]),
        ("seven", ["Under way: 10 tokens of input and 4096 of output, $0.041"]),
        ("eight", ["Its process died, so it is charged as reserved: 10 tokens of input",
                   "Computed anew: $0.041, which is what was charged.", "10 in, 4096 out, as reserved"]),
    ],
)  # fmt: skip
def test_a_request_says_why_it_was_charged(reader: Client, name: str, words: list[str]) -> None:
    row = RequestEntry.objects.get(request_id=name)
    answer = reader.get(page("accounts_requestentry_change", row.pk))
    assert answer.status_code == 200
    raw = answer.content.decode().replace("&#x27;", "'")
    # As a person sees it, with the cells of a table told apart.
    text = re.sub(r"<[^>]+>", "", re.sub(r"</t[hd]>\s*<t[hd][^>]*>", "|", raw))
    for each in words:
        assert each in text
    assert "NOT what was charged" not in text
    text = raw
    assert text.count('value="default"') + text.count(">default<") == row.attempts.count() or row.tries == 0


def test_a_charge_that_differs_from_its_sum_says_so(reader: Client) -> None:
    write([ending("one", cost=72_501)], "p1")
    text = reader.get(page("accounts_requestentry_change", RequestEntry.objects.get().pk)).content.decode()
    assert "Computed anew: $0.0000725, which is NOT what was charged." in text


@pytest.mark.parametrize("may", [True, False])
def test_budgets_that_count_it_are_named_to_whoever_may_see_budgets(may: bool) -> None:
    key = make_key("crew")
    other = make_key("others")
    Budget.objects.create(amount=100, period="day")
    Budget.objects.create(team=key.row.team, unit="tokens", amount=5000, hard=False)
    Budget.objects.create(key=key.row, amount=1, enabled=False)
    Budget.objects.create(team=other.row.team, amount=7)
    write([ending("one", team_id=key.row.team_id, key_id=key.row.pk)], "p1")
    more = ["accounts.view_budget"] if may else []
    client = browser(make_staff("accounts.view_requestentry", "accounts.view_every_team", *more))
    raw = client.get(page("accounts_requestentry_change", RequestEntry.objects.get().pk)).content.decode()
    text = re.sub(r"<[^>]+>", "", raw)
    for words in (
        "100 US dollars a day of everybody: $0.0000725",
        "5000 tokens a month of team crew, which only warns: 15 tokens",
    ):
        assert (words in text) == may
    assert "7 US dollars" not in text
    assert "1 US dollars" not in text


@pytest.mark.usefixtures("ledger")
def test_what_the_filters_leave_can_be_taken_away_as_csv(reader: Client, monkeypatch: Any) -> None:
    monkeypatch.setattr(sheets, "_PAGE", 2)
    head, *rows = taken(reader.get(EXPORT))
    assert head[:2] == ["request_id", "at"]
    assert {row[0] for row in rows} == {"one", "two", "three", "four", "five", "six", "seven", "eight"}
    assert len(rows) == 8
    assert [row[1] for row in rows] == sorted((row[1] for row in rows), reverse=True)
    for query in ("?team=8", "?q=three", "?day=yesterday", "?code=overloaded", "?p=1"):
        found = taken(reader.get(EXPORT + query))[1:]
        assert {row[0] for row in found} == shown(reader, query)
    assert reader.get(EXPORT + "?colour=red").status_code == 400
    assert browser(make_staff(name="nobody")).get(EXPORT).status_code == 403


@pytest.mark.parametrize("word", ["=1+1", "+1", "-1", "@x", "\tx", "\rx", " =1", "＝1"])  # noqa: RUF001 - meant
def test_no_cell_of_it_is_a_formula(reader: Client, word: str) -> None:
    write([ending("one", model=word, code=word, team=word)], "p1")
    head, row = taken(reader.get(EXPORT))
    for name in ("model", "code", "team"):
        assert row[head.index(name)] == "'" + word
    assert row[head.index("cost")] == "72500"


def test_a_stream_of_csv_has_a_bound_and_says_so(reader: Client, monkeypatch: Any) -> None:
    monkeypatch.setattr(sheets, "MOST_ROWS", 3)
    monkeypatch.setattr(sheets, "_PAGE", 2)
    write([ending(f"req_{number}", at=NOW.timestamp() + number) for number in range(3)], "p1")
    whole = reader.get(EXPORT)
    assert 'filename="requests.csv"' in whole["Content-Disposition"]
    write([ending("req_3", at=NOW.timestamp() + 3)], "p1")
    cut = reader.get(EXPORT)
    assert 'filename="requests-newest-3-only.csv"' in cut["Content-Disposition"]
    assert [row[0] for row in taken(cut)[1:]] == ["req_3", "req_2", "req_1"]
    assert len(taken(whole)) == 4


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
    for url in (LIST, LIST + "?team=7", LIST + "?day=today&outcome=ok&p=1", LIST + "?_facets=True", DAYS):
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
