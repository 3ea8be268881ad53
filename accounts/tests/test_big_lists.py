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
from accounts.models import Capture
from accounts.tests.ledger_lines import ending
from routing.models import TranslationLoss

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
