"""The admin purges cached answers: of a route or a team by an action, of all by a page of its own."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.test import Client

from accounts.models import Team
from routing.models import CachePurge, Revision
from tests.support.rows import make_route

pytestmark = pytest.mark.django_db


@pytest.fixture
def operator(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("operator"))
    return client


def test_an_action_on_routes(operator: Client) -> None:
    chosen, other = make_route("gpt-*"), make_route("claude-*")
    words = {"action": "purge_cache", "_selected_action": [chosen.pk]}
    assert operator.post("/admin/routing/route/", words).status_code == 302
    purge = CachePurge.objects.get()
    assert (purge.route, purge.team, purge.author) == (chosen, None, "operator")
    assert purge.route != other
    newest = Revision.objects.first()
    assert newest is not None
    assert newest.summary[0]["fields"] == {"cache": f"purge {purge.pk}"}


def test_an_action_on_teams(operator: Client) -> None:
    team = Team.objects.create(name="crew")
    words = {"action": "purge_cache", "_selected_action": [team.pk]}
    assert operator.post("/admin/accounts/team/", words).status_code == 302
    assert CachePurge.objects.get().team == team


def test_a_page_of_purges_that_are_never_changed(operator: Client) -> None:
    assert operator.post("/admin/routing/cachepurge/add/", {"key": ""}).status_code == 302
    purge = CachePurge.objects.get()
    assert (purge.team, purge.route, purge.key, purge.author) == (None, None, "", "operator")
    page = operator.get("/admin/routing/cachepurge/")
    assert "all answers of every team" in page.content.decode()
    address = f"/admin/routing/cachepurge/{purge.pk}"
    assert operator.post(f"{address}/delete/", {"post": "yes"}).status_code == 403
    assert CachePurge.objects.count() == 1


@pytest.mark.parametrize("words", [{"key": "xyz"}, {"key": "ab" * 32, "team": "1"}])
def test_what_makes_no_sense_is_not_added(operator: Client, words: dict[str, str]) -> None:
    Team.objects.create(pk=1, name="crew")
    page = operator.post("/admin/routing/cachepurge/add/", words)
    assert page.status_code == 200
    assert not CachePurge.objects.exists()


def test_who_may_not_add_purges_is_not_offered_the_action(client: Client) -> None:
    make_route("gpt-*")
    viewer = User.objects.create_user("viewer", is_staff=True)
    client.force_login(viewer)
    words = {"action": "purge_cache", "_selected_action": [1]}
    client.post("/admin/routing/route/", words)
    assert not CachePurge.objects.exists()


def test_a_route_shows_its_cache(operator: Client) -> None:
    route = make_route("gpt-*", cache="exact")
    page = operator.get(f"/admin/routing/route/{route.pk}/change/").content.decode()
    for field in ("cache", "cache_ttl", "cache_scope", "cache_max_bytes", "cache_tools", "cache_temperature"):
        assert f'name="{field}"' in page
