"""Two people for risky changes: what is none passes, and there is no way around."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import transaction
from django.test import Client
from django.utils import timezone

from accounts.models import ApiKey, Budget, Limit, Team
from console.tests.risky import (
    CREDENTIAL,
    SECRET,
    approved,
    post,
    secret,
    targets,
    waiting,
)
from console.tests.test_manage_access import ask, bearer, member
from providers.models import CatalogueModel, Provider
from routing.approval_gate import Leave, NeedsApprovalError
from routing.approvals import approve, asked
from routing.history import mark_what_stands
from routing.models import Route, Target
from routing.models_approvals import Approval
from routing.models_drafts import Draft, DraftRow
from routing.models_history import RowVersion
from routing.revisions import hold, latest, publish
from routing.risks import groups_named
from routing.tests.admin_pages import act, browser, form_of, page
from tests.support.rows import make_route

ROLES = ("operator", "key manager", "owner")


pytestmark = pytest.mark.usefixtures("two_people")


def test_what_is_no_risk_passes(world: None) -> None:
    owner, number = browser(member("owner")), 1
    route, provider = Route.objects.get(pattern="gpt-*"), Provider.objects.get(kind="openai")
    for where, pk, values in (
        ("routing_route_change", route.pk, {"tries": 2}),
        ("providers_provider_change", provider.pk, {"idle_timeout": 17}),
        ("accounts_limit_change", Limit.objects.get().pk, {"amount": 5}),
        ("accounts_budget_change", Budget.objects.get().pk, {"amount": "4"}),
        ("accounts_apikey_change", ApiKey.objects.get().pk, {"allowed_models": "gpt-4*"}),
    ):
        post(owner, where, pk, **values)
        number += 1
        assert latest() == number, where
    assert not Approval.objects.exists()


def test_it_is_off_unless_a_deployment_wants_it(world: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apps.get_app_config("routing"), "approval", groups_named(""))
    owner = browser(member("owner"))
    post(owner, "accounts_limit_change", Limit.objects.get().pk, amount=500)
    assert (latest(), Limit.objects.get().amount) == (2, 500)
    # Some of the table alone.
    monkeypatch.setattr(apps.get_app_config("routing"), "approval", groups_named("routes, prices"))
    post(owner, "accounts_limit_change", Limit.objects.get().pk, amount=501)
    act(owner, "routing_route_changelist", "disable", Route.objects.get(pattern="gpt-*").pk)
    assert (latest(), Route.objects.get(pattern="gpt-*").enabled) == (3, True)


@pytest.mark.parametrize("words", ["rout", "all,x", "off,routes"])
def test_a_setting_that_means_nothing_is_refused(words: str) -> None:
    with pytest.raises(ValueError, match=r"alone|no group"):
        groups_named(words)


def test_actions_on_chosen_rows(second: User) -> None:
    owner = browser(member("owner"))
    for where, model in (
        ("routing_route", Route),
        ("providers_provider", Provider),
        ("accounts_limit", Limit),
        ("accounts_budget", Budget),
    ):
        pks = model.objects.values_list("pk", flat=True)
        act(owner, f"{where}_changelist", "disable", *pks)
        assert model.objects.filter(enabled=False).count() == 0
    gone = {"action": "delete_selected", "post": "yes", "_selected_action": [Limit.objects.get().pk]}
    owner.post(page("accounts_limit_changelist"), gone)
    owner.post(page("routing_route_delete", Route.objects.get(pattern="gpt-*").pk), {"post": "yes"})
    assert (Limit.objects.count(), targets(), latest()) == (1, 2, 1)
    assert Approval.objects.filter(state="asked").count() == 6
    for each in Approval.objects.filter(draft__name__contains="route"):
        assert "route" in " ".join(each.risks)
        approve(each.draft, second, each.print)
    assert targets() == 0


def test_a_secret_that_ends_in_the_same_letters_is_seen(second: User) -> None:
    owner = browser(member("owner"))
    pk = Provider.objects.get(kind="openai").pk
    before = secret()
    post(owner, "providers_provider_change", pk, **CREDENTIAL)
    draft = waiting()
    assert (secret(), asked(draft).risks) == (before, asked(draft).risks[:1])  # type: ignore[union-attr]  # one was asked for
    assert (
        SECRET
        not in str(list(DraftRow.objects.values()))
        + owner.get(page("routing_draft_change", draft.pk)).content.decode()
    )
    approved(draft, "owner", second)
    assert secret() == SECRET
    assert not DraftRow.objects.exclude(sealed="").exists()


def test_another_address_with_its_secret(second: User) -> None:
    owner = browser(member("owner"))
    pk = Provider.objects.get(kind="openai").pk
    post(owner, "providers_provider_change", pk, base_url="https://new.example/v1", **CREDENTIAL)
    draft = waiting()
    assert Provider.objects.get(pk=pk).base_url == ""
    approved(draft, "owner", second)
    assert (Provider.objects.get(pk=pk).base_url, secret()) == ("https://new.example/v1", SECRET)


def test_in_small_pieces(second: User) -> None:
    """A new place, and then a target that leads there; or a target after the other taken away."""
    owner = browser(member("owner"))
    words = {"credentials-0-label": "one", "credentials-0-secret": SECRET}
    add = page("providers_provider_add")
    owner.post(add, {**form_of(owner, add), "name": "mine", "kind": "openai", **words})
    assert not Provider.objects.filter(name="mine").exists()
    route = Route.objects.get(pattern="gpt-*")
    form = form_of(owner, page("routing_route_change", route.pk))
    for number in ("0", "1"):
        for change in (
            {"DELETE": "on"},
            {"weight": "0"},
            {"provider": Provider.objects.get(name="spare").pk},
        ):
            if number == "1" and "provider" in change:
                continue
            sent = {**form, **{f"targets-{number}-{key}": value for key, value in change.items()}}
            owner.post(page("routing_route_change", route.pk), sent)
            assert targets() == 2
            assert not Target.objects.filter(weight=0).exists()
    assert latest() == 1


def test_what_was_there_before_is_not_the_browsers_to_say(second: User) -> None:
    """Django's forms would believe `initial-…`, save what "has not changed", and nobody would hear of it."""
    crew = Team.objects.get(name="crew")
    Team.objects.filter(pk=crew.pk).update(capture="all", capture_patterns=["secret-[0-9]+"])
    CatalogueModel.objects.filter(name="gpt-4o").update(capabilities=[])
    publish("olga", "captures", leave=Leave())
    owner = browser(member("owner"))
    said = {"capture_patterns": "[]", "initial-capture_patterns": "[]"}
    post(owner, "accounts_team_change", crew.pk, **said)
    assert Team.objects.get(pk=crew.pk).capture_patterns == ["secret-[0-9]+"]
    assert asked(Draft.objects.get()) is not None
    said = {"capabilities": '["vision"]', "initial-capabilities": '["vision"]'}
    post(owner, "providers_cataloguemodel_change", CatalogueModel.objects.get(name="gpt-4o").pk, **said)
    assert latest() == 3, "it was saved and not published"


def held(change: Callable[[], object]) -> bool:
    """Whether it takes somebody else. What does not is taken back too."""
    with transaction.atomic():
        hold()
        change()
        try:
            publish("ann", "tried")
        except NeedsApprovalError:
            return True
        finally:
            transaction.set_rollback(True)
    return False


@pytest.mark.parametrize(
    ("pattern", "more", "risky"),
    [
        ("gpt-4o", {}, True),
        ("gpt-4*", {}, True),
        ("gpt-*", {"priority": 1}, True),
        ("gpt-*", {"priority": -1}, False),
        ("gpt-4o", {"enabled": False}, False),
        ("g*", {}, False),
        ("o3", {}, False),
        ("claude-*", {}, False),
    ],
)
def test_a_route_that_stands_before_another(
    world: None, pattern: str, more: dict[str, Any], risky: bool
) -> None:
    """It leads calls elsewhere without touching the route that had them."""
    provider, crew = Provider.objects.get(name="spare"), Team.objects.get(name="crew")
    assert held(lambda: make_route(pattern, provider, name="new", **more)) is risky
    # A team's own goes first, whatever its priority.
    own = risky or "priority" in more
    assert held(lambda: make_route(pattern, provider, name="new", team=crew, **more)) is own


def test_a_route_that_is_enabled_or_gets_another_target(world: None) -> None:
    provider = Provider.objects.get(name="spare")
    quiet = make_route("gpt-4o", provider, enabled=False)
    # Of two that are new neither takes anything from the other.
    make_route("new-*", provider)
    make_route("new-1", provider)
    publish("ann", "routes")
    assert held(lambda: Route.objects.filter(pk=quiet.pk).update(enabled=True))
    route = Route.objects.get(pattern="gpt-*")
    assert held(lambda: Target.objects.create(route=route, provider=provider, upstream_model="cheap"))
    late = Target.objects.create(route=route, provider=provider, upstream_model="cheap", weight=0)
    Target.objects.create(route=route, provider=provider, upstream_model="late", after=["outage"])
    publish("ann", "targets")
    assert held(lambda: Target.objects.filter(pk=late.pk).update(weight=1))


def test_keys_that_are_issued_or_rotated_work_with_the_approval(client: Client, second: User) -> None:
    headers = bearer(member("key manager"))
    said = ask(client, "POST", "keys", headers, {"team": "crew", "label": "wide"})
    assert said.status_code == 202
    draft = waiting()
    assert not ApiKey.objects.filter(label="wide").exists()
    assert said.json()["key"] not in str(list(DraftRow.objects.values()))
    approved(draft, "key manager", second)
    row = ApiKey.objects.get(label="wide")
    assert said.json()["prefix"] == row.prefix
    # A budget begins anew with the successor.
    old = ApiKey.objects.get(label="app")
    answer = ask(client, "POST", f"keys/{old.pk}/rotate", headers, {"overlap_hours": 1})
    assert (answer.status_code, ApiKey.objects.filter(replaces=old).count(), latest()) == (202, 0, 2)
    # Nor is a limit had twice.
    limit = Limit.objects.create(key=row, kind="requests", amount=5)
    publish("olga", "limit", leave=Leave())
    assert ask(client, "POST", f"keys/{row.pk}/rotate", headers, {"overlap_hours": 1}).status_code == 202
    limit.delete()
    publish("olga", "no limit", leave=Leave())
    # Without one it may be replaced, and revoked, at once.
    assert ask(client, "POST", f"keys/{row.pk}/rotate", headers, {"overlap_hours": 1}).status_code == 201
    assert ask(client, "POST", f"keys/{row.pk}/revoke", headers).status_code == 200
    assert latest() == 6


def test_a_key_that_ends_in_a_moment_waits_for_nobody_and_stays_so(client: Client, second: User) -> None:
    headers = bearer(member("key manager"))

    def issued(minutes: int) -> Any:
        until = (timezone.now() + timedelta(minutes=minutes)).isoformat()
        return ask(client, "POST", "keys", headers, {"team": "crew", "expires_at": until})

    assert issued(31).status_code == 202
    short = issued(29)
    assert short.status_code == 201
    number = short.json()["id"]
    later = {"expires_at": (timezone.now() + timedelta(hours=2)).isoformat()}
    said = ask(client, "PATCH", f"keys/{number}", {**headers, "if-match": "*"}, later)
    assert (said.status_code, latest()) == (202, 2)


def test_what_was_not_done_is_not_said_to_be(second: User) -> None:
    owner = browser(member("owner"))
    answer = post(owner, "accounts_limit_change", Limit.objects.get().pk, amount=500)
    said = [str(each) for each in owner.get(answer["location"]).context["messages"]]
    assert len(said) == 1
    assert "awaits approval" in said[0]
    shown = act(owner, "accounts_budget_changelist", "disable", Budget.objects.get().pk)
    assert ["awaits approval" in str(each) for each in shown.context["messages"]] == [True]


def test_a_key_in_the_admin_is_shown_though_it_waits(second: User) -> None:
    manager = browser(member("key manager"))
    add = page("accounts_apikey_add")
    team = ApiKey.objects.get().team_id
    shown = manager.post(add, {**form_of(manager, add), "team": team, "label": "wide"})
    assert "It works once somebody else has approved it" in shown.content.decode()
    approved(waiting(), "key manager", second)
    assert ApiKey.objects.filter(label="wide").exists()
    old = ApiKey.objects.get(label="app")
    rotated = manager.post(page("accounts_apikey_rotate", old.pk), {"overlap": "24"})
    assert "once somebody else has approved" in rotated.content.decode()
    assert not ApiKey.objects.filter(replaces=old).exists()


def test_commands_in_nobodys_name_wait_too(world: None) -> None:
    out, err = StringIO(), StringIO()
    with pytest.raises(CommandError, match="works from then on") as stopped:
        call_command("keys", "issue", "--team=new", "--label=cli", stdout=out, stderr=err)
    assert err.getvalue() == "", "a team that was taken back is not said to be made"
    assert out.getvalue().startswith("gw-")
    assert out.getvalue().strip() not in str(stopped.value)
    assert stopped.value.returncode == 3
    assert not ApiKey.objects.filter(label="cli").exists()
    assert (waiting().author, Approval.objects.get().asker) == ("command line", None)


def test_an_address_that_a_way_back_brings_again(second: User) -> None:
    provider = Provider.objects.get(kind="openai")
    Provider.objects.filter(pk=provider.pk).update(base_url="https://old.example/v1")
    publish("olga", "old", leave=Leave())
    Provider.objects.filter(pk=provider.pk).update(base_url="")
    number = publish("olga", "new", leave=Leave())
    browser(member("operator")).post(page("routing_revision_undo", number))
    held = Approval.objects.get()
    assert (Provider.objects.get(pk=provider.pk).base_url, latest()) == ("", number)
    assert approve(held.draft, second, held.print).revision == number + 1
    assert Provider.objects.get(pk=provider.pk).base_url == "https://old.example/v1"
    # As without approval: its secret goes to no other address.
    assert not provider.credentials.get().enabled


def test_secrets_from_before_marks_are_marked_at_a_start(second: User) -> None:
    RowVersion.objects.update(mark=None)
    mark_what_stands()
    assert RowVersion.objects.filter(table="credential", mark__regex="^[0-9a-f]{16}$").count() == 2
    # What stands is no change by it, and what comes after is one.
    browser_ = browser(member("owner"))
    pk = Provider.objects.get(kind="openai").pk
    post(browser_, "providers_provider_change", pk, idle_timeout=17)
    assert (latest(), Approval.objects.count()) == (2, 0)
    post(browser_, "providers_provider_change", pk, **CREDENTIAL)
    assert (latest(), Approval.objects.count()) == (2, 1)
