"""Who may do what at the management API: tokens, sessions, roles, and everything that is not one of these."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.core.cache import cache
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from accounts.apps import hasher
from accounts.audit import AuditEntry
from accounts.tokens import ManagementToken, new_token
from console.manage.urls import urlpatterns
from console.roles import ROLES
from tests.support.rows import make_staff

pytestmark = pytest.mark.django_db
BASE = "/manage/v1/"
ANY, NONE = frozenset(ROLES), frozenset[str]()
KEYS, OPERATING = frozenset({"key manager", "owner"}), frozenset({"operator", "owner"})
ALLOWING = frozenset({"operator", "key manager", "owner"})


def table(name: str, *verbs: frozenset[str]) -> dict[tuple[str, str], frozenset[str]]:
    """The addresses of a table, and which roles may view, add, change and delete."""
    view, add, change, delete = verbs
    one = f"{name}/<int:number>"
    return {
        ("GET", name): view,
        ("POST", name): add,
        ("GET", one): view,
        ("PATCH", one): change,
        ("DELETE", one): delete,
    }


# What each address takes, and which roles may; a superuser may all of it.
ACTIONS: dict[tuple[str, str], frozenset[str]] = {
    ("GET", "config"): ANY,
    ("POST", "config"): NONE,
    ("POST", "config/plan"): NONE,
    ("GET", "revisions"): ANY,
    ("GET", "revisions/<int:number>"): ANY,
    ("POST", "revisions/<int:number>/undo"): OPERATING,
    ("POST", "revisions/<int:number>/restore"): OPERATING,
    **table("providers", ANY, OPERATING, OPERATING, OPERATING),
    ("POST", "providers/<int:number>/test"): OPERATING,
    ("POST", "rehearse"): ANY,
    **table("routes", ANY, OPERATING, OPERATING, OPERATING),
    **table("prices", ANY, OPERATING, OPERATING, OPERATING),
    **table("teams", ANY, KEYS, KEYS, frozenset({"owner"})),
    **table("limits", ANY, ALLOWING, ALLOWING, ALLOWING),
    **table("budgets", ANY, ALLOWING, ALLOWING, ALLOWING),
    ("GET", "keys"): ANY,
    ("POST", "keys"): KEYS,
    ("GET", "keys/<int:number>"): ANY,
    ("PATCH", "keys/<int:number>"): KEYS,
    ("POST", "keys/<int:number>/revoke"): KEYS,
    ("POST", "keys/<int:number>/rotate"): KEYS,
    ("GET", "lint"): ANY,
    ("POST", "explain"): ANY,
    ("GET", "usage"): ANY,
    ("GET", "usage.csv"): ANY,
    ("GET", "requests"): ANY,
    ("GET", "requests/<str:request_id>"): ANY,
    ("GET", "audit"): frozenset({"owner"}),
    ("GET", "breakers"): ANY,
    ("GET", "drafts"): ANY,
    ("GET", "drafts/<int:number>"): ANY,
    ("POST", "drafts/<int:number>/publish"): OPERATING,
    ("POST", "drafts/<int:number>/decide"): OPERATING,
    ("POST", "drafts/<int:number>/drop"): OPERATING,
    ("POST", "drafts/<int:number>/approve"): frozenset({"owner"}),
    ("POST", "drafts/<int:number>/reject"): frozenset({"owner"}),
    ("POST", "drafts/<int:number>/withdraw"): ANY,
    ("GET", "captures/<str:request_id>"): frozenset({"owner"}),
    ("DELETE", "captures/<str:request_id>"): KEYS,
    ("POST", "teams/<int:number>/forget-captures"): KEYS,
    ("GET", "measures"): ANY,
    ("POST", "measures"): OPERATING,
    ("POST", "measures/<int:number>/end"): OPERATING,
    ("GET", "cache"): ANY,
    ("POST", "cache/purge"): OPERATING,
    ("GET", "openapi.json"): ANY,
}


@pytest.fixture(autouse=True)
def _fresh_pace() -> None:
    cache.clear()


def bearer(user: User, **fields: Any) -> dict[str, Any]:
    """Headers with a new token of this user."""
    _, token = new_token(user, hasher(), **fields)
    return {"authorization": f"Bearer {token}"}


def member(role: str) -> User:
    user = make_staff(name=role)
    user.groups.add(Group.objects.get(name=role))
    return user


def ask(
    client: Client, method: str, address: str, headers: dict[str, Any] | None = None, body: Any = None
) -> Any:
    """The reply of the management API."""
    url = BASE + address.replace("<int:number>", "999999").replace("<str:request_id>", "req_0")
    if method == "GET":
        return client.get(url, headers=headers)
    send = getattr(client, method.lower())
    return send(url, {} if body is None else body, content_type="application/json", headers=headers)


def test_every_address_is_in_the_table() -> None:
    offered = {
        (verb.upper(), str(each.pattern))
        for each in urlpatterns
        for verb in ("get", "post", "put", "patch", "delete")
        if hasattr(getattr(each.callback, "cls", None), verb) and str(each.pattern) != "docs"
    }
    assert offered == set(ACTIONS)


@pytest.mark.parametrize("role", [*ROLES, "nobody", "superuser"])
def test_a_role_may_what_the_table_says(client: Client, role: str) -> None:
    if role == "superuser":
        user = User.objects.create_superuser("root")
    else:
        user = make_staff(name=role) if role == "nobody" else member(role)
    headers = bearer(user)
    for (method, address), roles in ACTIONS.items():
        may = role == "superuser" or role in roles or address == "openapi.json"
        status = ask(client, method, address, headers).status_code
        assert (status != 403) is may, (role, method, address, status)
        assert status in ((200, 201, 400, 404, 428, 503) if may else (403,)), (role, method, address, status)


def test_roles_are_made_once_and_are_the_operators_own() -> None:
    group = Group.objects.get(name="viewer")
    assert {f"{p.content_type.app_label}.{p.codename}" for p in group.permissions.all()} == ROLES["viewer"]
    assert not any(name.startswith("auth.") for names in ROLES.values() for name in names)
    group.permissions.clear()
    from console.roles import make_roles  # noqa: PLC0415 - what migrating calls

    make_roles()
    assert not group.permissions.exists()
    assert ROLES["viewer"] < ROLES["operator"] < ROLES["owner"]
    assert ROLES["viewer"] < ROLES["key manager"] < ROLES["owner"]


def test_a_role_from_before_gets_what_a_newer_version_brings_and_nothing_else() -> None:
    """As if the version before had known neither approval nor drafts."""
    owner, viewer = (Group.objects.get(name=name) for name in ("owner", "viewer"))
    new = Permission.objects.filter(codename__in=("approve_changes", "view_draft", "add_draft"))
    new.delete()
    viewer.permissions.clear()
    call_command("migrate", verbosity=0)
    given = {f"{p.content_type.app_label}.{p.codename}" for p in owner.permissions.all()}
    assert given == ROLES["owner"]
    assert list(viewer.permissions.values_list("codename", flat=True)) == ["view_draft"]
    told = AuditEntry.objects.filter(object="group owner", action="changed").latest("pk")
    assert told.changes == {
        "permissions added": ["routing.add_draft", "routing.approve_changes", "routing.view_draft"]
    }
    # Once: whoever takes it away from them has decided.
    owner.permissions.clear()
    call_command("migrate", verbosity=0)
    assert not owner.permissions.exists()


@pytest.mark.parametrize(
    "said",
    [
        None,
        "",
        "Bearer",
        "Bearer gwm-",
        "Bearer gwm-" + "x" * 43,
        "Bearer gwm-" + "x" * 5000,
        "Bearer gw-1234567800000000000000000000000000000000000000000000000000",
        "Bearer \xff\xfe",
        "Basic cm9vdDpyb290",
    ],
)
def test_nobody_gets_in_by(client: Client, said: str | None) -> None:
    reply = ask(client, "GET", "keys", None if said is None else {"authorization": said})
    assert reply.status_code == 401
    assert reply["content-type"] == "application/problem+json"
    assert reply["www-authenticate"] == "Bearer"
    assert reply.json()["status"] == 401


@pytest.mark.parametrize("why", ["revoked", "expired", "inactive", "no staff"])
def test_a_token_that_is_over(client: Client, why: str) -> None:
    user = User.objects.create_superuser("root")
    headers = bearer(user)
    assert ask(client, "GET", "keys", headers).status_code == 200
    if why in ("inactive", "no staff"):
        User.objects.filter(pk=user.pk).update(
            **({"is_active": False} if why == "inactive" else {"is_staff": False})
        )
    else:
        past = timezone.now() - timedelta(seconds=1)
        ManagementToken.objects.update(**({"revoked_at": past} if why == "revoked" else {"expires_at": past}))
    assert ask(client, "GET", "keys", headers).status_code == 401


def test_a_token_is_not_in_the_table_and_its_use_is(client: Client) -> None:
    headers = bearer(User.objects.create_superuser("root"))
    row = ManagementToken.objects.get()
    token = headers["authorization"].split()[1]
    assert row.used_at is None
    assert token not in str({**row.__dict__})
    assert token.startswith(row.prefix)
    ask(client, "GET", "keys", headers)
    row.refresh_from_db()
    assert row.used_at is not None


def test_a_session_needs_its_token_against_forgery() -> None:
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(User.objects.create_superuser("root"))
    assert ask(browser, "GET", "keys").status_code == 200
    assert ask(browser, "POST", "explain").status_code == 403
    csrf = "x" * 32
    browser.cookies["gateway_csrf"] = csrf
    forged = {"x-csrftoken": "y" * 32}
    assert ask(browser, "POST", "explain", forged, {"model": "gpt-4o"}).status_code == 403
    assert ask(browser, "POST", "explain", {"x-csrftoken": csrf}, {"model": "gpt-4o"}).status_code == 200


def test_a_script_that_hurries_is_told_to_wait(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("console.manage.access.Pace.rate", "3/min")
    headers = bearer(User.objects.create_superuser("root"))
    statuses = [ask(client, "GET", "teams", headers).status_code for _ in range(4)]
    assert statuses == [200, 200, 200, 429]
    assert int(ask(client, "GET", "teams", headers)["retry-after"]) > 0
