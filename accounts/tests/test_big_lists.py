"""Lists of what grows with calls: as many queries whatever the rows, no count of a whole table, no order that
a page does not offer, and no more choices than one reads."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.audit import AuditEntry
from accounts.ledger.table import write
from accounts.models import ApiKey, Capture, Team, TeamMember
from accounts.tests.ledger_lines import ending
from routing.models import TranslationLoss
from routing.models_semantic import SemanticEvent
from tests.support.rows import make_staff

pytestmark = pytest.mark.django_db

NOW = datetime.now(UTC)
LISTS = {
    "accounts/requestentry": "accounts_requestentry",
    "accounts/usageday": "accounts_usageday",
    "accounts/auditentry": "accounts_auditentry",
    "accounts/capture": "accounts_capture",
    "routing/translationloss": "routing_translationloss",
}


def more(begin: int, count: int) -> None:
    """Rows of all the lists."""
    numbers = range(begin, begin + count)
    write(
        [ending(f"req_{n}", at=NOW.timestamp() - n, team_id=n, key_id=n, model=f"m{n}") for n in numbers], "p"
    )
    AuditEntry.objects.bulk_create(
        AuditEntry(author=f"author-{n}", via="api", action="changed", object=f"route {n}") for n in numbers
    )
    Capture.objects.bulk_create(
        Capture(request_id=f"req_{n}", team_id=n, at=NOW, surface="chat", status=200, sealed="x")
        for n in numbers
    )
    TranslationLoss.objects.bulk_create(
        TranslationLoss(
            day=NOW.date() - timedelta(days=n % 5),
            route=f"route-{n}",
            provider="p",
            surface="chat",
            model=f"m{n}",
            field="top_k",
            count=n,
            last_seen=NOW,
        )
        for n in numbers
    )


@pytest.fixture
def root(client: Client) -> Client:
    user = User.objects.create_superuser("root")
    client.force_login(user, "django.contrib.auth.backends.ModelBackend")
    more(0, 2)
    return client


def asked(client: Client, address: str) -> list[str]:
    with CaptureQueriesContext(connection) as found:
        assert client.get(f"/admin/{address}").status_code == 200
    return [each["sql"] for each in found]


@pytest.mark.parametrize("page", LISTS)
def test_many_rows_take_no_more_queries_and_no_whole_count(root: Client, page: str) -> None:
    asked(root, f"{page}/")
    few = asked(root, f"{page}/")
    more(2, 70)
    many = asked(root, f"{page}/")
    assert len(many) == len(few)
    counts = [sql for sql in many if re.search(r"COUNT\(\*\)", sql) and LISTS[page] in sql]
    assert counts
    assert [sql for sql in counts if "LIMIT" not in sql] == []


@pytest.mark.parametrize(
    ("page", "column"), [("accounts/requestentry", 7), ("accounts/usageday", 10), ("accounts/auditentry", 6)]
)
def test_no_address_sorts_by_what_is_not_offered(root: Client, page: str, column: int) -> None:
    orders = [re.findall(r"ORDER BY .*", sql) for sql in asked(root, f"{page}/")]
    assert any(orders)
    for said in (f"{column}", f"-{column}", f"{column}.-{column - 1}"):
        assert [re.findall(r"ORDER BY .*", sql) for sql in asked(root, f"{page}/?o={said}")] == orders


def test_what_is_offered_still_sorts(root: Client) -> None:
    (listed,) = [
        sql for sql in asked(root, "accounts/auditentry/?o=1") if "LIMIT 50" in sql or "changes" in sql
    ][-1:]
    assert re.search(r'ORDER BY "accounts_auditentry"\."at" ASC', listed)


def test_filters_of_losses_offer_what_one_reads(root: Client) -> None:
    more(2, 120)
    page = root.get("/admin/routing/translationloss/").content.decode()
    assert len(re.findall(r'href="\?[^"]*\broute=', page)) == 50
    assert "route=route-121" in page
    assert "route=route-1&" not in page
    chosen = root.get("/admin/routing/translationloss/?route=route-1").content.decode()
    assert "route-1<" in re.sub(r"\s", "", chosen)


@pytest.mark.parametrize("said", ["author-1", "author-1%20", "nobody", "%00", "'%20OR%201=1"])
def test_the_audit_log_is_filtered_by_a_whole_author(root: Client, said: str) -> None:
    reply = root.get(f"/admin/accounts/auditentry/?author={said}")
    if said == "%00":
        assert reply.status_code in (200, 400)
        return
    found = [row.author for row in reply.context["cl"].result_list]
    assert found == (["author-1"] if said.startswith("author-1") else [])


def test_the_audit_log_reads_no_authors_to_offer_them(root: Client) -> None:
    assert [sql for sql in asked(root, "accounts/auditentry/") if "DISTINCT" in sql and "author" in sql] == []


def test_the_last_use_of_keys_is_looked_up_for_a_page_of_ones_teams(client: Client) -> None:
    mine, other = Team.objects.create(name="mine"), Team.objects.create(name="other")
    keys = [
        ApiKey.objects.create(team=team, prefix=f"gw-{n:04d}", digest=f"{n:064x}")
        for n, team in enumerate([mine, other] * 60)
    ]
    # The newest are on the first page.
    newest = {key.team_id: key for key in keys[-2:]}
    write([ending(f"req_{team}", team_id=team, key_id=key.pk) for team, key in newest.items()], "p")
    staff = make_staff("accounts.view_apikey", "accounts.view_requestentry", name="member")
    TeamMember.objects.create(user=staff, team=mine)
    client.force_login(staff, "django.contrib.auth.backends.ModelBackend")
    said = asked(client, "accounts/apikey/")
    (looked_up,) = [sql for sql in said if "accounts_requestentry" in sql]
    assert str(newest[mine.pk].pk) in re.findall(r'"id" IN \(([^)]*)\)', looked_up)[0].split(", ")
    assert len(re.findall(r'"id" IN \(([^)]*)\)', looked_up)[0].split(", ")) <= 50
    rows = client.get("/admin/accounts/apikey/").context["cl"].result_list
    seen = {row.pk: row.last_seen for row in rows if row.last_seen}
    assert set(seen) == {newest[mine.pk].pk}
    assert len(asked(client, "accounts/apikey/?p=2")) == len(said)


def test_filters_of_hits_offer_what_one_reads(root: Client) -> None:
    teams = Team.objects.bulk_create(Team(name=f"team-{n:03d}") for n in range(80))
    SemanticEvent.objects.bulk_create(
        SemanticEvent(
            at=NOW if n < 70 else NOW - timedelta(days=30),
            kind="hit",
            team=team.pk,
            route=1,
            entry="e",
            similarity=0.9,
            threshold=0.8,
        )
        for n, team in enumerate(teams)
        for _ in range(1 + n % 3)
    )
    page = root.get("/admin/routing/semanticevent/").content.decode()
    offered = set(map(int, re.findall(r'href="\?[^"]*\bteam=(\d+)', page)))
    assert len(offered) == 50
    assert not offered & {team.pk for team in teams[70:]}
    old = teams[75].pk
    assert f"team={old}" not in page
    chosen = root.get(f"/admin/routing/semanticevent/?team={old}")
    assert {row.team for row in chosen.context["cl"].result_list} == {old}
    assert teams[75].name in chosen.content.decode()


def test_the_teams_of_a_user_come_by_the_page(root: Client) -> None:
    user = User.objects.create(username="manager", is_staff=True)
    teams = Team.objects.bulk_create(Team(name=f"team-{n:03d}") for n in range(75))
    TeamMember.objects.bulk_create(TeamMember(user=user, team=team) for team in teams[:31])
    few = asked(root, f"auth/user/{user.pk}/change/")
    TeamMember.objects.bulk_create(TeamMember(user=user, team=team) for team in teams[31:])
    assert len(asked(root, f"auth/user/{user.pk}/change/")) <= len(few) + 1
    assert len([sql for sql in few if "accounts_team" in sql]) < 45


@pytest.mark.parametrize("only", ["team=1", "key=1", "team=99"])
def test_the_name_of_what_usage_is_of_is_any_rows(root: Client, only: str) -> None:
    said = asked(root, f"accounts/usageday/usage/?{only}")
    (named,) = [sql for sql in said if "LIMIT 1" in sql and "accounts_usageday" in sql and "SUM" not in sql]
    assert "ORDER BY" not in named
