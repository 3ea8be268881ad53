"""Management tokens by command and in the admin; keys rotated by command; and hostile bodies at the API."""

from __future__ import annotations

import io
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, User
from django.core.cache import cache
from django.core.management import CommandError, call_command
from django.test import Client

from accounts.apps import hasher
from accounts.models import ApiKey
from accounts.tokens import ManagementToken
from console.tests.test_manage_access import ACTIONS, ask, bearer
from tests.support.rows import make_key, make_staff

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _fresh_pace() -> None:
    cache.clear()


def run(command: str, *words: str) -> tuple[str, str]:
    out, err = io.StringIO(), io.StringIO()
    call_command(command, *words, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


def test_a_token_is_issued_listed_used_and_revoked(client: Client) -> None:
    User.objects.create_superuser("root")
    out, err = run("tokens", "issue", "--user", "root", "--label", "terraform", "--days", "30")
    token = out.strip()
    assert len(out.splitlines()) == 1
    assert token not in err
    headers = {"authorization": f"Bearer {token}"}
    assert ask(client, "GET", "keys", headers).status_code == 200
    listed, _ = run("tokens", "list")
    row = ManagementToken.objects.get()
    assert row.prefix in listed
    assert "terraform" in listed
    assert token not in listed
    run("tokens", "revoke", str(row.pk))
    assert ask(client, "GET", "keys", headers).status_code == 401
    assert "refused" in run("tokens", "list")[0]


@pytest.mark.parametrize(
    "words",
    [
        ("issue", "--user", "nobody"),
        ("issue", "--user", "plain"),
        ("issue", "--user", "root", "--days", "0"),
        ("issue", "--user", "root", "--label", "x" * 101),
        ("revoke", "12345"),
    ],
)
def test_a_token_that_cannot_be(words: tuple[str, ...]) -> None:
    User.objects.create_superuser("root")
    User.objects.create_user("plain")
    with pytest.raises(CommandError):
        run("tokens", *words)
    assert not ManagementToken.objects.exists()


def test_the_admin_shows_tokens_and_revokes_them(client: Client) -> None:
    headers = bearer(User.objects.create_superuser("root"), label="ci")
    row = ManagementToken.objects.get()
    staff = make_staff("accounts.view_managementtoken", "accounts.change_managementtoken", name="keeper")
    client.force_login(staff)
    url = "/admin/accounts/managementtoken/"
    page = client.get(url).content.decode()
    assert row.prefix in page
    assert headers["authorization"].split()[1] not in page
    client.post(url, {"action": "revoke_chosen", "_selected_action": [row.pk]})
    row.refresh_from_db()
    assert row.revoked_at is not None
    assert LogEntry.objects.get().user == staff
    assert client.get(url + "add/").status_code == 403


def test_nobody_makes_his_token_another_users(client: Client) -> None:
    """An owner may revoke tokens, and must not become a superuser, or a second person, by one."""
    root = User.objects.create_superuser("root")
    staff = make_staff("accounts.view_managementtoken", "accounts.change_managementtoken", name="keeper")
    headers = bearer(staff, role=Group.objects.get(name="viewer"))
    row = ManagementToken.objects.get()
    for user in (staff, root):
        client.force_login(user)
        url = f"/admin/accounts/managementtoken/{row.pk}/change/"
        assert client.get(url).status_code == 200
        said = {"user": root.pk, "label": "x", "role": "", "team": "", "expires_at_0": "", "expires_at_1": ""}
        assert client.post(url, said).status_code == 403
    row.refresh_from_db()
    assert (row.user, row.label, row.role_id is None) == (staff, "", False)
    assert ask(Client(), "POST", "config/plan", headers, {}).status_code == 403


def test_a_key_is_rotated_by_command() -> None:
    row = make_key().row
    out, err = run("keys", "rotate", row.prefix, "--overlap", "1")
    successor = ApiKey.objects.exclude(pk=row.pk).get()
    assert successor.digest == hasher().digest(out.strip()).hex()
    row.refresh_from_db()
    assert row.expires_at is not None
    assert "is refused from" in err
    with pytest.raises(CommandError, match="--overlap"):
        run("keys", "rotate", str(successor.pk), "--overlap", "99999")
    run("keys", "revoke", str(row.pk))
    with pytest.raises(CommandError, match="revoked"):
        run("keys", "rotate", str(row.pk))


HOSTILE: list[Any] = [
    None,
    True,
    0,
    "text",
    [],
    [[]],
    {"team": None, "key": None, "model": None},
    {"team": [], "models": {}, "overlap_hours": "x", "body": [1]},
    {
        "team": "a\0b",
        "label": "\ud800".encode("utf-8", "surrogatepass").decode("utf-8", "replace"),
        "route": "\0",
    },
    {"overlap_hours": 1e309, "expires_at": "9999-12-31T23:59:59+99:99", "key": "x" * 600},
    {"request": "\0", "revision": "9" * 20, "surface": "nonsense", "model": "\u202e" * 256},
    {"providers": {"\0": {}}, "routes": [None], "teams": 5, "keys": {}, "limits": [[]], "budgets": "x"},
    {"body": {"model": ["x"], "messages": "x"}, "surface": "chat"},
]


def test_no_body_is_too_strange(client: Client) -> None:
    headers = {**bearer(User.objects.create_superuser("root")), "if-match": "*"}
    make_key()
    number = str(ApiKey.objects.get().pk)
    for method, address in ACTIONS:
        if method != "POST":
            continue
        for body in HOSTILE:
            reply = ask(client, "POST", address.replace("<int:number>", number), headers, body)
            assert reply.status_code < 500, (address, body, reply.content)
            cache.clear()


@pytest.mark.parametrize(
    "body", [b"[" * 200_000, b'{"a":' * 200_000, b'{"team": NaN}', b'{"a": 1, "a": 2}', b"\xff"]
)
def test_what_is_no_json_object_is_a_400(client: Client, body: bytes) -> None:
    headers = bearer(User.objects.create_superuser("root"))
    reply = client.post("/manage/v1/keys", body, content_type="application/json", headers=headers)
    assert reply.status_code == 400
    assert reply["content-type"] == "application/problem+json"
