"""Rows read and written within a draft by the management API; providers tested, and failures rehearsed."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from console.tests.test_manage_access import ask, bearer
from providers.models import Credential, Provider
from routing.draft_ways import seen
from routing.models import Route
from routing.models_drafts import Draft
from routing.revisions import latest, publish
from tests.support.rows import make_provider, make_staff

pytestmark = pytest.mark.django_db


def test_rows_of_one_draft_lead_to_each_other_and_steer_nothing(client: Client, root: dict[str, Any]) -> None:
    wish = {
        "name": "mine",
        "kind": "openai",
        "credentials": [{"label": "one", "secret": "sk-canary-0123456789"}],
    }
    made = ask(client, "POST", "providers?draft=spring", root, wish)
    assert made.status_code == 201, made.content
    draft = Draft.objects.get()
    assert (made.json()["draft"], made.json()["revision"], latest()) == (draft.pk, None, 1)
    route = ask(
        client, "POST", "routes?draft=spring", root, {"pattern": "x", "targets": [{"provider": "mine"}]}
    )
    assert route.status_code == 201, route.content
    number = route.json()["id"]
    assert {each["name"] for each in ask(client, "GET", "providers?draft=spring", root).json()} == {
        "openai",
        "mine",
    }
    inside = ask(client, "GET", f"routes/{number}?draft=spring", root)
    assert inside["etag"] == route["etag"]
    change = {**root, "if-match": inside["etag"]}
    changed = ask(client, "PATCH", f"routes/{number}?draft=spring", change, {"tries": 3})
    assert (changed.status_code, changed.json()["tries"]) == (200, 3)
    assert ask(client, "PATCH", f"routes/{number}?draft=spring", change, {"tries": 2}).status_code == 412
    gone = Route.objects.get()
    assert (
        ask(client, "DELETE", f"routes/{gone.pk}?draft=spring", {**root, "if-match": "*"}).status_code == 204
    )
    assert ask(client, "GET", f"routes/{gone.pk}?draft=spring", root).status_code == 404

    # Outside of it nothing of that is so.
    assert [each["pattern"] for each in ask(client, "GET", "routes", root).json()] == ["gpt-*"]
    assert (Provider.objects.count(), Credential.objects.count(), latest()) == (1, 1, 1)
    tag = ask(client, "GET", f"drafts/{draft.pk}", root)["etag"]
    done = ask(client, "POST", f"drafts/{draft.pk}/publish", {**root, "if-match": tag})
    assert done.status_code == 200, done.content
    assert [(row.pattern, row.tries, row.targets.get().provider.name) for row in Route.objects.all()] == [
        ("x", 3, "mine")
    ]


def test_what_is_refused_begins_no_draft(client: Client, root: dict[str, Any]) -> None:
    assert ask(client, "POST", "routes?draft=spring", root, {"pattern": "x y"}).status_code == 400
    assert ask(client, "POST", "routes?draft=", root, {"pattern": "x"}).status_code == 400
    assert ask(client, "GET", "routes?draft=nosuch", root).status_code == 404
    assert not Draft.objects.exists()
    edits = ("routing.view_route", "routing.change_route", "routing.view_target", "providers.view_provider")
    plain = {**bearer(make_staff(*edits)), "if-match": "*"}
    address = f"routes/{Route.objects.get().pk}?draft=spring"
    assert ask(client, "PATCH", address, plain, {"tries": 3}).status_code == 403
    assert ask(client, "GET", address, plain).status_code == 403
    looks = {
        **bearer(make_staff("routing.view_route", "routing.change_draft", name="looks")),
        "if-match": "*",
    }
    assert ask(client, "PATCH", address, looks, {"tries": 3}).status_code == 403
    assert not Draft.objects.exists()
    assert (Route.objects.get().tries, latest()) == (1, 1)


def test_a_draft_that_no_longer_fits_is_a_conflict(client: Client, root: dict[str, Any]) -> None:
    ask(client, "POST", "providers?draft=a", root, {"name": "mine", "kind": "ollama"})
    make_provider("mine", kind="ollama")
    publish("olga", "the same name")
    assert seen(Draft.objects.get()).problems
    for method, body in (("GET", None), ("POST", {"name": "third", "kind": "ollama"})):
        refused = ask(client, method, "providers?draft=a", root, body)
        assert (refused.status_code, len(refused.json()["errors"])) == (409, 1)


def test_a_provider_is_tested_and_not_at_once_again(client: Client, root: dict[str, Any]) -> None:
    number = make_provider("box", kind="sandbox").pk
    said = ask(client, "POST", f"providers/{number}/test", root)
    assert said.status_code == 200, said.content
    (one,) = said.json()
    assert (one["credential"], one["ok"]) == ("", True)
    assert ask(client, "POST", f"providers/{number}/test", root).status_code == 429


def test_a_failure_is_rehearsed(client: Client, root: dict[str, Any]) -> None:
    wish = {"model": "gpt-4o", "provider": "openai", "fault": "503", "calls": 3}
    said = ask(client, "POST", "rehearse", root, wish)
    assert said.status_code == 200, said.content
    assert (said.json()["route"], said.json()["failed"], len(said.json()["calls"])) == ("gpt-*", 3, 3)
    for wrong in ({"fault": "fire"}, {"provider": "nosuch"}, {"calls": 100_000}, {"key": "gw-nosuch"}):
        assert ask(client, "POST", "rehearse", root, {**wish, **wrong}).status_code == 400, wrong
