"""What the management API does: the configuration, revisions, keys, and what is seen."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import orjson
import pytest
from django.contrib.auth.models import User
from django.core.cache import cache
from django.test import Client
from django.utils import timezone

from accounts.apps import hasher
from accounts.ledger.rows import RequestEntry
from accounts.models import ApiKey, Limit, Team, TeamMember
from console.tests.test_manage_access import ACTIONS, ask, bearer
from providers.models import Credential, Provider
from routing.models import CachePurge, Revision, Route
from tests.support.rows import make_provider, make_route, make_staff

pytestmark = pytest.mark.django_db
DOCUMENT = {
    "providers": {
        "mine": {
            "kind": "openai_compatible",
            "base_url": "http://10.0.0.5:8000/v1",
            "api_key": "sk-canary-0123456789",
        }
    },
    "routes": [{"pattern": "fast", "targets": [{"provider": "mine", "model": "big"}]}],
    "teams": [{"name": "crew"}],
}


@pytest.fixture(autouse=True)
def _fresh_pace() -> None:
    cache.clear()


@pytest.fixture
def root(client: Client) -> dict[str, Any]:
    return bearer(User.objects.create_superuser("root"))


def apply(
    client: Client, root: dict[str, Any], document: Any, match: str | None = "*", **headers: str
) -> Any:
    more = {} if match is None else {"if-match": match}
    return ask(client, "POST", "config", {**root, **more, **headers}, document)


def test_a_document_is_planned_applied_read_and_taken_back(client: Client, root: dict[str, Any]) -> None:
    # What was before the first revision is known to nobody.
    apply(client, root, {"teams": [{"name": "first"}]})
    plan = ask(client, "POST", "config/plan", root, DOCUMENT).json()
    assert any("mine" in line for line in plan["changes"])
    assert plan["revision"] is None
    assert plan["impact"]
    assert not Provider.objects.filter(name="mine").exists()

    before = ask(client, "GET", "config", root)["etag"]
    done = apply(client, root, DOCUMENT, before, **{"x-change-reason": "a faster one"})
    assert done.status_code == 200
    assert done.json()["changes"] == plan["changes"]
    number = done.json()["revision"]
    assert done["etag"] == f'"r{number}"'
    row = Revision.objects.get(number=number)
    assert (row.author, row.reason) == ("root", "a faster one")
    assert apply(client, root, DOCUMENT).json() == {"changes": [], "notes": [], "revision": None}

    read = ask(client, "GET", "config", root)
    assert read.json()["routes"][0]["pattern"] == "fast"
    assert "canary" not in read.content.decode() + orjson.dumps(row.summary).decode()
    assert Credential.objects.get().last4

    revisions = ask(client, "GET", "revisions", root).json()
    assert revisions[0]["number"] == number
    whole = ask(client, "GET", f"revisions/{number}", root).json()
    changed = {each["name"]: each["changes"] for each in whole.pop("objects")}
    assert whole == revisions[0]
    assert changed["route fast"]["pattern"] == [None, "fast"]
    looked = client.post(
        f"/manage/v1/revisions/{number}/undo?dry_run=true", {}, content_type="application/json", headers=root
    )
    assert looked.json()["changes"]
    assert Route.objects.filter(pattern="fast").exists()
    # Its team is kept by nobody, and goes too.
    assert ask(client, "POST", f"revisions/{number}/undo", root).status_code == 200
    assert not Route.objects.filter(pattern="fast").exists()
    assert not Team.objects.filter(name="crew").exists()


def test_a_change_that_somebody_else_made_is_not_written_over(client: Client, root: dict[str, Any]) -> None:
    tag = ask(client, "GET", "config", root)["etag"]
    assert apply(client, root, DOCUMENT, None).status_code == 428
    assert apply(client, root, {"teams": [{"name": "other"}]}, tag).status_code == 200
    refused = apply(client, root, DOCUMENT, tag)
    assert refused.status_code == 412
    assert not Provider.objects.filter(name="mine").exists()


@pytest.mark.parametrize(
    "document",
    [
        [],
        {"routes": [{"pattern": "x", "targets": [{"provider": "nobody"}]}]},
        {"nonsense": 1},
        {"providers": {"mine": {"kind": "openai", "api_key": "env:HOME"}}},
        {"teams": [{"name": "a\0b"}]},
    ],
)
def test_a_document_that_cannot_be_says_why(client: Client, root: dict[str, Any], document: Any) -> None:
    before = Revision.objects.count()
    for address in ("config", "config/plan"):
        reply = ask(client, "POST", address, {**root, "if-match": "*"}, document)
        assert reply.status_code == 400, document
        said = reply.json()
        assert said["title"] == "Bad request"
        assert not document or said["errors"]
    assert Revision.objects.count() == before


def test_a_key_is_issued_once_rotated_and_revoked(client: Client, root: dict[str, Any]) -> None:
    team = Team.objects.create(name="crew")
    wish = {"team": "crew", "label": "ci", "models": ["gpt-*"], "priority": "low"}
    issued = ask(client, "POST", "keys", root, wish)
    assert issued.status_code == 201
    key = issued.json()["key"]
    row = ApiKey.objects.get(pk=issued.json()["id"])
    assert row.digest == hasher().digest(key).hex()
    assert (row.team, row.label, row.allowed_models, row.priority) == (team, "ci", ["gpt-*"], "low")
    Limit.objects.create(key=row, kind="requests", amount=10, per="minute")

    listed = ask(client, "GET", "keys", root)
    assert [each["prefix"] for each in listed.json()] == [row.prefix]
    assert key not in listed.content.decode()

    rotated = ask(client, "POST", f"keys/{row.pk}/rotate", root, {"overlap_hours": 2})
    assert rotated.status_code == 201
    successor = ApiKey.objects.get(pk=rotated.json()["id"])
    assert successor.digest == hasher().digest(rotated.json()["key"]).hex()
    assert (successor.allowed_models, successor.priority, successor.label) == (["gpt-*"], "low", "ci")
    assert [(limit.kind, limit.amount) for limit in successor.limits.all()] == [("requests", 10)]
    assert row.limits.count() == 1
    row.refresh_from_db()
    assert row.expires_at is not None
    assert 7100 < (row.expires_at - timezone.now()).total_seconds() <= 7200
    assert row.state == "active"

    revoked = ask(client, "POST", f"keys/{row.pk}/revoke", root)
    assert revoked.json()["state"] == "revoked"
    published = Revision.objects.count()
    assert ask(client, "POST", f"keys/{row.pk}/revoke", root).status_code == 200
    assert Revision.objects.count() == published
    assert ask(client, "POST", f"keys/{row.pk}/rotate", root).status_code == 409


@pytest.mark.parametrize(
    "wish",
    [
        {},
        {"team": "nobody"},
        {"team": "crew", "expires_at": "2001-01-01T00:00:00Z"},
        {"team": "crew", "models": ["a b"]},
        {"team": "crew", "models": "gpt-*"},
        {"team": "crew", "priority": "highest"},
        {"team": "crew", "label": "x" * 101},
        {"team": {"name": "crew"}},
    ],
)
def test_a_key_that_cannot_be(client: Client, root: dict[str, Any], wish: Any) -> None:
    Team.objects.create(name="crew")
    reply = ask(client, "POST", "keys", root, wish)
    assert reply.status_code == 400, reply.content
    assert reply["content-type"] == "application/problem+json"
    assert not ApiKey.objects.exists()


def test_the_last_use_of_a_key_is_for_who_may_see_its_team(client: Client, root: dict[str, Any]) -> None:
    crew, others = Team.objects.create(name="crew"), Team.objects.create(name="others")
    old = timezone.now() - timedelta(days=30)
    rows = [
        ApiKey.objects.create(team=team, prefix=f"gw-{team}", digest=f"{n}" * 64, created=old)
        for n, team in enumerate((crew, crew, others))
    ]
    now = timezone.now()
    RequestEntry.objects.create(
        request_id="req_1", at=now, team_id=crew.pk, key_id=rows[0].pk, state="settled"
    )
    used, idle, _ = (ask(client, "GET", f"keys/{row.pk}", root).json() for row in rows)
    assert (used["requests_7d"], used["safe_to_revoke"]) == (1, False)
    assert used["last_used"]
    assert (idle["requests_7d"], idle["last_used"], idle["safe_to_revoke"]) == (0, None, True)
    staff = make_staff("accounts.view_apikey", "accounts.view_requestentry", name="scoped")
    TeamMember.objects.create(user=staff, team=crew)
    headers = bearer(staff)
    assert "last_used" in ask(client, "GET", f"keys/{rows[0].pk}", headers).json()
    assert "last_used" not in ask(client, "GET", f"keys/{rows[2].pk}", headers).json()


def test_findings_come_by_the_page_with_their_kinds(client: Client, root: dict[str, Any]) -> None:
    provider = make_provider("openai", secret=None)
    for number in range(7):
        make_route(f"m-{number}", provider)
    page = ask(client, "GET", "lint?limit=3", root).json()
    assert [(each["check"], each["count"]) for each in page["kinds"]] == [
        ("nobody-answers", 7),
        ("no-credential", 1),
    ]
    assert (page["total"], page["next"], len(page["findings"])) == (8, 3, 3)
    assert page["findings"][0]["others"] == [{"table": "provider", "id": provider.pk, "name": "openai"}]
    assert page["findings"][0]["others_in_all"] == 1
    last = ask(client, "GET", "lint?check=nobody-answers&severity=error&skip=6", root).json()
    assert (last["total"], last["next"], len(last["findings"])) == (7, None, 1)
    assert ask(client, "GET", "lint?severity=bad", root).status_code == 400
    assert ask(client, "GET", "lint?skip=x", root).status_code == 400


def test_findings_explanations_usage_and_purges(client: Client, root: dict[str, Any]) -> None:
    provider = make_provider("openai")
    route = make_route("gpt-*", provider)
    Team.objects.create(name="crew")
    assert ask(client, "GET", "lint", root).json()["next"] is None
    said = ask(client, "POST", "explain", root, {"model": "gpt-4o"}).json()
    assert said["targets"][0]["provider"] == "openai"
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}]}
    assert ask(client, "POST", "explain", root, {"body": body}).json()["targets"]
    assert ask(client, "POST", "explain", root, {"key": "nobody's", "model": "gpt-4o"}).status_code == 400
    used = ask(client, "GET", "usage", root).json()
    assert (used["total"]["requests"], len(used["days"])) == (0, 31)
    purged = ask(client, "POST", "cache/purge", root, {"team": "crew", "route": route.name})
    assert purged.status_code == 201
    assert (CachePurge.objects.get().route, CachePurge.objects.get().author) == (route, "root")
    assert ask(client, "POST", "cache/purge", root, {"team": "nobody"}).status_code == 400


def test_what_is_not_there_and_what_is_no_json(client: Client, root: dict[str, Any]) -> None:
    for address in ("keys/999999", "revisions/999999", "config?revision=999999"):
        assert ask(client, "GET", address, root).status_code == 404, address
    for address in ("config?revision=x", "revisions?limit=-1", "keys?after=%00"):
        assert ask(client, "GET", address, root).status_code == 400, address
    reply = client.post("/manage/v1/keys", b"{", content_type="application/json", headers=root)
    assert reply.status_code == 400
    assert client.delete("/manage/v1/keys", headers=root).status_code == 405
    assert client.post("/manage/v1/keys", b"x", content_type="text/plain", headers=root).status_code == 415


def test_the_document_says_all_of_it(client: Client, root: dict[str, Any]) -> None:
    said = ask(client, "GET", "openapi.json", root).json()
    assert said["openapi"].startswith("3.")
    assert set(said["paths"]) == {
        f"/manage/v1/{each}".replace("<int:number>", "{number}").replace("<str:request_id>", "{request_id}")
        for _, each in ACTIONS
        if each != "openapi.json"
    }
    names = [operation["operationId"] for path in said["paths"].values() for operation in path.values()]
    assert len(names) == len(set(names))
    kept = {
        (method, path.removeprefix("/manage/v1/"))
        for path, operations in said["paths"].items()
        for method, operation in operations.items()
        if "202" in operation["responses"]
    }
    assert {("patch", "routes/{number}"), ("post", "config"), ("post", "drafts/{number}/publish")} < kept
    assert not kept & {("get", "config"), ("post", "config/plan"), ("post", "keys/{number}/revoke")}
    assert said["components"]["securitySchemes"]["token"]["scheme"] == "bearer"


def test_the_page_asks_nobody_else(client: Client) -> None:
    client.force_login(User.objects.create_superuser("root"))
    page = client.get("/manage/v1/docs").content.decode()
    script = client.get("/manage/v1/docs?script=").content.decode()
    assert "swagger-ui" in page
    for text in (page, script):
        assert "http://" not in text.replace("http://testserver", "")
        assert "https://" not in text
    assert "/manage/v1/openapi.json" in script
    client.logout()
    assert client.get("/manage/v1/docs").status_code == 302
