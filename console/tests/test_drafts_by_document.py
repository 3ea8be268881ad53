"""Drafts made of documents, and looked over and ended by the management API."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache
from django.core.management import call_command
from django.test import Client

from console.tests.test_manage_access import ask, bearer
from routing.models import Revision, Route
from routing.models_drafts import Draft
from routing.revisions import latest, publish
from tests.support.rows import make_provider, make_route

pytestmark = pytest.mark.django_db


@pytest.fixture
def root() -> dict[str, Any]:
    cache.clear()
    make_route("gpt-*", make_provider("openai"))
    publish("olga", "first")
    return bearer(User.objects.create_superuser("root"))


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
    assert ask(client, "POST", f"drafts/{number}/drop", root).json()["state"] == "dropped"
    assert Route.objects.get().tries == 2


def test_a_draft_by_the_command_line(root: dict[str, Any], tmp_path: Path) -> None:
    path, said = tmp_path / "config.yaml", StringIO()
    path.write_text("routes: [{pattern: 'gpt-*', tries: 3}]")
    call_command("config", "apply", str(path), draft="spring", stdout=said)
    assert "in the draft spring; nothing is published" in said.getvalue()
    assert (Draft.objects.get().rows.count(), Route.objects.get().tries, latest()) == (1, 1, 1)
