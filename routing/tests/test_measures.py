"""Measures of an incident: what they do to calls and to edits, that they end by themselves, and who is
told."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from accounts.audit import AuditEntry
from accounts.models import ApiKey, Team
from providers.apps import vault
from providers.models import Provider
from routing.freeze import FrozenError, refuse_while_frozen
from routing.loader import build_snapshot
from routing.measures import begin, end, end_overdue, standing
from routing.models import CachePurge, Measure, Route
from routing.plan import unusable
from routing.rehearsal import rehearsed
from routing.revisions import latest, publish
from routing.source import TableSource
from routing.tests.admin_pages import browser, errors_of, form_of, page
from tests.support.rows import make_key, make_provider, make_route

pytestmark = pytest.mark.django_db


def freeze(minutes: int = 30) -> Measure:
    return begin(Measure(kind="freeze", reason="an incident"), minutes, "ann")


def overdue(measure: Measure) -> None:
    past = timezone.now() - timedelta(seconds=1)
    Measure.objects.filter(pk=measure.pk).update(started=past - timedelta(hours=1), until=past)


def test_a_drain_keeps_new_calls_away_until_it_ends() -> None:
    provider = make_provider()
    make_route("gpt-*", provider)
    measure = begin(Measure(kind="drain", provider=provider, reason="odd answers"), 30, "ann")
    snapshot = build_snapshot(vault())
    words = unusable(snapshot.routes[0].targets[0])
    assert words == f"the provider openai is drained until {measure.until:%Y-%m-%d %H:%M} UTC"
    assert "odd" not in words, "clients read it"
    assert snapshot.ends == measure.until.timestamp()
    assert end(measure, "bob") == latest()
    assert end(measure, "bob") is None
    assert unusable(build_snapshot(vault()).routes[0].targets[0]) is None
    measure.refresh_from_db()
    assert measure.ended_by == "bob"
    told = AuditEntry.objects.filter(object="drain of openai").values_list("author", "action")
    assert sorted(told) == [("ann", "begun"), ("bob", "ended")]


def test_low_priority_is_shed_and_no_other() -> None:
    measure = begin(Measure(kind="shed", reason="too much"), 30, "ann")
    snapshot = build_snapshot(vault())
    assert [snapshot.sheds(priority) for priority in ("high", "normal", "low")] == [False, False, True]
    overdue(measure)
    assert not build_snapshot(vault()).sheds("low")


def test_the_clock_ends_it_on_the_watchers_next_look(tmp_path: Path) -> None:
    source = TableSource(tmp_path / "last-good", vault())
    measure = freeze()
    overdue(measure)
    assert source.load().ends is not None
    before = latest()
    assert source.latest() == before + 1
    assert source.load().ends is None
    assert source.latest() == before + 1
    measure.refresh_from_db()
    assert measure.ended_by == "the clock"
    end_overdue()
    assert latest() == before + 1, "the first one did it"


def test_the_kept_file_drops_what_is_over(tmp_path: Path) -> None:
    provider = make_provider()
    make_route("gpt-*", provider)
    measure = begin(Measure(kind="drain", provider=provider, reason="odd"), 30, "ann")
    source = TableSource(tmp_path / "last-good", vault())
    source.load()
    recalled = source.recall()
    assert recalled is not None
    assert recalled.providers["openai"].drained
    overdue(measure)
    source.load()
    recalled = source.recall()
    assert recalled is not None
    assert not recalled.providers["openai"].drained


def test_the_same_again_takes_the_others_place() -> None:
    provider = make_provider()
    first = begin(Measure(kind="drain", provider=provider, reason="odd"), 30, "ann")
    second = begin(Measure(kind="drain", provider=provider, reason="still"), 60, "bob")
    other = begin(Measure(kind="shed", reason="too much"), 30, "bob")
    assert set(standing()) == {second, other}
    first.refresh_from_db()
    assert first.ended_by == "bob"


@pytest.mark.parametrize(
    ("kind", "of_one", "reason"),
    [
        ("drain", False, "x"),
        ("shed", True, "x"),
        ("freeze", True, "x"),
        ("panic", False, "x"),
        ("shed", False, ""),
    ],
)
def test_what_makes_no_sense_is_not_begun(kind: str, of_one: bool, reason: str) -> None:
    provider = make_provider() if of_one else None
    with pytest.raises(ValidationError):
        begin(Measure(kind=kind, provider=provider, reason=reason), 30, "ann")
    assert not Measure.objects.exists()


def test_a_provider_that_goes_takes_its_drain_with_it() -> None:
    provider = make_provider()
    begin(Measure(kind="drain", provider=provider, reason="odd"), 30, "ann")
    operator = browser(User.objects.create_superuser("root"))
    assert operator.post(page("providers_provider_delete", provider.pk), {"post": "yes"}).status_code == 302
    assert not Measure.objects.exists()


@pytest.fixture
def operator() -> Client:
    return browser(User.objects.create_superuser("root"))


def test_a_frozen_page_says_so_and_keeps_what_was_typed(operator: Client) -> None:
    route = make_route("gpt-*", make_provider())
    url = page("routing_route_change", route.pk)
    form = form_of(operator, url) | {"priority": "7"}
    measure = freeze()
    reply = operator.post(url, form)
    assert "Edits are frozen until" in errors_of(reply)
    assert reply.context["adminform"].form["priority"].value() == "7"
    end(measure, "ann")
    assert operator.post(url, form).status_code == 302
    route.refresh_from_db()
    assert route.priority == 7


@pytest.mark.parametrize("way", ["delete", "disable", "undo", "apply"])
def test_no_other_way_around_a_freeze(operator: Client, way: str, tmp_path: Path) -> None:
    provider = make_provider()
    route = make_route("gpt-*", provider)
    publish("ann", "the beginning")
    Route.objects.filter(pk=route.pk).update(priority=3)
    number = publish("ann", "a change")
    freeze()
    before = latest()
    if way == "undo":
        reply = operator.post(f"/admin/routing/revision/{number}/undo/", follow=True)
        assert "Edits are frozen until" in reply.content.decode()
        assert "priority" in operator.get(f"/admin/routing/revision/{number}/undo/").content.decode()
    elif way == "apply":
        path = tmp_path / "file.yaml"
        path.write_text("routes:\n  - pattern: o1\n    targets: [{provider: openai}]\n")
        call_command("config", "apply", str(path), "--dry-run")
        with pytest.raises(CommandError, match="Edits are frozen until"):
            call_command("config", "apply", str(path))
    elif way == "delete":
        reply = operator.post(page("routing_route_delete", route.pk), {"post": "yes"}, follow=True)
        assert "Edits are frozen until" in reply.content.decode()
        assert "was deleted" not in reply.content.decode()
    else:
        chosen = {"action": "disable", "_selected_action": [route.pk]}
        reply = operator.post(page("routing_route_changelist"), chosen, follow=True)
        assert "Edits are frozen until" in reply.content.decode()
        assert "1 changed." not in reply.content.decode()
    route.refresh_from_db()
    assert (latest(), route.enabled, route.priority) == (before, True, 3)
    assert Route.objects.count() == 1


def test_a_freeze_lets_keys_and_purges_through(operator: Client) -> None:
    key = make_key()
    route = make_route("gpt-*", make_provider())
    freeze()
    chosen = {"action": "revoke_chosen", "_selected_action": [key.row.pk]}
    assert operator.post(page("accounts_apikey_changelist"), chosen).status_code == 302
    key.row.refresh_from_db()
    assert key.row.state == "revoked"
    call_command("keys", "issue", "--team", "crew")
    assert ApiKey.objects.filter(team=Team.objects.get(name="crew")).exists()
    chosen = {"action": "purge_cache", "_selected_action": [route.pk]}
    assert operator.post(page("routing_route_changelist"), chosen).status_code == 302
    assert CachePurge.objects.count() == 1


def test_what_is_only_tried_is_not_held_up() -> None:
    make_provider()
    freeze()
    with pytest.raises(FrozenError):
        publish("ann", "an edit")
    with rehearsed() as rehearsal:
        Provider.objects.update(enabled=False)
        publish("ann", "an edit")
    assert not rehearsal.after.providers["openai"].enabled
    with pytest.raises(FrozenError):
        refuse_while_frozen()
