"""Drafts made of documents, and looked over and ended by the management API."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client

from console.tests.test_manage_access import ask, bearer
from routing.models import Revision, Route
from routing.models_drafts import Draft
from routing.revisions import latest, publish
from tests.support.rows import make_provider, make_route, make_staff

pytestmark = pytest.mark.django_db


def test_a_document_becomes_a_draft_and_is_published_as_it_was_read(
    client: Client, root: dict[str, Any]
) -> None:
    wish = {
        "routes": [{"pattern": "gpt-*", "tries": 3}, {"pattern": "x", "targets": [{"provider": "openai"}]}]
    }
    made = ask(client, "POST", "config?draft=spring", {**root, "if-match": "*"}, wish)
    assert made.status_code == 200, made.content
    assert (made.json()["revision"], latest(), Route.objects.count()) == (None, 1, 1)
    number = made.json()["draft"]
    assert [each["name"] for each in ask(client, "GET", "drafts", root).json()] == ["spring"]
    whole = ask(client, "GET", f"drafts/{number}", root)
    assert any(line.startswith("+ route x") for line in whole.json()["changes"]), whole.json()
    assert "impact" in whole.json()

    more = {"routes": [{"pattern": "gpt-*", "priority": 4}]}
    ask(client, "POST", "config?draft=spring", {**root, "if-match": "*"}, more)
    assert Draft.objects.count() == 1
    address = f"drafts/{number}/publish"
    assert ask(client, "POST", address, root).status_code == 428
    assert ask(client, "POST", address, {**root, "if-match": whole["etag"]}).status_code == 412
    tag = ask(client, "GET", f"drafts/{number}", root)["etag"]
    done = ask(client, "POST", address, {**root, "if-match": tag, "x-change-reason": "go"})
    assert (done.status_code, done.json()["state"], done.json()["revision"]) == (200, "published", 2)
    assert Revision.objects.get(number=2).reason == "go"
    assert Route.objects.get(pattern="gpt-*").priority == 4
    for word in ("publish", "drop"):
        assert ask(client, "POST", f"drafts/{number}/{word}", {**root, "if-match": "*"}).status_code == 409


def test_a_clash_is_told_and_a_draft_dropped(client: Client, root: dict[str, Any]) -> None:
    wish = {"routes": [{"pattern": "gpt-*", "tries": 3}]}
    number = ask(client, "POST", "config?draft=a", {**root, "if-match": "*"}, wish).json()["draft"]
    Route.objects.update(tries=2)
    publish("olga", "meanwhile")
    refused = ask(client, "POST", f"drafts/{number}/publish", {**root, "if-match": "*"})
    assert (refused.status_code, "tries was 1, is 2" in refused.json()["errors"][0]) == (409, True)
    (clash,) = ask(client, "GET", f"drafts/{number}", root).json()["clashes"]
    assert clash == {"object": f"route:{Route.objects.get().pk}", "words": refused.json()["errors"]}
    assert ask(client, "POST", f"drafts/{number}/drop", root).json()["state"] == "dropped"
    assert Route.objects.get().tries == 2


def test_a_draft_by_the_command_line(root: dict[str, Any], tmp_path: Path) -> None:
    path, said = tmp_path / "config.yaml", StringIO()
    path.write_text("routes: [{pattern: 'gpt-*', tries: 3}]")
    call_command("config", "apply", str(path), draft="spring", stdout=said)
    assert "in the draft spring; nothing is published" in said.getvalue()
    assert (Draft.objects.get().rows.count(), Route.objects.get().tries, latest()) == (1, 1, 1)


@pytest.mark.parametrize(("take", "tries"), [("draft", 3), ("published", 2)])
def test_clashes_are_decided_one_by_one_by_what_was_read(
    client: Client, root: dict[str, Any], take: str, tries: int
) -> None:
    make_route("other", make_provider("second"))
    publish("olga", "second")
    wish = {"routes": [{"pattern": each, "tries": 3, "losses": "strict"} for each in ("gpt-*", "other")]}
    number = ask(client, "POST", "config?draft=a", {**root, "if-match": "*"}, wish).json()["draft"]
    Route.objects.update(tries=2, priority=4)
    publish("olga", "meanwhile")
    address = f"drafts/{number}/decide"
    first = ask(client, "GET", f"drafts/{number}", root)
    places = [each["object"] for each in first.json()["clashes"]]
    assert places == [f"route:{row.pk}" for row in Route.objects.order_by("pk")]

    said = {"object": places[0], "take": take}
    assert ask(client, "POST", address, root, said).status_code == 428
    for wrong in ({"object": "route:0", "take": take}, {"object": "nonsense", "take": take}):
        assert ask(client, "POST", address, {**root, "if-match": "*"}, wrong).status_code == 409, wrong
    for wrong in ({**said, "take": "both"}, {"take": take}, {"object": places[0]}):
        assert ask(client, "POST", address, {**root, "if-match": "*"}, wrong).status_code == 400, wrong
    once = ask(client, "POST", address, {**root, "if-match": first["etag"]}, said)
    assert once.status_code == 200, once.content
    assert [each["object"] for each in once.json()["clashes"]] == places[1:]
    again = ask(client, "POST", address, {**root, "if-match": once["etag"]}, said)
    assert (again.status_code, again.json()["detail"]) == (409, "Nothing of this object clashes.")
    refused = ask(client, "POST", f"drafts/{number}/publish", {**root, "if-match": once["etag"]})
    assert refused.status_code == 409

    twice = ask(client, "POST", address, {**root, "if-match": once["etag"]}, {**said, "object": places[1]})
    assert twice.json()["clashes"] == []
    done = ask(client, "POST", f"drafts/{number}/publish", {**root, "if-match": twice["etag"]})
    assert done.status_code == 200, done.content
    # What did not clash is kept of both.
    rows = Route.objects.values_list("tries", "losses", "priority")
    assert list(rows) == [(tries, "strict", 4)] * 2
    over = ask(client, "POST", address, {**root, "if-match": "*"}, said)
    assert (over.status_code, over.json()["detail"]) == (409, "It cannot be decided.")


def test_what_was_read_is_not_decided_when_it_has_moved_on(client: Client, root: dict[str, Any]) -> None:
    wish = {"routes": [{"pattern": "gpt-*", "tries": 3}]}
    number = ask(client, "POST", "config?draft=a", {**root, "if-match": "*"}, wish).json()["draft"]
    place = f"route:{Route.objects.get().pk}"
    Route.objects.update(tries=2)
    publish("olga", "meanwhile")
    tag = ask(client, "GET", f"drafts/{number}", root)["etag"]
    Route.objects.update(tries=1)
    publish("olga", "and again")
    said = {"object": place, "take": "draft"}
    assert ask(client, "POST", f"drafts/{number}/decide", {**root, "if-match": tag}, said).status_code == 412


def test_a_request_is_explained_by_a_draft(client: Client, root: dict[str, Any]) -> None:
    wish = {"routes": [{"pattern": "new-*", "targets": [{"provider": "openai"}]}]}
    number = ask(client, "POST", "config?draft=spring", {**root, "if-match": "*"}, wish).json()["draft"]
    asked = {"model": "new-1"}
    assert ask(client, "POST", "explain", root, asked).json()["route"] is None
    for word in (str(number), "spring"):
        said = ask(client, "POST", "explain", root, {**asked, "draft": word}).json()
        assert said["route"]["pattern"] == "new-*", said
        assert "By the draft spring" in said["notes"][0]
    both = ask(client, "POST", "explain", root, {**asked, "draft": "spring", "revision": "now"})
    assert (both.status_code, both.json()["detail"]) == (400, "Name a draft or a revision, and not both.")
    for word in ("nosuch", "0", "\0"):
        assert ask(client, "POST", "explain", root, {**asked, "draft": word}).status_code == 400, word
    out = StringIO()
    call_command("explain", model="new-1", draft="spring", stdout=out)
    assert "route new-* (new-*)" in out.getvalue()

    # Who may explain and not see drafts does not see one by explaining.
    reader = bearer(make_staff("routing.view_route", "accounts.view_apikey", name="reader"))
    assert ask(client, "POST", "explain", reader, asked).status_code == 200
    assert ask(client, "POST", "explain", reader, {**asked, "draft": "spring"}).status_code == 403
