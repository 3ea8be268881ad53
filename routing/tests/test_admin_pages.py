"""The admin's pages: each can be seen by who may, shows no secret, and exports cells that stay cells."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from django.utils.html import escape

from accounts.models import ApiKey, Team
from accounts.sheets import inert
from providers.models import CatalogueModel, Credential, Provider
from routing.models import Revision, Route
from routing.revisions import publish
from routing.tests.admin_pages import ALL, act, browser, page, published
from tests.support.rows import SECRET, Key, make_key, make_provider, make_route, make_staff

pytestmark = pytest.mark.django_db

ROW = {
    "providers_provider": Provider,
    "providers_cataloguemodel": CatalogueModel,
    "routing_route": Route,
    "routing_revision": Revision,
    "accounts_team": Team,
    "accounts_apikey": ApiKey,
}


@pytest.fixture
def owner() -> Client:
    return browser(User.objects.create_superuser("owner"))


@pytest.fixture
def key() -> Key:
    """One row of everything, some of it odd."""
    hostile = "<script>alert(1)</script>"
    openai = make_provider("openai")
    unknown = make_provider("unknown", kind="openai_compatible", base_url="https://x.example/v1")
    Provider.objects.filter(pk=unknown.pk).update(kind="made-up")
    make_provider("sandbox")
    crew = Team.objects.create(name=hostile)
    make_route("gpt-*", openai, {"provider": unknown, "tier": 1, "upstream_model": "m"})
    make_route("gpt-4o", openai, team=crew, name=hostile, enabled=False, managed_by_env=True)
    CatalogueModel.objects.create(kind="openai", name="gpt-4o", capabilities=["tools"], input_price="2.5")
    CatalogueModel.objects.create(kind="made-up", name="odd", capabilities={"not": "a list"})
    make_key(label=hostile, allowed_models=["gpt-*"], expires_at=timezone.now() - timedelta(days=1))
    make_key(revoked_at=timezone.now())
    publish("somebody", hostile, [{"object": hostile, "action": "added", "fields": {"x": [None, hostile]}}])
    return make_key(hostile)


def urls() -> list[str]:
    found = [page("index")]
    for name, model in ROW.items():
        found.append(page(f"{name}_changelist"))
        if model is not Revision:
            found.append(page(f"{name}_add"))
        for row in model._default_manager.exclude(pk=0):
            found.append(page(f"{name}_change", row.pk))
            found.append(page(f"{name}_history", row.pk))
            if model not in (Revision, ApiKey):
                found.append(page(f"{name}_delete", row.pk))
    return found


def test_every_page_is_there_and_no_secret_is_on_it(owner: Client, key: Key) -> None:
    sealed = list(Credential.objects.values_list("sealed", flat=True))
    digests = list(ApiKey.objects.values_list("digest", flat=True))
    for url in urls():
        response = owner.get(url)
        assert response.status_code == 200, url
        text = response.content.decode()
        for secret in (SECRET, str(key), *sealed, *digests):
            assert secret not in text, url
        # S39: what people typed is text.
        assert "<script>alert(1)" not in text, url


def test_no_page_asks_another_host_for_anything(owner: Client, key: Key) -> None:
    for url in urls():
        text = owner.get(url).content.decode()
        for mark in ('src="http', "src='http", 'src="//', "@import", '<link href="http', 'href="//'):
            assert mark not in text, (url, mark)


@pytest.mark.parametrize("name", sorted(ROW))
def test_an_empty_list_says_so_instead_of_failing(owner: Client, name: str) -> None:
    assert owner.get(page(f"{name}_changelist")).status_code == 200


@pytest.mark.parametrize("query", ["q=gpt", "q=%3Cscript%3E", "p=99", "o=1.-2", "all="])
@pytest.mark.parametrize("name", sorted(ROW))
def test_lists_can_be_searched_and_turned(owner: Client, key: Key, name: str, query: str) -> None:
    response = owner.get(page(f"{name}_changelist") + "?" + query, follow=True)
    assert response.status_code == 200


@pytest.mark.parametrize(
    ("name", "query", "count"),
    [
        ("accounts_apikey", "state=active", 1),
        ("accounts_apikey", "state=expired", 1),
        ("accounts_apikey", "state=revoked", 1),
        ("accounts_apikey", "", 3),
        ("providers_provider", "enabled__exact=1", 3),
        ("providers_provider", "q=x.example", 1),
        ("routing_route", "enabled__exact=0", 1),
        ("routing_route", "q=unknown", 1),
        ("providers_cataloguemodel", "input_price__isempty=1", 1),
    ],
)
def test_filters_leave_what_they_name(owner: Client, key: Key, name: str, query: str, count: int) -> None:
    response = owner.get(page(f"{name}_changelist") + "?" + query)
    assert response.context["cl"].result_count == count


def test_the_first_page_says_what_needs_somebody(owner: Client, key: Key) -> None:
    Credential.objects.all().delete()
    text = owner.get(page("index")).content.decode()
    assert "These providers have no credential" in text
    assert page("providers_provider_change", Provider.objects.get(name="openai").pk) in text


def test_the_first_page_of_an_empty_gateway_says_where_to_begin(owner: Client) -> None:
    assert "Begin with a provider" in owner.get(page("index")).content.decode()


def test_without_a_permission_a_page_is_closed() -> None:
    nobody = browser(make_staff())
    assert nobody.get(page("index")).status_code == 200
    for name in ROW:
        assert nobody.get(page(f"{name}_changelist")).status_code == 403
    guest = Client()
    for name in ROW:
        assert guest.get(page(f"{name}_changelist")).status_code == 302


def test_who_may_look_may_not_change(key: Key) -> None:
    viewer = browser(make_staff(*(p for p in ALL if ".view_" in p), "routing.view_revision"))
    before = len(published())
    for name, model in ROW.items():
        row = model._default_manager.exclude(pk=0).first()
        assert row is not None
        assert viewer.get(page(f"{name}_changelist")).status_code == 200
        assert viewer.get(page(f"{name}_change", row.pk)).status_code == 200
        assert viewer.post(page(f"{name}_change", row.pk), {}).status_code == 403
        assert viewer.post(page(f"{name}_delete", row.pk), {"post": "yes"}).status_code == 403
        assert viewer.get(page(f"{name}_add")).status_code == 403
    assert len(published()) == before
    assert ApiKey.objects.count() == 3


def test_nobody_adds_changes_or_deletes_a_revision_or_deletes_a_key(owner: Client, key: Key) -> None:
    number = published()[0].number
    assert owner.get(page("routing_revision_add")).status_code == 403
    assert owner.post(page("routing_revision_change", number), {"reason": "x"}).status_code == 403
    assert owner.post(page("routing_revision_delete", number), {"post": "yes"}).status_code == 403
    assert owner.post(page("accounts_apikey_delete", key.row.pk), {"post": "yes"}).status_code == 403
    actions = owner.get(page("accounts_apikey_changelist")).context["action_form"].fields["action"].choices
    assert {name for name, _ in actions} == {"", "revoke_chosen", "export_csv"}


@pytest.mark.parametrize("name", sorted(set(ROW) - {"routing_revision"}))
def test_an_export_has_the_chosen_rows_and_no_secret(owner: Client, key: Key, name: str) -> None:
    model = ROW[name]
    pks = list(model._default_manager.values_list("pk", flat=True))
    before = len(published())
    response = owner.post(page(f"{name}_changelist"), {"action": "export_csv", "_selected_action": pks[:2]})
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    assert response.headers["content-disposition"] == f'attachment; filename="{model._meta.model_name}.csv"'
    text = response.content.decode()
    assert len(list(csv.reader(io.StringIO(text)))) == 1 + len(pks[:2])
    for secret in (SECRET, str(key), key.row.digest):
        assert secret not in text
    assert len(published()) == before


@pytest.mark.parametrize(
    "cell", ["=cmd()", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "\nx", "  =1", "\uff1d1", "|calc", "%x"]
)
def test_s39_a_cell_is_no_formula(cell: str) -> None:
    assert inert(cell) == "'" + cell


@pytest.mark.parametrize(
    ("cell", "told"),
    [
        ("a;=cmd()", "a;'=cmd()"),
        ("a\t=cmd()", "a\t'=cmd()"),
        ("a;  +1;-2;\uff201", "a;  '+1;'-2;'\uff201"),
        ('a;"=cmd()"', 'a;"\'=cmd()"'),
        ("a\n@x\r|calc", "a\n'@x\r'|calc"),
        ("\t=1", "'\t'=1"),
        ("=1;=2", "'=1;'=2"),
        (";\t=1", ";\t'=1"),
    ],
)
def test_s39_nor_is_what_follows_another_separator_in_it(cell: str, told: str) -> None:
    assert inert(cell) == told


@pytest.mark.parametrize(
    ("value", "cell"),
    [(None, ""), (-1, "-1"), (True, "True"), ("gpt-*", "gpt-*"), ("a=b", "a=b"), ("a; b;c", "a; b;c")],
)
def test_an_ordinary_cell_is_itself(value: object, cell: str) -> None:
    assert inert(value) == cell


def test_s39_hostile_names_are_inert_in_an_export(owner: Client) -> None:
    team = Team.objects.create(name="=HYPERLINK(1)")
    response = owner.post(
        page("accounts_team_changelist"), {"action": "export_csv", "_selected_action": [team.pk]}
    )
    assert response.content.decode().splitlines()[1].startswith("'=HYPERLINK(1),")


def test_an_action_without_rows_or_with_a_made_up_name_changes_nothing(owner: Client, key: Key) -> None:
    before = len(published())
    act(owner, "routing_route_changelist", "disable")
    act(owner, "routing_route_changelist", "made_up", Route.objects.get(pattern="gpt-*").pk)
    assert len(published()) == before


def test_the_list_of_many_keys_asks_as_often_as_that_of_few(
    owner: Client, django_assert_max_num_queries: Callable[[int], Any]
) -> None:
    for number in range(60):
        make_key(f"team {number}")
    with django_assert_max_num_queries(12):
        owner.get(page("accounts_apikey_changelist"))


def test_the_list_of_many_routes_asks_as_often_as_that_of_few(
    owner: Client, django_assert_max_num_queries: Callable[[int], Any]
) -> None:
    provider = make_provider()
    for number in range(60):
        make_route(f"m{number}", provider, provider)
    with django_assert_max_num_queries(14):
        owner.get(page("routing_route_changelist"))


def test_an_empty_list_says_what_would_be_there_and_a_filter_that_it_hides(owner: Client) -> None:
    """Each page that has a list, so that a new one is not forgotten."""
    ours = ("providers", "routing", "accounts")
    pages = {model: each for model, each in admin.site._registry.items() if model._meta.app_label in ours}
    assert len(pages) > 15
    for model, each in pages.items():
        model._default_manager.all().delete()
        shown = owner.get(page(f"{model._meta.app_label}_{model._meta.model_name}_changelist"))
        words = getattr(each, "when_empty", "")
        assert words, model
        assert escape(words) in shown.content.decode(), model
        assert f"No {model._meta.verbose_name} so far" in shown.content.decode(), model
    make_route("gpt-*")
    hidden = owner.get(page("routing_route_changelist"), {"q": "nosuch"}).content.decode()
    assert "No route is as the search and the filters say." in hidden
    assert "Reset filters" in hidden
