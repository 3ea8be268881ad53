"""The management API's records, and tokens that may less than their user."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import Group, User
from django.core.cache import cache
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from accounts.audit import AuditEntry
from accounts.ledger.rows import AttemptEntry, RequestEntry, UsageDay
from accounts.models import ApiKey, Team, TeamMember
from accounts.tokens import ManagementToken
from console.apps import ConsoleConfig, Running
from console.tests.test_manage_access import ACTIONS, ask, bearer
from pipeline.cache_stores import Stock
from providers.apps import BreakerNow, ProvidersConfig
from routing.models import Route
from routing.tests.admin_pages import taken
from tests.support.rows import make_key, make_provider, make_route, make_staff

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _fresh_pace() -> None:
    cache.clear()


@pytest.fixture
def root(client: Client) -> dict[str, Any]:
    return bearer(User.objects.create_superuser("root"))


def asked_for(team: Team, name: str, **fields: Any) -> RequestEntry:
    common = {"at": timezone.now(), "team_id": team.pk, "team": team.name, "key_id": 1, "state": "settled"}
    return RequestEntry.objects.create(request_id=name, **{**common, **fields})


def ids(reply: Any) -> list[str]:
    assert reply.status_code == 200, reply.content
    return [each["request_id"] for each in reply.json()]


def test_requests_are_pages_with_filters_and_attempts(client: Client, root: dict[str, Any]) -> None:
    crew, now = Team.objects.create(name="crew"), timezone.now()
    rows = [
        asked_for(crew, f"req_{n}", at=now - timedelta(minutes=n // 2), model=f"m{n % 2}") for n in range(6)
    ]
    AttemptEntry.objects.create(request=rows[0], number=1, state="settled", provider="openai")
    assert ids(ask(client, "GET", "requests?limit=2", root)) == ["req_1", "req_0"]
    assert ids(ask(client, "GET", "requests?limit=3&before=req_0", root)) == ["req_3", "req_2", "req_5"]
    assert ids(ask(client, "GET", "requests?model=m1", root)) == ["req_1", "req_3", "req_5"]
    assert ids(ask(client, "GET", f"requests?team={crew.pk + 1}", root)) == []
    moment = (now - timedelta(seconds=30)).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert ids(ask(client, "GET", f"requests?from={moment}", root)) == ["req_1", "req_0"]
    whole = ask(client, "GET", "requests/req_0", root).json()
    assert [each["provider"] for each in whole["attempts"]] == ["openai"]
    assert ask(client, "GET", "requests/req_9", root).status_code == 404
    for wrong in ("from=x", "until=9999-12-31", "team=x", "limit=x"):
        assert ask(client, "GET", f"requests?{wrong}", root).status_code == 400, wrong
    assert ask(client, "GET", "requests?before=req_9", root).status_code == 404


def test_staff_see_their_teams_alone(client: Client) -> None:
    crew, others = Team.objects.create(name="crew"), Team.objects.create(name="others")
    asked_for(crew, "req_ours")
    asked_for(others, "req_theirs")
    for team in (crew, others):
        UsageDay.objects.create(
            day=timezone.now().date(), team_id=team.pk, team=team.name, key_id=1, requests=1
        )
    staff = make_staff("accounts.view_requestentry", "accounts.view_usageday", name="scoped")
    TeamMember.objects.create(user=staff, team=crew)
    headers = bearer(staff)
    assert ids(ask(client, "GET", "requests", headers)) == ["req_ours"]
    assert ask(client, "GET", "requests/req_theirs", headers).status_code == 404
    head, *rows = taken(ask(client, "GET", "usage.csv", headers))
    assert [row[head.index("team")] for row in rows] == ["crew"]
    assert ask(client, "GET", "usage", headers).json()["total"]["requests"] == 1


def test_the_audit_log_is_pages_too(client: Client, root: dict[str, Any]) -> None:
    AuditEntry.objects.all().delete()
    ask(client, "POST", "teams", {**root, "x-change-reason": "a new crew"}, {"name": "crew"})
    (told,) = ask(client, "GET", "audit?author=root&via=api", root).json()
    assert (told["object"], told["action"], told["reason"]) == ("team crew", "added", "a new crew")
    assert ask(client, "GET", f"audit?before={told['id']}", root).json() == []
    assert ask(client, "GET", "audit?via=admin", root).json() == []


@pytest.fixture
def serving() -> Iterator[ConsoleConfig]:
    """A process that serves calls."""
    console = apps.get_app_config("console")
    assert isinstance(console, ConsoleConfig)
    yield console
    console.running = None


def test_what_is_cached_and_which_breakers_are_open(
    client: Client, root: dict[str, Any], serving: ConsoleConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    crew, provider = Team.objects.create(name="crew"), make_provider()
    assert ask(client, "GET", "cache", root).status_code == 503
    nothing: Any = None
    serving.running = Running(nothing, nothing, nothing, lambda: {crew.pk: Stock(3, 4096), 999: Stock(1, 1)})
    assert ask(client, "GET", "cache", root).json() == [
        {"team_id": crew.pk, "team": "crew", "answers": 3, "bytes": 4096}
    ]
    scoped = make_staff("routing.view_cachepurge", name="scoped")
    assert ask(client, "GET", "cache", bearer(scoped)).json() == []
    app = apps.get_app_config("providers")
    assert isinstance(app, ProvidersConfig)
    monkeypatch.setattr(app, "breakers", lambda name: [BreakerNow("gpt-4o", "open", 12.5)])
    (told,) = ask(client, "GET", "breakers", root).json()
    assert (told["provider"], told["mode"], told["state"], told["seconds"]) == (
        "openai",
        "auto",
        "open",
        12.5,
    )
    assert ask(client, "GET", f"providers/{provider.pk}", root).json()["breakers"][0]["state"] == "open"


def test_one_object_of_a_revision_is_taken_back(client: Client, root: dict[str, Any]) -> None:
    route = make_route("a", make_provider())
    ask(client, "POST", "teams", root, {"name": "first"})
    match = {**root, "if-match": "*"}
    document = {"teams": [{"name": "one"}, {"name": "two"}]}
    number = ask(client, "POST", "config", match, document).json()["revision"]
    objects = ask(client, "GET", f"revisions/{number}", root).json()["objects"]
    one = next(each["object"] for each in objects if each["name"] == "team one")
    stale = {**root, "if-match": '"r1"'}
    assert ask(client, "POST", f"revisions/{number}/undo", stale, {"objects": [one]}).status_code == 412
    assert ask(client, "POST", f"revisions/{number}/undo", root, {"objects": [one]}).status_code == 200
    assert sorted(Team.objects.values_list("name", flat=True)) == ["first", "two"]
    for wrong in ([], ["nonsense:1"], ["team:x"], "team:1"):
        assert ask(client, "POST", f"revisions/{number}/undo", root, {"objects": wrong}).status_code == 400
    assert Route.objects.get() == route


def test_a_key_is_changed_as_in_the_admin(client: Client, root: dict[str, Any]) -> None:
    row = make_key().row
    address = f"keys/{row.pk}"
    tag = ask(client, "GET", address, root)["etag"]
    headers = {**root, "if-match": tag}
    changed = ask(client, "PATCH", address, headers, {"models": ["gpt-*"], "label": "ci"})
    assert changed.status_code == 200, changed.content
    assert (changed.json()["models"], changed.json()["label"]) == (["gpt-*"], "ci")
    assert ask(client, "PATCH", address, headers, {"label": "x"}).status_code == 412
    past = {"expires_at": "2001-01-01T00:00:00Z"}
    assert ask(client, "PATCH", address, {**root, "if-match": "*"}, past).status_code == 400


def test_a_token_may_less_than_its_user(client: Client) -> None:
    boss = User.objects.create_superuser("boss")
    crew, others = Team.objects.create(name="crew"), Team.objects.create(name="others")
    narrow = bearer(boss, role=Group.objects.get(name="viewer"))
    assert ask(client, "GET", "config", narrow).status_code == 200
    assert ask(client, "POST", "config", narrow).status_code == 403
    assert ask(client, "POST", "keys", narrow, {"team": "crew"}).status_code == 403
    assert ask(client, "GET", "audit", narrow).status_code == 403
    # A role gives nobody what he may not himself.
    plain = bearer(make_staff("accounts.view_team", name="plain"), role=Group.objects.get(name="owner"))
    assert ask(client, "GET", "teams", plain).status_code == 200
    assert ask(client, "GET", "keys", plain).status_code == 403

    asked_for(crew, "req_ours")
    asked_for(others, "req_theirs")
    theirs = ApiKey.objects.create(team=others, prefix="gw-theirs", digest="f" * 64)
    scoped = bearer(boss, team=crew)
    assert ids(ask(client, "GET", "requests", scoped)) == ["req_ours"]
    issued = ask(client, "POST", "keys", scoped, {"team": "crew"})
    assert issued.status_code == 201
    assert ask(client, "POST", "keys", scoped, {"team": "others"}).status_code == 400
    assert [each["id"] for each in ask(client, "GET", "keys", scoped).json()] == [issued.json()["id"]]
    assert ask(client, "POST", f"keys/{theirs.pk}/revoke", scoped).status_code == 404
    allowed = {
        (method, address)
        for method, address in ACTIONS
        if ask(client, method, address, {**scoped, "if-match": "*"}).status_code != 403
    }
    cut = ("keys", "requests", "usage", "openapi", "captures")
    forgets = ("POST", "teams/<int:number>/forget-captures")
    assert allowed == {each for each in ACTIONS if each[1].startswith(cut)} | {forgets}
    # Nor does a token for a team show what its user may not see.
    member = make_staff("accounts.view_requestentry", name="member")
    TeamMember.objects.create(user=member, team=others)
    assert ids(ask(client, "GET", "requests", bearer(member, team=crew))) == []


def test_a_narrow_token_is_made_by_command_and_goes_with_its_role(client: Client) -> None:
    User.objects.create_superuser("root")
    Team.objects.create(name="crew")
    out = io.StringIO()
    call_command(
        "tokens",
        "issue",
        "--user",
        "root",
        "--role",
        "viewer",
        "--team",
        "crew",
        stdout=out,
        stderr=io.StringIO(),
    )
    headers = {"authorization": f"Bearer {out.getvalue().strip()}"}
    assert ask(client, "GET", "keys", headers).status_code == 200
    assert ask(client, "POST", "keys", headers, {"team": "crew"}).status_code == 403
    Group.objects.get(name="viewer").delete()
    assert not ManagementToken.objects.exists()
    assert ask(client, "GET", "keys", headers).status_code == 401
