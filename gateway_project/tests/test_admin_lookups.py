"""What an address may filter a list of the admin by: what the page offers, on every registered page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from accounts.admin_base import BoundedLookups
from accounts.models import ApiKey
from routing.revisions import publish
from tests.support.rows import make_key, make_staff

pytestmark = pytest.mark.django_db

# Whatever is registered, by us or by a package.
admin.autodiscover()
PAGES = {model._meta.label: model for model in admin.site._registry}
WAYS = (
    "iregex",
    "contains",
    "icontains",
    "istartswith",
    "endswith",
    "iendswith",
    "iexact",
    "in",
    "range",
    "gt",
)
EVIL = "(a+)+$"


@pytest.fixture
def owner() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("owner"))
    return client


def listed(label: str) -> str:
    meta = PAGES[label]._meta
    return reverse(f"admin:{meta.app_label}_{meta.model_name}_changelist")


def offered(label: str) -> Iterator[str]:
    """The links of a page's filters, as a browser would follow them."""
    site: Any = admin.site._registry[PAGES[label]]
    client = Client()
    client.force_login(User.objects.create_superuser(f"reader-{label}"))
    changes = client.get(listed(label)).context["cl"]
    for spec in changes.filter_specs:
        for choice in spec.choices(changes):
            if "query_string" in choice:
                yield choice["query_string"]
    if site.date_hierarchy:
        for query in ("__year=2026", "__year=2026&{}__month=11", "__year=2026&{}__month=11&{}__day=5"):
            yield "?" + site.date_hierarchy + query.replace("{}", site.date_hierarchy)


def test_third_party_pages_are_among_them() -> None:
    assert {"auth.User", "auth.Group", "axes.AccessAttempt", "axes.AccessLog"} < set(PAGES)
    assert [
        label for label in PAGES if not isinstance(admin.site._registry[PAGES[label]], BoundedLookups)
    ] == []


@pytest.mark.parametrize("label", PAGES)
def test_no_lookup_that_a_page_does_not_offer_is_run(owner: Client, label: str) -> None:
    url, fields = listed(label), PAGES[label]._meta.get_fields()
    asked = [f"{field.name}__{way}" for field in fields for way in ("regex", "startswith")]
    with CaptureQueriesContext(connection) as run:
        told = {name: owner.get(url, {name: EVIL}).status_code for name in asked}
    assert {name: status for name, status in told.items() if status != 400} == {}
    assert EVIL not in str(run.captured_queries)


@pytest.mark.parametrize("label", PAGES)
def test_nor_any_other_way_to_look_into_a_column_or_what_it_leads_to(label: str) -> None:
    site = admin.site._registry[PAGES[label]]
    request = RequestFactory().get("/")
    request.user = User.objects.create_superuser("owner")
    for field in PAGES[label]._meta.get_fields():
        for way in (
            *WAYS,
            "pk__regex",
            "team__name__regex",
            "exact__regex",
            "year__regex",
            "id__exact__regex",
        ):
            assert not site.lookup_allowed(f"{field.name}__{way}", EVIL, request), (field.name, way)


@pytest.mark.parametrize("label", PAGES)
def test_what_a_page_offers_it_takes(owner: Client, label: str) -> None:
    links = list(offered(label))
    for query in links:
        assert owner.get(listed(label) + query).status_code == 200, query


def test_a_keys_digest_is_not_told_letter_by_letter() -> None:
    row = make_key().row
    client = Client()
    client.force_login(make_staff("accounts.view_apikey"))
    url = reverse("admin:accounts_apikey_changelist")
    for name, value in (("digest__startswith", row.digest[0]), ("digest", row.digest), ("digest__gt", "0")):
        assert client.get(url, {name: value}).status_code == 400, name
    assert client.get(url, {"team__id__exact": row.team_id}).status_code == 200
    assert ApiKey.objects.count() == 1


@pytest.mark.parametrize(
    ("label", "query"),
    [
        ("axes.AccessLog", "attempt_time__year=99999999999"),
        ("axes.AccessLog", "attempt_time__year=9999&attempt_time__month=12"),
        ("routing.SemanticEvent", "at__year=99999999999"),
        ("routing.SemanticEvent", "at__gte=0001-01-01T00:00:00%2B14:00"),
        ("routing.SemanticEvent", "at__lt=9999-12-31T23:59:59-14:00"),
        ("routing.SemanticEvent", "at__exact=0001-01-01T00:00:00%2B14:00"),
        ("routing.TranslationLoss", "day__year=99999999999"),
        ("routing.OwnedObject", "created__year=99999999999"),
        ("routing.OwnedObject", "created__gte=yesterday"),
    ],
)
def test_a_time_that_there_is_not_is_refused(owner: Client, label: str, query: str) -> None:
    assert owner.get(f"{listed(label)}?{query}").status_code == 400


@pytest.mark.parametrize("number", ["%C2%B2", "9" * 5_000, "9" * 19, "-1", "x", "%D9%A3"])
@pytest.mark.parametrize(
    "label", ["accounts.RequestEntry", "accounts.UsageDay", "routing.SemanticEvent", "accounts.Limit"]
)
def test_a_team_that_is_no_number_fails_nothing(owner: Client, label: str, number: str) -> None:
    name = "team__id__exact" if label == "accounts.Limit" else "team"
    assert owner.get(f"{listed(label)}?{name}={number}", follow=True).status_code == 200


@pytest.mark.parametrize(
    "place", ["route:" + "9" * 5_000, "route:" + "9" * 19, "route:%C2%B2", "route:%D9%A3"]
)
def test_nor_does_a_row_of_a_revision(owner: Client, place: str) -> None:
    make_key()
    number = publish("owner", "something", [{"object": "team crew", "action": "added", "fields": {}}])
    url = reverse("admin:routing_revision_undo", args=[number])
    assert owner.get(f"{url}?object={place}").status_code == 200
    assert owner.get(reverse("admin:routing_revision_undo", args=["9" * 19])).status_code in (200, 404)


@pytest.mark.parametrize("label", PAGES)
def test_a_search_for_thousands_of_words_fails_nothing(owner: Client, label: str) -> None:
    assert owner.get(listed(label), {"q": "a " * 3_000}).status_code == 200
