"""The page of usage: what it adds up, how one looks closer, and that it reads sums and not requests."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.ledger import usage
from accounts.ledger.table import write
from accounts.tests.ledger_lines import ending
from routing.tests.admin_pages import browser, page, taken
from tests.support.rows import make_staff

pytestmark = pytest.mark.django_db

USAGE = page("accounts_usageday_usage")
EXPORT = page("accounts_usageday_export")
NOW = datetime.now(UTC)
CLAUDE: dict[str, Any] = {"team_id": 8, "team": "others", "key_id": 10, "key": "gw-def", "model": "claude"}


@pytest.fixture
def reader() -> Client:
    return browser(
        make_staff("accounts.view_usageday", "accounts.view_requestentry", "accounts.view_every_team")
    )


@pytest.fixture
def used() -> None:
    """Of two teams, today and yesterday."""
    now, before = NOW.timestamp(), (NOW - timedelta(days=1)).timestamp()
    write(
        [
            ending("a", at=now, total_ms=400),
            ending("b", at=now, total_ms=400),
            ending("c", at=now, outcome="error", state="released", cost=0, input_tokens=0, output_tokens=0,
                   cache_read=0, reasoning=0),
            ending("d", at=before, total_ms=9_000, **CLAUDE, cost=2_000_000_000),
            ending("e", at=before, cache="hit", saved=1_500_000_000, cost=0, **CLAUDE, provider=""),
            ending("f", at=before, cost=None, **CLAUDE),
        ],
        "p1",
    )  # fmt: skip


def cards(client: Client, query: str = "") -> dict[str, str]:
    return dict(client.get(USAGE + query).context["cards"])


def groups(client: Client, query: str) -> list[str]:
    return [line[0] for line, _ in client.get(USAGE + query).context["table"]]


@pytest.mark.usefixtures("used")
def test_all_of_it_is_added_up(reader: Client) -> None:
    assert cards(reader) == {
        "Cost": "$2.00 and 1 unknown",
        "Tokens in": "50",
        "Tokens out": "25",
        "Requests": "6",
        "Errors": "1 (16.7%)",
        "Half took at most": "812 ms",
        "95 % took at most": "11.0 s",
        "Answered from the cache": "1",
        "Saved by that": "$1.50",
    }


@pytest.mark.usefixtures("used")
@pytest.mark.parametrize(
    ("query", "requests"),
    [
        ("?team=7", "3"),
        ("?key=10", "3"),
        ("?model=claude&team=8", "3"),
        ("?model=claude&team=7", "0"),
        ("?provider=openai", "5"),
        (f"?first={NOW.date()}", "3"),
        (f"?last={NOW.date() - timedelta(days=1)}", "3"),
        (f"?first={NOW.date()}&last={NOW.date() - timedelta(days=1)}", "6"),
        ("?first=2001-01-01&last=2001-02-01", "0"),
        ("?first=x&last=99999-01-01&by=x&measure=x&team=x&key=-1&colour=red", "6"),
        ("?model=%2500&provider=%27%3B--", "0"),
        ("?last=0001-01-01", "0"),
        ("?last=9999-12-31", "0"),
        (f"?first=0001-01-01&last={NOW.date()}", "6"),
    ],
)
def test_some_of_it_is_added_up(reader: Client, query: str, requests: str) -> None:
    assert cards(reader, query)["Requests"] == requests


@pytest.mark.usefixtures("used")
@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("?by=team", ["others", "crew"]),
        ("?by=team&measure=errors", ["crew", "others"]),
        ("?by=team&measure=saved", ["others", "crew"]),
        ("?by=team&measure=tokens", ["others", "crew"]),
        ("?by=key", ["gw-def", "gw-abc"]),
        ("?by=model&measure=requests", ["claude", "gpt-4o"]),
        ("?by=provider", ["openai", "(none)"]),
        ("?by=provider&team=8", ["openai", "(none)"]),
    ],
)
def test_the_largest_come_first(reader: Client, query: str, names: list[str]) -> None:
    assert groups(reader, query) == names


@pytest.mark.usefixtures("used")
def test_one_looks_closer(reader: Client) -> None:
    ((line, link), *_) = reader.get(USAGE + "?by=team").context["table"]
    assert line[0] == "others"
    answer = reader.get(USAGE + link)
    assert [row[0] for row, _ in answer.context["table"]] == ["gw-def"]
    assert "Only team <strong>others</strong>" in answer.content.decode()
    (_, _, without) = answer.context["only"][0]
    assert cards(reader, without)["Requests"] == "6"
    listed = reader.get(answer.context["requests_link"]).context["cl"].result_list
    assert {row.request_id for row in listed} == {"d", "e", "f"}


@pytest.mark.usefixtures("used")
def test_what_has_no_room_is_added_up_as_others(reader: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage, "MOST_GROUPS", 1)
    answer = reader.get(USAGE + "?by=model&measure=requests")
    assert [line[:2] for line in answer.context["others"]] == [("All others", "3"), ("Total", "6")]
    assert answer.context["others"][0][6] == "$0.000145"


@pytest.mark.usefixtures("used")
def test_each_chart_has_a_day_for_each_day_and_a_table_beside_it(reader: Client) -> None:
    answer = reader.get(USAGE + "?first=2025-12-31&last=2026-01-30")
    for chart in answer.context["charts"]:
        assert len(chart.rows) == 31
        assert chart.rows[0][0] == "2025-12-31"
    text = answer.content.decode()
    assert text.count('<svg class="usage-chart" role="img" aria-label="') == len(answer.context["charts"])
    assert text.count("<details>") == text.count("<figure") == len(answer.context["charts"])
    yesterday = f"{NOW.date() - timedelta(days=1)}"
    (cost, tokens, requests, times, *_) = reader.get(USAGE).context["charts"]
    assert (yesterday, "$2.00") in cost.rows
    assert (yesterday, "30", "15") in tokens.rows
    assert (f"{NOW.date()}", "2", "0", "1") in requests.rows
    assert (f"{NOW.date()}", "425 ms", "492 ms") in times.rows


def test_a_span_is_cut_and_says_so(reader: Client) -> None:
    answer = reader.get(USAGE + "?first=2020-01-01&last=2026-01-01")
    assert "At most 400 days are shown" in answer.content.decode()
    assert len(answer.context["charts"][0].rows) == 400
    assert answer.context["charts"][0].rows[-1][0] == "2026-01-01"


def test_what_clients_call_things_stays_text(reader: Client) -> None:
    bad = '"><script>alert(1)</script>'
    write([ending("a", at=NOW.timestamp(), model=bad)], "p1")
    for query in ("?by=model", "?by=team&model=" + bad):
        answer = reader.get(USAGE + query)
        assert len(answer.context["table"]) == 1
        assert "<script>alert" not in answer.content.decode()


@pytest.mark.usefixtures("used")
def test_it_is_taken_away_as_csv(reader: Client) -> None:
    head, *rows = taken(reader.get(EXPORT + "?team=8"))
    assert head[:5] == ["day", "team", "key", "model", "provider"]
    assert sorted(row[head.index("provider")] for row in rows) == ["", "openai"]
    assert {row[1] for row in rows} == {"others"}
    assert len(taken(reader.get(EXPORT))) == 4


@pytest.mark.usefixtures("used")
def test_it_asks_for_sums_alone_and_seldom(reader: Client) -> None:
    with CaptureQueriesContext(connection) as queries:
        assert reader.get(USAGE + "?team=7&by=model").status_code == 200
    told = [query["sql"] for query in queries.captured_queries]
    assert not [sql for sql in told if "accounts_requestentry" in sql]
    # Days, which groups are the largest, those in full, and the name of the one that is chosen.
    sums = [sql for sql in told if re.search(r'FROM "accounts_usageday"', sql)]
    assert len(sums) == 4
    # All the sums of every group would take twice as long where there are many.
    assert [sql for sql in sums if "LIMIT 20" in sql and "ok_50" in sql] == []


def test_without_the_permission_there_is_nothing() -> None:
    client = browser(make_staff("accounts.view_requestentry", "accounts.view_every_team"))
    for url in (USAGE, EXPORT):
        assert client.get(url).status_code == 403
    assert "/usage/" not in client.get(page("index")).content.decode()


def test_it_is_found_in_the_navigation(reader: Client) -> None:
    text = reader.get(page("index")).content.decode()
    assert f'href="{USAGE}"' in text
    spans = [parse_qs(urlsplit(link).query) for _, link in reader.get(USAGE).context["spans"]]
    assert {"first": [f"{NOW.date()}"], "last": [f"{NOW.date()}"]}.items() <= spans[0].items()
