"""Explaining by command, in the admin, and as JSON: by the tables, a revision or a past request."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from accounts.ledger.rows import RequestEntry, UsageDay
from accounts.models import Budget, Limit, Team, TeamMember
from console.apps import Running
from pipeline.live import LiveState
from pipeline.slots import Slots
from providers.apps import vault
from providers.models import CatalogueModel, Credential, Provider
from routing.loader import build_snapshot
from routing.models import OwnedObject
from routing.revisions import publish
from routing.tests.admin_pages import browser, page
from tests.support.rows import Key, make_key, make_provider, make_route, make_staff

pytestmark = pytest.mark.django_db


@pytest.fixture
def key() -> Key:
    """A configuration of two revisions: at the first, m-1 goes to OpenAI; at the second to Anthropic."""
    openai, anthropic = make_provider("openai"), make_provider("anthropic")
    route = make_route("m-*", {"provider": openai, "upstream_model": "gpt-4o"})
    found = make_key()
    publish("olga", "first")
    route.targets.update(provider=anthropic, upstream_model="claude-opus-4-5")
    publish("olga", "second")
    return found


def run(*words: str) -> Any:
    out = io.StringIO()
    call_command("explain", *words, "--json", stdout=out)
    return json.loads(out.getvalue())


def ledger_row(key: Key, revision: int = 1) -> RequestEntry:
    return RequestEntry.objects.create(
        request_id="req_1",
        at=timezone.now(),
        state="settled",
        process="p",
        surface="chat",
        team_id=key.row.team_id,
        team="crew",
        key_id=key.row.pk,
        key=key.row.prefix,
        model="m-1",
        revision=revision,
        provider="openai",
        upstream_model="gpt-4o",
        reserved_input=100,
        reserved_output=50,
        dropped="seed",
    )


# -- the command


def test_as_it_is_now_and_as_it_was(key: Key) -> None:
    now = run("--model", "m-1", "--key", key.row.prefix)
    assert now["outcome"] == "It goes to anthropic/claude-opus-4-5 first."
    assert (now["revision"], now["live"], now["key"]["team"]) == (2, False, "crew")
    assert any("not known here" in note for note in now["notes"])
    was = run("--model", "m-1", "--key", str(key.row.pk), "--revision", "1")
    assert was["outcome"] == "It goes to openai/gpt-4o first."
    assert was["revision"] == 1
    assert run("--model", "m-1")["revision"] == 2, "looking at the past changed nothing"


def test_what_was_so_then_is_said_whatever_a_way_back_would_hold_back(key: Key) -> None:
    """A credential of another address, a key that was revoked, and a team that has files since."""
    openai = Provider.objects.get(name="openai")
    openai.base_url = "https://elsewhere.example/v1"
    openai.save()
    Credential.objects.filter(provider=openai).update(enabled=False)
    key.row.revoked_at = timezone.now()
    key.row.save()
    later = Team.objects.create(name="later")
    OwnedObject.objects.create(kind="file", upstream_id="file-1", provider=openai, team=later)
    publish("olga", "third")
    with CaptureQueriesContext(connection) as asked:
        was = run("--model", "m-1", "--key", str(key.row.pk), "--revision", "1")
    assert was["outcome"] == "It goes to openai/gpt-4o first."
    assert was["key"]["team"] == "crew"
    assert all(one["sql"].startswith("SELECT") for one in asked.captured_queries)
    out = io.StringIO()
    call_command("config", "export", "--revision", "1", stdout=out)
    assert "later" not in out.getvalue()
    assert "crew" in out.getvalue()


def test_a_past_request_by_its_own_revision_or_by_what_is_now(key: Key) -> None:
    ledger_row(key)
    was = run("--request", "req_1")
    assert (was["outcome"], was["revision"]) == ("It goes to openai/gpt-4o first.", 1)
    assert (was["input_tokens"], was["output_tokens"], was["key"]["prefix"]) == (100, 50, key.row.prefix)
    assert any("It went to openai/gpt-4o. Lost in translation: seed." in note for note in was["notes"])
    assert run("--request", "req_1", "--revision", "now")["revision"] == 2


def test_a_body_says_what_would_be_lost(key: Key, tmp_path: Path) -> None:
    file = tmp_path / "body.json"
    file.write_text('{"model": "m-1", "seed": 1, "messages": [{"role": "user", "content": "Hello"}]}')
    said = run("--body", str(file))
    assert said["targets"][0]["dropped"] == ["seed"]
    out = io.StringIO()
    call_command("explain", "--body", str(file), "--key", key.row.prefix, stdout=out)
    assert "It goes to anthropic/claude-opus-4-5 first." in out.getvalue()
    assert "loses seed" in out.getvalue()


def test_what_is_left_is_as_the_ledger_has_it(key: Key) -> None:
    Budget.objects.create(key=key.row, unit="usd", amount=1, period="month")
    Limit.objects.create(key=key.row, kind="requests", amount=5, per="minute")
    CatalogueModel.objects.create(
        kind="anthropic", name="claude-opus-4-5", input_price="5", output_price="25"
    )
    UsageDay.objects.create(
        day=timezone.now().date(),
        team_id=key.row.team_id,
        team="crew",
        key_id=key.row.pk,
        key=key.row.prefix,
        model="m-1",
        cost=999_999_999,
    )
    said = run("--model", "m-1", "--key", key.row.prefix)
    limit, budget = said["limits"]
    assert (limit["left"], limit["fits"]) == (None, None)
    assert (budget["left"], budget["fits"]) == (1, False)
    assert said["outcome"].startswith("Refused")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--model", "m-1", "--key", "gw-nobody"], "has no such key"),
        (["--request", "req_none"], "no request with this id"),
        (["--model", "m-1", "--revision", "77"], "No state is recorded"),
        (["--model", "m-1", "--revision", "x"], "a number, or the word now"),
        (["--model", "m-1", "--surface", "files"], "A surface is one of"),
        ([], "Name a model"),
        (["--body", "/nowhere/at/all"], "cannot be read"),
    ],
)
def test_what_cannot_be_answered_says_why(key: Key, words: list[str], told: str) -> None:
    with pytest.raises(CommandError, match=told):
        run(*words)


def test_a_body_that_is_none_is_no_traceback(key: Key, tmp_path: Path) -> None:
    file = tmp_path / "body.json"
    file.write_text('{"model": 1')
    with pytest.raises(CommandError, match="would be refused with a 400"):
        run("--body", str(file))


def test_a_whole_key_means_its_row_and_is_never_told(key: Key) -> None:
    assert run("--model", "m-1", "--key", str(key))["key"]["prefix"] == key.row.prefix
    key.row.delete()
    with pytest.raises(CommandError) as told:
        run("--model", "m-1", "--key", str(key))
    assert str(key) not in str(told.value)


# -- the page and its JSON


@pytest.fixture
def ops() -> Client:
    return browser(User.objects.create_superuser("ops"))


@pytest.fixture
def live() -> Iterator[LiveState]:
    """As in a process that serves calls."""
    made = LiveState(Slots())
    config: Any = apps.get_app_config("console")
    config.running = Running(lambda: build_snapshot(vault()), made, lambda asks: [3] * len(asks))
    yield made
    config.running = None


def test_the_page_tells_what_the_json_tells(ops: Client, key: Key) -> None:
    asked = {"model": "m-1", "key": key.row.prefix}
    shown = ops.get(reverse("explain"), asked).content.decode()
    told = ops.get(reverse("explain_json"), asked).json()
    assert told["outcome"] == "It goes to anthropic/claude-opus-4-5 first."
    assert told["outcome"] in shown
    assert "Live state is not known here" in shown
    assert told == run("--model", "m-1", "--key", key.row.prefix)


def test_a_body_is_posted_and_not_kept(ops: Client, key: Key) -> None:
    body = '{"seed": 1, "messages": [{"role": "user", "content": "<b>canary</b>"}]}'
    shown = ops.post(reverse("explain"), {"model": "m-1", "body": body}).content.decode()
    assert "<td>seed</td>" in shown
    assert "<b>canary" not in shown
    told = ops.post(reverse("explain_json"), {"model": "m-1", "body": body})
    assert told.json()["targets"][0]["dropped"] == ["seed"]
    assert "canary" not in told.content.decode()
    assert "seed" not in ops.get(reverse("explain_json"), {"model": "m-1", "body": body}).content.decode()


def test_no_page_holds_a_whole_key_and_no_address_may(ops: Client, key: Key) -> None:
    asked = {"model": "m-1", "key": str(key)}
    posted = ops.post(reverse("explain"), asked).content.decode()
    assert "It goes to anthropic/claude-opus-4-5 first." in posted
    assert f'name="key" value="{key.row.prefix}"' in posted
    assert ops.post(reverse("explain_json"), asked).json()["key"]["prefix"] == key.row.prefix
    by_address = ops.get(reverse("explain"), asked).content.decode()
    assert "may not stand in an address" in by_address
    assert "It goes to" not in by_address
    told = ops.get(reverse("explain_json"), asked)
    assert told.status_code == 400
    for text in (posted, by_address, told.content.decode()):
        assert str(key) not in text


def test_live_state_where_calls_are_served(ops: Client, key: Key, live: LiveState) -> None:
    Limit.objects.create(key=key.row, kind="requests", amount=3, per="minute")
    target = build_snapshot(vault()).routes[0].targets[0]
    for _ in range(5):
        ticket = live.start(target)
        assert ticket is not None
        ticket.done("failed")
    told = ops.get(reverse("explain_json"), {"model": "m-1", "key": key.row.prefix}).json()
    assert (told["live"], told["panic"]) == (True, True)
    assert told["targets"][0]["reason"].startswith("its breaker is open for ")
    assert (told["limits"][0]["left"], told["limits"][0]["fits"]) == (0, False)
    # The past has no live state.
    was = ops.get(reverse("explain_json"), {"model": "m-1", "revision": "1"}).json()
    assert not was["live"]


def test_links_lead_there(ops: Client, key: Key) -> None:
    row = ledger_row(key)
    home = ops.get(reverse("admin:index")).content.decode()
    assert reverse("explain") in home
    route = build_snapshot(vault()).routes[0].id
    assert ops.get(page("routing_route_explain", route))["location"].endswith("?model=m-")
    assert "Explain" in ops.get(page("routing_route_change", route)).content.decode()
    link = ops.get(page("accounts_requestentry_explain_route", row.pk))
    assert "It went to openai/gpt-4o." in ops.get(link["location"]).content.decode()
    assert "Explain" in ops.get(page("accounts_requestentry_changelist")).content.decode()


def test_only_staff_who_may_see_routes_keys_and_requests(key: Key) -> None:
    ledger_row(key)
    asked = {"model": "m-1"}
    assert Client().get(reverse("explain"), asked).status_code == 302
    assert Client().get(reverse("explain_json"), asked).status_code == 401
    some = browser(make_staff("routing.view_route"))
    assert some.get(reverse("explain"), asked).status_code == 403
    assert some.get(reverse("explain_json"), asked).status_code == 403
    more = browser(make_staff("routing.view_route", "accounts.view_apikey", name="more"))
    assert more.get(reverse("explain_json"), asked).status_code == 200
    assert more.get(reverse("explain_json"), {"request": "req_1"}).status_code == 403
    assert more.get(reverse("explain_json"), {"model": "m-1", "revision": "x"}).status_code == 400


def test_nobody_sees_the_requests_or_the_use_of_teams_that_are_not_his(key: Key) -> None:
    ledger_row(key)
    Budget.objects.create(key=key.row, unit="usd", amount=7, period="month")
    Budget.objects.create(unit="tokens", amount=9, period="month")
    user = make_staff(
        "routing.view_route", "accounts.view_apikey", "accounts.view_requestentry", "accounts.view_budget"
    )
    ours = {"model": "m-1", "key": key.row.prefix}
    told = browser(user).get(reverse("explain_json"), ours).json()
    assert told["limits"] == []
    assert "Limits or budgets that you may not see are left out." in told["notes"]
    assert browser(user).get(reverse("explain_json"), {"request": "req_1"}).status_code == 400
    TeamMember.objects.create(user=user, team=key.row.team)
    told = browser(user).get(reverse("explain_json"), ours).json()
    assert [each["whose"] for each in told["limits"]] == ["key"]
    assert browser(user).get(reverse("explain_json"), {"request": "req_1"}).status_code == 200
