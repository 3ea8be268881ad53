"""Files and batches in the admin: whose they are, to read; to delete a row is to forget it."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from accounts.models import Team
from accounts.rights import EVERY_TEAM
from routing.models import OwnedObject, Revision
from routing.tests.admin_pages import browser, page
from tests.support.rows import make_key, make_provider, make_staff

pytestmark = pytest.mark.django_db
LIST = page("routing_ownedobject_changelist")


@pytest.fixture
def reader() -> Client:
    return browser(make_staff("routing.view_ownedobject", EVERY_TEAM))


def owned(name: str = "file-1", **fields: Any) -> OwnedObject:
    key = make_key("crew").row
    values = {"kind": "file", "team": key.team, "key": key, "shown": {"filename": "a.txt", "bytes": 12}}
    provider = OwnedObject.objects.order_by("id").first()
    made = provider.provider if provider else make_provider("openai")
    return OwnedObject.objects.create(upstream_id=name, provider=made, **{**values, **fields})


def test_it_is_seen_whose_they_are(reader: Client) -> None:
    owned(shown={"filename": "<script>x", "bytes": 12}, expires=1_900_000_000)
    owned("file-2", shown=["odd"], key=None)
    owned("batch-1", kind="batch", shown={"filename": {"a": 1}})
    response = reader.get(LIST)
    text = response.content.decode()
    assert response.status_code == 200
    for part in ("file-1", "file-2", "batch-1", "crew", "openai", "&lt;script&gt;x", "2030"):
        assert part in text
    assert "<script>x" not in text


@pytest.mark.parametrize("query", ["?q=file-1", "?kind__exact=file", "?team__id__exact={team}"])
def test_they_are_found(reader: Client, query: str) -> None:
    one = owned()
    owned("batch-1", kind="batch", team=Team.objects.create(name="others"))
    found = reader.get(LIST + query.format(team=one.team_id)).context["cl"].result_list
    assert [row.pk for row in found] == [one.pk]


def test_nobody_makes_or_changes_them() -> None:
    row = owned()
    owner = browser(User.objects.create_superuser("owner"))
    assert owner.get(page("routing_ownedobject_add")).status_code == 403
    assert owner.post(page("routing_ownedobject_change", row.pk), {"kind": "batch"}).status_code == 403
    assert OwnedObject.objects.get().kind == "file"


def test_a_team_can_go_when_its_files_are_forgotten(reader: Client) -> None:
    row = owned(key=None)
    act = {"action": "delete_selected", "_selected_action": [row.pk], "post": "yes"}
    reader.post(LIST, act)
    assert OwnedObject.objects.count() == 1
    before = Revision.objects.count()
    browser(User.objects.create_superuser("owner")).post(LIST, act)
    assert OwnedObject.objects.count() == 0
    # No configuration has changed.
    assert Revision.objects.count() == before


def test_who_may_not_see_them_does_not(reader: Client) -> None:
    stranger = browser(make_staff("routing.view_route", name="stranger"))
    assert stranger.get(LIST).status_code == 403
    link = f'href="{LIST}"'
    assert link in reader.get(page("index")).content.decode()
    assert link not in stranger.get(page("index")).content.decode()


def test_they_can_be_taken_away_as_csv(reader: Client) -> None:
    row = owned()
    response = reader.post(LIST, {"action": "export_csv", "_selected_action": [row.pk]})
    assert "file-1,file,openai,crew," in response.content.decode()
