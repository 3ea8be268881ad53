"""Two people for risky changes: each kind, by each role that may, on every path."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import transaction
from django.test import Client

from console.tests.risky import (
    KINDS,
    approved,
    post,
    waiting,
)
from console.tests.test_manage_access import ask, bearer, member
from routing.approval_gate import Leave
from routing.approvals import approve
from routing.configfile_export import export, to_yaml
from routing.draft_ways import begin, seen
from routing.drafts import drafting
from routing.models_approvals import Approval
from routing.models_drafts import Draft
from routing.revisions import latest, publish
from routing.tests.admin_pages import browser, page

ROLES = ("operator", "key manager", "owner")


pytestmark = pytest.mark.usefixtures("two_people")


def given(kind: Any) -> dict[str, Any]:
    """What a browser sends for it: a box that is not ticked is not sent."""
    said = {
        key: (None if value is False else "on" if value is True else value) for key, value in kind.to.items()
    }
    if kind.form:
        said = dict.fromkeys(said) | kind.form
    return said


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("name", KINDS)
def test_by_each_role_in_the_admins_form(second: User, name: str, role: str) -> None:
    kind, user = KINDS[name], member(role)
    where = f"{kind.model._meta.app_label}_{kind.model._meta.model_name}_change"
    client = browser(user)
    if role not in kind.by:
        answer = client.post(page(where, kind.row().pk), {})
        assert (answer.status_code, latest(), Draft.objects.count()) == (403, 1, 0)
        return
    answer = post(client, where, kind.row().pk, **given(kind))
    draft = waiting()
    assert answer.headers.get("location") == page("routing_draft_change", draft.pk), answer.content[:3000]
    assert "awaits approval by somebody else" in client.get(answer["location"]).content.decode()
    assert not kind.done()
    approved(draft, role, second)
    assert kind.done()


@pytest.mark.parametrize("role", [*ROLES, "superuser"])
@pytest.mark.parametrize("name", KINDS)
def test_by_each_role_at_the_apis_row(client: Client, second: User, name: str, role: str) -> None:
    kind = KINDS[name]
    user = User.objects.create_superuser("superuser") if role == "superuser" else member(role)
    body = {"models" if key == "allowed_models" else key: value for key, value in kind.to.items()}
    address = f"{kind.address}/{kind.row().pk}"
    answer = ask(client, "PATCH", address, {**bearer(user), "if-match": "*"}, body)
    if role not in (*kind.by, "superuser"):
        assert (answer.status_code, latest(), Draft.objects.count()) == (403, 1, 0)
        return
    assert answer.status_code == 202, answer.content
    draft = waiting()
    assert answer.json()["draft"] == draft.pk
    assert not kind.done()
    approved(draft, role, second)
    assert kind.done()


def by_draft(name: str, user: User) -> None:
    draft = begin("spring", user.username)
    with drafting(draft):
        KINDS[name].change()
    url = page("routing_draft_change", draft.pk)
    answer = browser(user).post(
        url, {"do": "publish", "seen": seen(draft).print_, "reason": "go"}, follow=True
    )
    assert "awaits approval by somebody else" in answer.content.decode()


def by_the_apis_draft(name: str, user: User) -> None:
    draft = begin("spring", user.username)
    with drafting(draft):
        KINDS[name].change()
    headers = {**bearer(user), "if-match": f'"{seen(draft).print_}"'}
    assert ask(Client(), "POST", f"drafts/{draft.pk}/publish", headers).status_code == 202


def _document(name: str) -> Any:
    with transaction.atomic():
        KINDS[name].change()
        found = export()
        transaction.set_rollback(True)
    return found


def by_document(name: str, user: User) -> None:
    answer = ask(Client(), "POST", "config", {**bearer(user), "if-match": "*"}, _document(name))
    assert answer.status_code == 202, answer.content


def by_command(name: str, user: User, tmp_path: Path) -> None:
    file = tmp_path / "new.yaml"
    file.write_text(to_yaml(_document(name)))
    with pytest.raises(CommandError, match="awaits approval") as stopped:
        call_command("config", "apply", str(file), f"--as={user.username}", stdout=StringIO())
    assert stopped.value.returncode == 3


PATHS = {"draft": by_draft, "draft at the API": by_the_apis_draft, "document": by_document}
# What a document does not say: a provider of another name is another one, and so with other rows.
_NO_DOCUMENT = {"provider renamed", "route moved", "route before others", "limit of another model"} | {
    "limit off",
    "budget soft",
    "budget raised",
    "limit raised",
    "price",
    "later end",
    "more models",
}


@pytest.mark.parametrize(
    ("path", "name"),
    [(path, name) for path in PATHS for name in KINDS if path != "document" or name not in _NO_DOCUMENT],
)
def test_by_each_path(second: User, name: str, path: str) -> None:
    user = User.objects.create_superuser("root")
    PATHS[path](name, user)
    draft = waiting()
    assert not KINDS[name].done()
    approved(draft, "root", second)
    assert KINDS[name].done()


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind.address != "keys"])
def test_by_rows_within_a_draft(client: Client, second: User, name: str) -> None:
    kind, headers = KINDS[name], bearer(User.objects.create_superuser("root"))
    address = f"{kind.address}/{kind.row().pk}?draft=spring"
    assert ask(client, "PATCH", address, {**headers, "if-match": "*"}, kind.to).status_code == 200
    draft = Draft.objects.get()
    tag = f'"{seen(draft).print_}"'
    said = ask(client, "POST", f"drafts/{draft.pk}/publish", {**headers, "if-match": tag})
    assert said.status_code == 202, said.content
    assert not kind.done()
    approved(waiting(), "root", second)
    assert kind.done()


@pytest.mark.parametrize("name", sorted(KINDS.keys() - _NO_DOCUMENT))
def test_by_command_in_somebodys_name(second: User, name: str, tmp_path: Path) -> None:
    by_command(name, User.objects.create_superuser("root"), tmp_path)
    draft = waiting()
    assert not KINDS[name].done()
    approved(draft, "root", second)
    assert KINDS[name].done()


@pytest.mark.parametrize("way", ["undo", "restore"])
@pytest.mark.parametrize("name", KINDS)
def test_by_a_way_back(second: User, name: str, way: str) -> None:
    kind, user = KINDS[name], User.objects.create_superuser("root")
    was = dict(kind.model._default_manager.filter(pk=kind.row().pk).values(*kind.to).get())
    pk = kind.row().pk
    kind.change()
    risky = publish("olga", "risky", leave=Leave())
    kind.model._default_manager.filter(pk=pk).update(**was)
    safe = publish("olga", "safe", leave=Leave())
    url = page(f"routing_revision_{way}", safe if way == "undo" else risky)
    browser(user).post(url)
    (held,) = Approval.objects.filter(state="asked")
    assert latest() == safe
    assert not kind.done()
    found = approve(held.draft, second, held.print)
    assert (found.revision, kind.done()) == (safe + 1, True)
