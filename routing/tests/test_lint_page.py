"""Findings by the page, whatever their number: of one kind, of all, and how many there are."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from routing.findings import Finding, Where
from routing.lint_page import MOST, page_of
from routing.tests.admin_pages import browser
from tests.support.rows import make_provider, make_route


def finding(number: int, check: str = "some", severity: str = "warning", others: int = 0) -> Finding:
    rows = tuple(Where("budget", each, "crew") for each in range(others))
    return Finding(check, severity, Where("route", number, f"m-{number}"), "words", "mend", rows)  # type: ignore[arg-type]  # words of a table of this test


FOUND = [*(finding(n, "worst", "error") for n in range(3)), *(finding(n) for n in range(250))]


def test_pages_together_are_all_of_it() -> None:
    pages: list[list[tuple[str, int]]] = []
    skip: int | None = 0
    while skip is not None:
        found = page_of(FOUND, skip=skip)
        pages.append([(each.check, each.where.id) for each in found.findings])
        skip = found.next
    assert [len(each) for each in pages] == [MOST, MOST, 53]
    assert [each for page in pages for each in page] == [(each.check, each.where.id) for each in FOUND]


def test_kinds_are_of_all_and_the_page_is_of_one() -> None:
    page = page_of(FOUND, check="some", skip=240)
    assert [(each.check, each.severity, each.count) for each in page.kinds] == [
        ("worst", "error", 3),
        ("some", "warning", 250),
    ]
    assert (page.total, len(page.findings), page.next) == (250, 10, None)
    assert page_of(FOUND, severity="error").total == 3
    assert page_of(FOUND, check="some", severity="error").findings == []
    assert page_of(FOUND, skip=10**17).findings == []


def test_rows_that_have_part_in_it_are_a_few_and_counted() -> None:
    (each,) = page_of([finding(1, others=3000)]).findings
    assert len(each.others) == 20
    assert each.others_in_all == 3000


@pytest.mark.django_db
def test_the_page_of_many_findings() -> None:
    client: Client = browser(User.objects.create_superuser("ops"))
    provider = make_provider("openai", secret=None)
    for number in range(130):
        make_route(f"m-{number:03d}", provider)
    address = reverse("lint")
    first = client.get(address).content.decode()
    assert "error: nobody-answers</a> (130)" in first
    assert "1 to 100 of" in first
    assert ">before<" not in first
    second = client.get(f"{address}?check=nobody-answers&severity=error&skip=100").content.decode()
    assert "101 to 130 of 130" in second
    assert ">after<" not in second
    assert second.count("Every request is a 503") == 30
    for odd in ("skip=x", "skip=-1", "skip=" + "9" * 30, "severity=none"):
        assert client.get(f"{address}?{odd}").status_code == 200
