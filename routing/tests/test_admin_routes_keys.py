"""Routes, teams and keys in the admin: what is saved is in force, and a key is shown once."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from accounts.apps import hasher
from accounts.models import ApiKey, Team
from providers.apps import vault
from routing.loader import build_snapshot
from routing.models import Route
from routing.plan import match
from routing.tests.admin_pages import ALL, act, browser, errors_of, form_of, only_revision, page, published
from tests.support.rows import make_key, make_provider, make_route, make_staff

pytestmark = pytest.mark.django_db


@pytest.fixture
def operator() -> Client:
    return browser(make_staff(*ALL))


def add_route(client: Client, **data: Any) -> Any:
    """Add a route to the provider `openai`."""
    form = form_of(client, page("routing_route_add"))
    provider = make_provider()
    form |= {"pattern": "gpt-*", "targets-0-provider": provider.pk}
    return client.post(page("routing_route_add"), {**form, **data})


def change_route(client: Client, route: Route, **data: Any) -> Any:
    url = page("routing_route_change", route.pk)
    return client.post(url, {**form_of(client, url), **data})


def test_a_saved_route_steers_and_publishes_once(operator: Client) -> None:
    assert add_route(operator).status_code == 302
    assert only_revision().reason == "route gpt-* added"
    snapshot = build_snapshot(vault())
    route = match(snapshot, "gpt-4o", None)
    assert route is not None
    assert [t.provider.name for t in route.targets] == ["openai"]
    assert snapshot.revision == 1


def test_a_route_without_a_name_is_called_as_its_pattern_and_team(operator: Client) -> None:
    team = Team.objects.create(name="crew")
    assert add_route(operator, team=team.pk).status_code == 302
    assert Route.objects.get().name == "gpt-*@crew"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"pattern": "a b"}, "No spaces"),
        ({"pattern": "*-gpt"}, "ends in one star"),
        ({"pattern": ""}, "required"),
        ({"targets-0-weight": "0"}, "at least one enabled target"),
        ({"targets-0-enabled": ""}, "at least one enabled target"),
        ({"targets-0-provider": ""}, "at least one enabled target"),
        ({"targets-0-weight": "-1"}, "greater than or equal to 0"),
        ({"targets-0-body_patch": "{"}, "valid JSON"),
        ({"targets-0-body_patch": "[1]"}, "Expected an object"),
        ({"targets-0-body_patch": '{"model": "x"}'}, "sets model itself"),
        ({"targets-0-body_patch": '{"x": NaN}'}, "JSON cannot hold"),
        ({"targets-0-body_patch": '{"x": "\\u0000"}'}, "NUL"),
        ({"targets-0-body_patch": '{"x": "' + "y" * 20_000 + '"}'}, "At most"),
        ({"targets-0-upstream_model": "a b"}, "neither spaces nor stars"),
        ({"priority": "9" * 30}, "less than or equal"),
    ],
)
def test_a_bad_form_is_refused_and_nothing_is_published(
    operator: Client, data: dict[str, Any], words: str
) -> None:
    assert words in errors_of(add_route(operator, **data))
    assert published() == []
    assert not Route.objects.exists()


def test_what_a_route_does_with_lost_fields_is_chosen_and_in_force(operator: Client) -> None:
    assert add_route(operator, losses="strict").status_code == 302
    route = Route.objects.get()
    assert build_snapshot(vault()).routes[0].losses == "strict"
    assert change_route(operator, route, losses="silent").status_code == 302
    assert build_snapshot(vault()).routes[0].losses == "silent"
    assert "loud" in errors_of(change_route(operator, route, losses="loud"))
    assert published()[-1].summary[0]["fields"] == {"losses": ["strict", "silent"]}


def test_a_second_route_in_the_same_place_is_refused(operator: Client) -> None:
    make_route("gpt-*", make_provider("other"))
    assert "A common route with this pattern and priority exists" in errors_of(
        add_route(operator, name="second")
    )


def test_a_disabled_route_may_be_empty(operator: Client) -> None:
    assert add_route(operator, enabled="", **{"targets-TOTAL_FORMS": "0"}).status_code == 302
    route = Route.objects.get()
    act(operator, "routing_route_changelist", "enable", route.pk)
    route.refresh_from_db()
    assert not route.enabled
    assert len(published()) == 1


def test_changed_targets_are_told_by_their_values(operator: Client) -> None:
    one, two = make_provider("one"), make_provider("two")
    route = make_route("gpt-*", one)
    more = {
        "targets-TOTAL_FORMS": "2",
        "targets-0-weight": "3",
        "targets-1-provider": two.pk,
        "targets-1-tier": "1",
        "targets-1-weight": "1",
        "targets-1-body_patch": "{}",
        "targets-1-enabled": "on",
    }
    assert change_route(operator, route, **more).status_code == 302
    fields = only_revision().summary[0]["fields"]
    assert fields["target one"] == {"weight": [1, 3]}
    assert fields["target two"]["provider"] == [None, "two"]


def test_an_edited_default_route_no_longer_follows_the_environment(operator: Client) -> None:
    route = make_route("*", make_provider(), name="default", managed_by_env=True)
    change_route(operator, route)
    route.refresh_from_db()
    assert route.managed_by_env
    change_route(operator, route, **{"targets-0-weight": "2"})
    route.refresh_from_db()
    assert not route.managed_by_env


def test_switching_routes_publishes_once(operator: Client) -> None:
    provider = make_provider()
    pks = [make_route(pattern, provider).pk for pattern in ("a", "b")]
    act(operator, "routing_route_changelist", "disable", *pks)
    assert build_snapshot(vault()).routes == ()
    assert len(published()) == 1
    act(operator, "routing_route_changelist", "enable", *pks)
    assert len(build_snapshot(vault()).routes) == 2
    assert len(published()) == 2


def issue(client: Client, **data: Any) -> Any:
    team, _ = Team.objects.get_or_create(name="crew")
    form = form_of(client, page("accounts_apikey_add"))
    return client.post(page("accounts_apikey_add"), {**form, "team": team.pk, "label": "ci", **data})


def test_a_key_is_shown_once_and_works(operator: Client) -> None:
    response = issue(operator, allowed_models="gpt-4o-mini\nclaude-*")
    assert response.status_code == 200
    assert "no-store" in response.headers["cache-control"]
    text = response.content.decode()
    (key,) = set(re.findall(r"gw-[0-9A-Za-z]{57}", text))
    row = ApiKey.objects.get()
    assert row.digest == hasher().digest(key).hex()
    assert build_snapshot(vault()).keys[bytes.fromhex(row.digest)].allowed_models == (
        "gpt-4o-mini",
        "claude-*",
    )
    # Ready to copy: itself, curl, both SDKs and Claude Code.
    assert text.count(key) == 5
    assert text.count("data-copy=") == 5
    assert "http://testserver/v1/chat/completions" in text
    for url in (
        page("accounts_apikey_change", row.pk),
        page("accounts_apikey_changelist"),
        page("accounts_apikey_history", row.pk),
        page("routing_revision_change", only_revision().pk),
        page("index"),
    ):
        shown = operator.get(url).content.decode()
        assert key not in shown
        assert row.prefix in shown
    assert key not in str(only_revision().summary)


@pytest.mark.parametrize(
    ("providers", "model"),
    [
        (["openai", "anthropic"], "gpt-4o-mini"),
        (["anthropic"], "claude-haiku-4-5"),
        ([], "sandbox"),
    ],
)
def test_the_lines_to_copy_name_a_model_that_answers(
    operator: Client, providers: list[str], model: str
) -> None:
    for name in providers:
        make_provider(name)
    make_route("sandbox", make_provider("sandbox"))
    assert f"&quot;model&quot;: &quot;{model}&quot;" in issue(operator).content.decode()


@pytest.mark.parametrize("button", ["_addanother", "_continue", "_save"])
def test_whichever_button_is_pressed_shows_the_key(operator: Client, button: str) -> None:
    assert "gw-" in issue(operator, **{button: "1"}).content.decode()


def test_a_models_name_cannot_break_out_of_the_lines_to_copy(operator: Client) -> None:
    # A route takes it, so that no warning names it as a model that nobody serves.
    make_route("*", make_provider("ollama"))
    text = issue(operator, allowed_models="'$(reboot)'").content.decode()
    assert "reboot" not in text
    assert "gpt-4o-mini" in text


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"team": ""}, "required"),
        ({"allowed_models": "a b"}, "ends in one star"),
        ({"allowed_models": "x" * 201}, "at most 200"),
        ({"expires_at_0": "2001-01-01", "expires_at_1": "00:00"}, "has passed"),
        ({"label": "x" * 101}, "at most 100"),
    ],
)
def test_a_bad_form_issues_nothing(operator: Client, data: dict[str, Any], words: str) -> None:
    assert words in errors_of(issue(operator, **data))
    assert not ApiKey.objects.exists()
    assert published() == []


def test_a_keys_label_limits_and_end_may_change_and_nothing_else(operator: Client) -> None:
    key = make_key(allowed_models=["gpt-*"], expires_at=timezone.now() - timedelta(days=1))
    other = Team.objects.create(name="other")
    url = page("accounts_apikey_change", key.row.pk)
    form = {**form_of(operator, url), "label": "new", "team": other.pk, "digest": "0" * 64, "prefix": "x"}
    assert operator.post(url, form).status_code == 302
    before = key.row.digest
    key.row.refresh_from_db()
    assert (key.row.label, key.row.team.name, key.row.digest) == ("new", "crew", before)
    assert only_revision().summary[0]["fields"] == {"label": ["", "new"]}


def test_revoking_from_the_list_and_from_the_page(operator: Client) -> None:
    one, two, three = make_key(), make_key(), make_key()
    act(operator, "accounts_apikey_changelist", "revoke_chosen", one.row.pk, two.row.pk)
    assert [k.prefix for k in build_snapshot(vault()).keys.values()] == [three.row.prefix]
    assert len(published()) == 1
    url = page("accounts_apikey_revoke", three.row.pk)
    assert operator.get(url).status_code == 200
    assert build_snapshot(vault()).keys
    response = operator.post(url, {"_form_submitted": "True"})
    assert response.headers["hx-redirect"] == page("accounts_apikey_change", three.row.pk)
    assert build_snapshot(vault()).keys == {}
    operator.post(url, {"_form_submitted": "True"})
    assert len(published()) == 2


def test_revoking_needs_the_right_to_change(operator: Client) -> None:
    key = make_key()
    viewer = browser(make_staff("accounts.view_apikey", name="viewer"))
    url = page("accounts_apikey_revoke", key.row.pk)
    assert viewer.post(url, {"_form_submitted": "True"}).status_code == 403
    act(viewer, "accounts_apikey_changelist", "revoke_chosen", key.row.pk)
    key.row.refresh_from_db()
    assert key.row.state == "active"


def test_a_team_with_keys_or_routes_is_not_deleted(operator: Client) -> None:
    key = make_key()
    assert operator.post(page("accounts_team_delete", key.row.team.pk), {"post": "yes"}).status_code == 200
    assert Team.objects.filter(pk=key.row.team.pk).exists()
    assert published() == []


def test_teams_are_counted_and_published(operator: Client) -> None:
    make_key("crew")
    make_key("crew", revoked_at=timezone.now())
    make_route("x", make_provider(), team=Team.objects.get(name="crew"))
    (row,) = operator.get(page("accounts_team_changelist")).context["cl"].result_list
    assert (row.active, row.route_total) == (1, 1)
    form = form_of(operator, page("accounts_team_add"))
    assert operator.post(page("accounts_team_add"), {**form, "name": "new"}).status_code == 302
    assert only_revision().reason == "team new added"


def test_the_author_is_who_was_logged_in() -> None:
    owner = browser(User.objects.create_superuser("Ada"))
    form = form_of(owner, page("accounts_team_add"))
    owner.post(page("accounts_team_add"), {**form, "name": "new"})
    assert only_revision().author == "Ada"
