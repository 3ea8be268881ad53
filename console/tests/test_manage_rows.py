"""The tables of the configuration at the management API: by the admin's own forms, rights and checks."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache
from django.test import Client

from accounts.models import Budget, Limit, Team
from console.tests.test_manage_access import ask, bearer, member
from providers.apps import vault
from providers.models import CatalogueModel, Credential, Provider
from routing.models import Revision, Route
from tests.support.rows import SECRET, make_key, make_provider, make_route, make_staff

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _fresh_pace() -> None:
    cache.clear()


@pytest.fixture
def root(client: Client) -> dict[str, Any]:
    return bearer(User.objects.create_superuser("root"))


def change(client: Client, headers: dict[str, Any], address: str, body: Any, match: str = "*") -> Any:
    return ask(client, "PATCH", address, {**headers, "if-match": match}, body)


def test_a_provider_and_a_route_are_added_changed_and_deleted(client: Client, root: dict[str, Any]) -> None:
    wish = {
        "name": "mine",
        "kind": "openai",
        "idle_timeout": 17,
        "credentials": [{"label": "one", "secret": "sk-canary-0123456789-abcd"}],
    }
    added = ask(client, "POST", "providers", {**root, "x-change-reason": "a pilot"}, wish)
    assert added.status_code == 201, added.content
    said = added.json()
    assert (said["idle_timeout"], said["enabled"], said["breakers"]) == (17, True, [])
    assert [(each["label"], each["last4"]) for each in said["credentials"]] == [("one", "abcd")]
    assert "canary" not in added.content.decode()
    row = Credential.objects.get()
    assert vault().open(row.sealed, row.provider_id) == "sk-canary-0123456789-abcd"
    revision = Revision.objects.get(number=said["revision"])
    assert (revision.author, revision.reason) == ("root", "a pilot")

    wish = {"pattern": "fast*", "targets": [{"provider": "mine", "upstream_model": "gpt-4o", "weight": 3}]}
    route = ask(client, "POST", "routes", root, wish)
    assert route.status_code == 201, route.content
    assert (route.json()["name"], route.json()["team"]) == ("fast*", None)
    number, (target,) = route.json()["id"], route.json()["targets"]
    both = [{**target, "weight": 5}, {"provider": "mine", "tier": 2}]
    changed = change(client, root, f"routes/{number}", {"targets": both, "tries": 2}, route["etag"])
    assert changed.status_code == 200, changed.content
    kept = next(each for each in changed.json()["targets"] if each["id"] == target["id"])
    assert kept["weight"] == 5
    assert changed["etag"] != route["etag"]
    assert changed["etag"] == ask(client, "GET", f"routes/{number}", root)["etag"]
    # What is not said stays; a list is said whole.
    assert Route.objects.get().targets.count() == 2
    only = change(client, root, f"routes/{number}", {"targets": both[:1]}, changed["etag"]).json()
    assert (len(only["targets"]), only["tries"]) == (1, 2)

    needed = ask(client, "DELETE", f"providers/{said['id']}", {**root, "if-match": "*"})
    assert needed.status_code == 409
    assert ask(client, "DELETE", f"routes/{number}", {**root, "if-match": "*"}).status_code == 204
    assert ask(client, "DELETE", f"providers/{said['id']}", {**root, "if-match": "*"}).status_code == 204
    assert not Provider.objects.exists()
    assert ask(client, "GET", f"routes/{number}", root).status_code == 404


def test_nothing_is_written_over_unseen(client: Client, root: dict[str, Any]) -> None:
    route = make_route("a", make_provider())
    address = f"routes/{route.pk}"
    assert ask(client, "PATCH", address, root, {"tries": 2}).status_code == 428
    tag = ask(client, "GET", address, root)["etag"]
    assert change(client, root, address, {"tries": 2}, tag).status_code == 200
    assert change(client, root, address, {"tries": 3}, tag).status_code == 412
    assert ask(client, "DELETE", address, {**root, "if-match": tag}).status_code == 412
    assert Route.objects.get().tries == 2
    # A secret that nobody sees changes the tag too.
    provider = f"providers/{Provider.objects.get().pk}"
    tag = ask(client, "GET", provider, root)["etag"]
    row = Credential.objects.get()
    row.sealed = vault().seal(SECRET, row.provider_id)
    row.save()
    assert ask(client, "GET", provider, root)["etag"] != tag


def test_what_changes_nothing_makes_no_revision(client: Client, root: dict[str, Any]) -> None:
    route = make_route("a", make_provider())
    said = ask(client, "GET", f"routes/{route.pk}", root).json()
    assert change(client, root, f"routes/{route.pk}", said).status_code == 200
    provider = ask(client, "GET", f"providers/{Provider.objects.get().pk}", root).json()
    assert change(client, root, f"providers/{provider['id']}", provider).status_code == 200
    assert not Revision.objects.filter(number__gt=0).exists()


@pytest.mark.parametrize(
    ("address", "body", "named"),
    [
        ("providers", {"name": "mine", "kind": "nonsense"}, "kind"),
        (
            "providers",
            {"name": "mine", "kind": "openai", "base_url": "http://169.254.169.254/v1"},
            "base_url",
        ),
        ("providers", {"name": "mine", "kind": "openai", "credentials": [{"label": "x"}]}, "credentials"),
        ("providers", {"name": "mine", "kind": "openai", "credentials": [{}]}, "credentials"),
        ("providers", {"name": "mine", "kind": "openai", "managed_by_env": True}, "managed_by_env"),
        ("routes", {"pattern": "b"}, "targets"),
        ("routes", {"pattern": "b", "targets": [{"provider": "nobody"}]}, "targets"),
        ("routes", {"pattern": "b", "targets": [{"provider": "openai", "id": 999}]}, "targets"),
        ("routes", {"pattern": "b", "targets": [{"provider": "openai", "weight": "x"}]}, "targets"),
        ("routes", {"pattern": "b", "targets": {"provider": "openai"}}, "targets"),
        ("limits", {"kind": "requests", "amount": 0, "per": "minute"}, "amount"),
        ("limits", {"kind": "requests", "amount": 5, "per": "minute", "provider": "nobody"}, "provider"),
        ("limits", {"kind": "requests", "amount": 5, "per": "minute", "team": "nobody"}, "team"),
        ("budgets", {"unit": "usd", "amount": "NaN", "period": "month"}, "amount"),
        ("prices", {"kind": "openai", "name": "x", "input_price": -1}, "input_price"),
        ("teams", {"name": " "}, "name"),
        ("teams", {"name": "a\0b"}, "name"),
        ("teams", [], None),
    ],
)
def test_what_the_form_would_refuse_is_refused(
    client: Client, root: dict[str, Any], address: str, body: Any, named: str | None
) -> None:
    make_provider()
    before = {
        model: model.objects.count() for model in (Provider, Route, Limit, Budget, CatalogueModel, Team)
    }
    reply = ask(client, "POST", address, root, body)
    assert reply.status_code == 400, reply.content
    if named is not None:
        assert named in reply.json()["errors"], reply.json()
    assert {model: model.objects.count() for model in before} == before


def test_who_may_not_enter_secrets_cannot_send_them_elsewhere(client: Client, root: dict[str, Any]) -> None:
    provider = make_provider("openai_compatible", base_url="https://93.184.216.34/v1")
    staff = make_staff("providers.view_provider", "providers.change_provider", name="half")
    elsewhere = {"base_url": "https://93.184.216.35/v1"}
    address = f"providers/{provider.pk}"
    assert change(client, bearer(staff), address, elsewhere).status_code == 403
    taken = change(client, bearer(staff), address, {"credentials": []})
    assert taken.status_code == 403
    # Nor can who may, without entering them anew.
    refused = change(client, root, address, elsewhere)
    assert refused.status_code == 400
    assert "entered again" in str(refused.json()["errors"]["credentials"])
    # The private network is for superusers.
    private = {"allow_private_addresses": True}
    assert change(client, bearer(member("operator")), address, private).status_code == 403
    assert change(client, root, address, private).status_code == 200


def test_a_breaker_is_held_and_who_saves_is_told_what_is_not_well(client: Client) -> None:
    provider = make_provider()
    headers = bearer(member("operator"))
    held = change(client, headers, f"providers/{provider.pk}", {"breaker_mode": "open"})
    assert held.json()["breaker_mode"] == "open"
    assert any("breaker" in note for note in held.json()["notes"]), held.json()["notes"]


def test_limits_budgets_prices_and_teams(client: Client, root: dict[str, Any]) -> None:
    key = make_key()
    limit = ask(
        client, "POST", "limits", root, {"team": "crew", "kind": "requests", "amount": 5, "per": "minute"}
    )
    assert limit.status_code == 201, limit.content
    assert Limit.objects.get().team == key.row.team
    budget = {"key": key.row.pk, "unit": "usd", "amount": "12.5", "period": "month", "hard": True}
    assert ask(client, "POST", "budgets", root, budget).status_code == 201
    assert Budget.objects.get().key == key.row
    price = ask(client, "POST", "prices", root, {"kind": "openai", "name": "x", "input_price": "1.25"})
    assert (price.status_code, price.json()["overridden"]) == (201, True)
    changed = change(client, root, f"teams/{key.row.team_id}", {"priority": "low"})
    assert changed.json()["priority"] == "low"
    assert ask(client, "DELETE", f"teams/{key.row.team_id}", {**root, "if-match": "*"}).status_code == 409
    assert ask(client, "GET", "limits?name=x", root).status_code == 200


def test_lists_are_pages(client: Client, root: dict[str, Any]) -> None:
    Team.objects.bulk_create([Team(name=f"t{n:03}") for n in range(250)])
    first = ask(client, "GET", "teams?limit=9999", root).json()
    assert len(first) == 200
    rest = ask(client, "GET", f"teams?limit=200&after={first[-1]['id']}", root).json()
    assert len(rest) == 50
    assert [each["name"] for each in ask(client, "GET", "teams?name=t007", root).json()] == ["t007"]
    assert ask(client, "GET", "teams?after=x", root).status_code == 400
