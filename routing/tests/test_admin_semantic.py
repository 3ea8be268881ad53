"""The page of hits: what each may see of it, and purging what should not have been given."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from django.test import Client

from accounts.rights import EVERY_TEAM
from routing.models import CachePurge, Revision
from routing.models_semantic import SemanticEvent
from routing.tests.admin_pages import browser, page
from tests.support.rows import make_key, make_provider, make_route, make_staff

pytestmark = pytest.mark.django_db

LIST = page("routing_semanticevent_changelist")
VIEW = "routing.view_semanticevent"
READ = "routing.view_semantic_prompts"
PURGE = "routing.add_cachepurge"
ENTRY = "ab" * 32
OTHER = "ef" * 32


def event(kind: str = "hit", **fields: Any) -> SemanticEvent:
    values: dict[str, Any] = {
        "at": datetime.now(UTC),
        "request_id": "req_1",
        "team": make_key().row.team_id,
        "route": 99,
        "model": "gpt-4o",
        "embedder": "local",
        "entry": ENTRY,
        "question": "cd" * 32,
        "similarity": 0.93,
        "threshold": 0.85,
    }
    return SemanticEvent.objects.create(kind=kind, **{**values, **fields})


def shown(client: Client, query: str = "") -> str:
    response = client.get(LIST + query)
    assert response.status_code == 200
    return response.content.decode()


def test_hits_are_listed_with_names_and_likeness() -> None:
    route = make_route("gpt-*", make_provider("openai"))
    event(route=route.pk)
    event("shadow", entry=OTHER, similarity=0.88)
    event("kept", prompt="Who wrote Hamlet?")
    text = shown(browser(make_staff(EVERY_TEAM, VIEW)))
    assert "0.930 of 0.850" in text
    assert "0.880 of 0.850" in text
    assert "crew" in text
    assert "route 99, which is gone" in text
    assert "Given most often" in text


def test_questions_are_for_those_who_may_read_them() -> None:
    event("kept", prompt="Who wrote Hamlet?")
    event(prompt="Who was it that wrote Hamlet? <script>alert(1)</script>")
    some = shown(browser(make_staff(EVERY_TEAM, VIEW)))
    assert "Hamlet" not in some
    all_of_it = shown(browser(make_staff(EVERY_TEAM, VIEW, READ, name="reader")))
    assert "Who wrote Hamlet?" in all_of_it
    assert "Who was it that wrote Hamlet?" in all_of_it
    assert "<script>alert(1)" not in all_of_it


def test_nobody_finds_out_by_filters_what_he_may_not_read() -> None:
    event(prompt="Who wrote Hamlet?")
    client = browser(make_staff(EVERY_TEAM, VIEW))
    for query in ("?prompt__contains=Hamlet", "?prompt__startswith=W", "?answered=x"):
        assert client.get(LIST + query).status_code in (302, 400)
    assert event is not None
    found = client.get(LIST + "?q=Hamlet").context["cl"].result_list
    assert list(found) == []


def test_a_question_that_is_not_written_down_says_so() -> None:
    event()
    text = shown(browser(make_staff(EVERY_TEAM, VIEW, READ)))
    assert text.count("not written down") == 2


def test_teams_and_routes_can_be_filtered_by() -> None:
    first = event()
    second = event(team=make_key("others").row.team_id)
    client = browser(make_staff(EVERY_TEAM, VIEW))
    for one in (first, second):
        found = client.get(f"{LIST}?team={one.team}").context["cl"].result_list
        assert [row.pk for row in found] == [one.pk]
    assert client.get(f"{LIST}?team=x").status_code == 200


def test_answers_are_purged_by_their_entries_and_that_is_a_revision() -> None:
    rows = [event(), event(), event(entry=OTHER)]
    client = browser(make_staff(EVERY_TEAM, VIEW, PURGE))
    chosen = {"action": "purge_answers", "_selected_action": [row.pk for row in rows]}
    assert client.post(LIST, chosen).status_code == 302
    assert sorted(CachePurge.objects.values_list("key", flat=True)) == [ENTRY, OTHER]
    newest = Revision.objects.first()
    assert newest is not None
    assert len(newest.summary) == 2


def test_who_may_not_purge_has_no_such_action() -> None:
    row = event()
    client = browser(make_staff(EVERY_TEAM, VIEW))
    client.post(LIST, {"action": "purge_answers", "_selected_action": [row.pk]})
    assert not CachePurge.objects.exists()


def test_the_csv_has_no_questions() -> None:
    row = event(prompt="Who wrote Hamlet?")
    client = browser(make_staff(EVERY_TEAM, VIEW, READ))
    response = client.post(LIST, {"action": "export_csv", "_selected_action": [row.pk]})
    assert ENTRY in response.content.decode()
    assert "Hamlet" not in response.content.decode()


def test_who_may_not_see_the_page_does_not() -> None:
    event()
    assert browser(make_staff()).get(LIST).status_code == 403
