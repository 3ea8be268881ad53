"""Captured prompts in the admin, the management API and the command: who may look, that each look is written
down, and that what is forgotten is gone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from accounts.audit import AuditEntry
from accounts.capture.rows import owner
from accounts.models import Capture, CaptureCut, Team, TeamMember
from console.tests.test_manage_access import ask, bearer
from providers.apps import vault
from routing.configfile_export import export
from routing.tests.admin_pages import act, browser, page
from tests.support.rows import make_staff

pytestmark = pytest.mark.django_db
TEXT = '{"request": {"prompt": "a canary <b>"}, "answer": {"text": "sung"}}'


@pytest.fixture
def crew() -> Team:
    return Team.objects.create(name="crew")


def make(team: Team, name: str = "req_1") -> Capture:
    sealed = vault().seal(TEXT, owner(team.pk, name))
    return Capture.objects.create(
        request_id=name, team_id=team.pk, at=timezone.now(), surface="chat", status=200, sealed=sealed
    )


def looks() -> list[str]:
    return list(AuditEntry.objects.filter(action="looked at").values_list("object", flat=True))


def test_a_look_is_written_down_before_anything_is_shown(crew: Team) -> None:
    row = make(crew)
    root = browser(User.objects.create_superuser("root"))
    assert "canary" not in root.get(page("accounts_capture_changelist")).content.decode()
    assert looks() == []
    shown = root.get(page("accounts_capture_change", row.pk)).content.decode()
    assert "a canary &lt;b&gt;" in shown
    assert looks() == ["capture req_1 of team crew"]


def test_staff_of_a_team_see_its_own_and_nobody_without_the_right(crew: Team) -> None:
    row, other = make(crew), make(Team.objects.create(name="others"), "req_2")
    scoped = make_staff("accounts.view_capture", name="scoped")
    TeamMember.objects.create(user=scoped, team=crew)
    client = browser(scoped)
    assert client.get(page("accounts_capture_change", row.pk)).status_code == 200
    assert client.get(page("accounts_capture_change", other.pk)).status_code == 302, "as if it were not there"
    assert looks() == ["capture req_1 of team crew"]
    nobody = browser(make_staff("accounts.view_requestentry", name="half"))
    assert nobody.get(page("accounts_capture_change", row.pk)).status_code == 403
    assert looks() == ["capture req_1 of team crew"]


def test_forgetting_in_the_admin(crew: Team) -> None:
    row = make(crew)
    make(crew, "req_2")
    root = browser(User.objects.create_superuser("root"))
    act(root, "accounts_capture_changelist", "forget_chosen", row.pk)
    assert list(Capture.objects.values_list("request_id", flat=True)) == ["req_2"]
    act(root, "accounts_team_changelist", "forget_captures", crew.pk)
    assert not Capture.objects.exists()
    assert CaptureCut.objects.get().team_id == crew.pk, "what is under way is forgotten too"
    assert AuditEntry.objects.filter(action="forgotten", author="root").count() == 2


def test_whoever_sees_his_own_teams_alone_forgets_no_others(crew: Team) -> None:
    others = Team.objects.create(name="others")
    make(crew)
    make(others, "req_2")
    scoped = make_staff("accounts.view_team", "accounts.delete_capture", name="scoped")
    TeamMember.objects.create(user=scoped, team=crew)
    shown = act(browser(scoped), "accounts_team_changelist", "forget_captures", crew.pk, others.pk)
    assert list(Capture.objects.values_list("request_id", flat=True)) == ["req_2"]
    assert not CaptureCut.objects.filter(team_id=others.pk).exists()
    assert [str(each) for each in shown.context["messages"]] == [
        "1 captures are forgotten.",
        "1 of the teams are not yours: theirs are left.",
    ]


def test_the_management_api(client: Client, crew: Team) -> None:
    make(crew)
    make(Team.objects.create(name="others"), "req_2")
    scoped = make_staff("accounts.view_capture", "accounts.delete_capture", name="scoped")
    TeamMember.objects.create(user=scoped, team=crew)
    headers: dict[str, Any] = bearer(scoped)
    said = ask(client, "GET", "captures/req_1", headers).json()
    assert (said["request"], said["answer"]) == ({"prompt": "a canary <b>"}, {"text": "sung"})
    assert looks() == ["capture req_1 of team crew"]
    assert ask(client, "GET", "captures/req_2", headers).status_code == 404
    assert ask(client, "DELETE", "captures/req_2", headers).status_code == 404
    others = Team.objects.get(name="others")
    # A token for one team alone, of somebody who sees all.
    cut = bearer(User.objects.create_superuser("root"), team=crew)
    assert ask(client, "GET", "captures/req_1", cut).status_code == 200
    assert ask(client, "GET", "captures/req_2", cut).status_code == 404
    assert ask(client, "POST", f"teams/{others.pk}/forget-captures", cut).status_code == 404
    assert ask(client, "POST", f"teams/{others.pk}/forget-captures", headers).status_code == 404
    assert ask(client, "DELETE", "captures/req_1", headers).status_code == 204
    make(crew, "req_3")
    assert ask(client, "POST", f"teams/{crew.pk}/forget-captures", headers).json() == {"forgotten": 1}
    assert list(Capture.objects.values_list("request_id", flat=True)) == ["req_2"]


def test_the_command(crew: Team) -> None:
    make(crew)
    make(crew, "req_2")
    call_command("captures", "forget", "--request", "req_1")
    assert list(Capture.objects.values_list("request_id", flat=True)) == ["req_2"]
    call_command("captures", "forget", "--team", "crew")
    assert not Capture.objects.exists()
    with pytest.raises(CommandError, match="No team"):
        call_command("captures", "forget", "--team", "nobody")
    with pytest.raises(CommandError, match="Nothing is captured"):
        call_command("captures", "forget", "--request", "req_1")


def test_rotation_of_the_master_secret_keeps_captures(crew: Team) -> None:
    row = make(crew)
    call_command("providers", "rotate-secrets")
    row.refresh_from_db()
    assert "canary" in vault().open(row.sealed, row.owner)


def test_the_setting_comes_from_a_document(crew: Team, tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    path.write_text('teams:\n  - name: crew\n    capture: {mode: share, share: 5, patterns: ["x+"]}\n')
    call_command("config", "apply", str(path))
    crew.refresh_from_db()
    assert (crew.capture, crew.capture_share, crew.capture_days) == ("share", 5, 7)
    assert crew.capture_patterns == ["x+"]
    path.write_text("teams:\n  - name: crew\n    capture: {mode: all, days: 500}\n")
    with pytest.raises(CommandError):
        call_command("config", "apply", str(path))


def test_the_setting_is_in_the_document(crew: Team) -> None:
    assert "capture" not in export()["teams"][0]
    crew.capture, crew.capture_patterns = "errors", ["customer-[0-9]+"]
    crew.full_clean()
    crew.save()
    assert export()["teams"][0]["capture"] == {
        "mode": "errors",
        "share": 10,
        "days": 7,
        "kilobytes": 64,
        "patterns": ["customer-[0-9]+"],
    }
