"""The history of rows: what each revision changed can be taken back, a state restored, or looked at."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from io import StringIO
from pathlib import Path

import pytest
import yaml
from django.core.management import CommandError, call_command
from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts.models import ApiKey, Budget, Limit, Team, TeamMember
from providers.apps import vault
from providers.models import Credential, Provider
from routing.configfile_export import export
from routing.history import Place, UnknownRevisionError, before_and_after, present, state_at
from routing.loader import compile_tables
from routing.models import OwnedObject, Route, Target
from routing.models_history import RowVersion
from routing.past import rows_at, tables_at
from routing.revisions import latest, publish
from routing.rewind import RewindError, restore, undo
from routing.tables import Tables, read_tables
from tests.support.rows import SECRET, make_credential, make_key, make_provider, make_route, make_staff

pytestmark = pytest.mark.django_db


def saved(reason: str = "r") -> int:
    return publish("olga", reason)


@pytest.fixture
def begun() -> Route:
    """Revision 1: a provider, a route with a target, a team with a key."""
    route = make_route("gpt-*", make_provider("openai"))
    make_key("crew")
    saved()
    return route


def test_a_state_is_what_was_there(begun: Route) -> None:
    one = present()
    begun.priority = 7
    begun.save()
    Team.objects.create(name="others")
    two_number = saved()
    assert state_at(1) == one
    assert state_at(two_number) == present()
    place = Place("route", begun.pk)
    before, after = before_and_after(two_number)
    assert (before[place]["priority"], after[place]["priority"]) == (0, 7)
    assert {each.table for each in after} == {"route", "team"}


def test_no_secret_is_in_the_history(begun: Route) -> None:
    sealed = Credential.objects.get().sealed
    text = str(list(RowVersion.objects.values_list("values", flat=True)))
    assert sealed not in text
    assert SECRET not in text


def test_an_edit_is_taken_back_and_that_is_a_revision_too(begun: Route) -> None:
    begun.losses = "strict"
    begun.save()
    number = saved()
    outcome = undo(number, "ivan")
    assert Route.objects.get().losses == "warn"
    assert outcome.revision == latest() == number + 1
    assert outcome.changes == [
        {"object": "route gpt-*", "action": "changed", "fields": {"losses": ["strict", "warn"]}}
    ]
    # What was taken back can be brought back in turn.
    undo(number + 1, "ivan")
    assert Route.objects.get().losses == "strict"


def test_what_was_added_goes_and_what_was_deleted_comes_back(begun: Route) -> None:
    added = make_route("claude-*", {"provider": Provider.objects.get(), "weight": 3})
    first = saved()
    Target.objects.filter(route=begun).delete()
    begun.delete()
    second = saved()
    before = state_at(1)
    undo(second, "ivan")
    assert {place: row for place, row in present().items() if place.table in ("route", "target")}.items() >= {
        place: row for place, row in before.items() if place.table in ("route", "target")
    }.items()
    undo(first, "ivan")
    assert not Route.objects.filter(pk=added.pk).exists()
    assert present() == before


def test_one_object_of_a_revision_alone(begun: Route) -> None:
    begun.priority = 1
    begun.save()
    Team.objects.create(name="others", priority="low")
    number = saved()
    undo(number, "ivan", frozenset({Place("route", begun.pk)}))
    assert Route.objects.get().priority == 0
    assert Team.objects.filter(name="others").exists()


def test_a_row_that_was_changed_again_is_not_overwritten(begun: Route) -> None:
    begun.priority = 1
    begun.save()
    number = saved()
    begun.priority = 2
    begun.save()
    saved()
    with pytest.raises(RewindError, match="route gpt-\\* was changed again"):
        undo(number, "ivan")
    assert Route.objects.get().priority == 2
    assert latest() == 3


def test_a_whole_state_with_money_and_limits(begun: Route) -> None:
    team = Team.objects.get()
    budget = Budget.objects.create(team=team, amount=Decimal("12.5"))
    Limit.objects.create(team=team, kind="requests", amount=5)
    wanted = saved()
    state = present()
    budget.amount = Decimal(99)
    budget.save()
    Limit.objects.all().delete()
    begun.targets.update(weight=9)
    saved()
    told = {change["object"] for change in restore(wanted, "ivan").changes}
    assert any("openai of gpt-*" in each for each in told)
    assert present() == state
    assert restore(wanted, "ivan").revision is None


def test_a_key_that_was_revoked_or_deleted_stays_so(begun: Route) -> None:
    key = make_key("crew").row
    number = saved()
    key.revoked_at = key.created
    key.save()
    saved()
    restore(number, "ivan")
    assert ApiKey.objects.get(pk=key.pk).revoked_at is not None
    key.delete()
    saved()
    outcome = restore(number, "ivan")
    assert not ApiKey.objects.filter(pk=key.pk).exists()
    assert any("does not come back" in note for note in outcome.notes)


def test_a_credential_that_was_deleted_needs_its_secret(begun: Route) -> None:
    Credential.objects.all().delete()
    number = saved()
    outcome = undo(number, "ivan")
    assert outcome.revision is None
    assert "add it anew" in outcome.notes[0]


def test_a_secret_is_not_sent_to_an_address_that_came_back(begun: Route) -> None:
    provider = Provider.objects.get()
    provider.base_url = "https://other.example/v1"
    provider.save()
    number = saved()
    outcome = undo(number, "ivan")
    assert Provider.objects.get().base_url == ""
    assert not Credential.objects.get().enabled
    assert "enter their secrets anew" in outcome.notes[0]


def test_a_provider_in_use_is_not_taken_away(begun: Route) -> None:
    other = make_provider("anthropic")
    number = saved()
    Target.objects.create(route=begun, provider=other)
    saved()
    with pytest.raises(RewindError, match="still used by: target"):
        undo(number, "ivan")
    assert Provider.objects.count() == 2


def test_a_route_without_a_usable_target_is_refused(begun: Route) -> None:
    begun.targets.update(enabled=False)
    begun.enabled = False
    begun.save()
    first = saved()
    begun.targets.update(enabled=True)
    saved()
    begun.enabled = True
    begun.save()
    saved()
    with pytest.raises(RewindError, match="needs at least one"):
        undo(first + 1, "ivan")


def test_a_name_that_somebody_else_has_now(begun: Route) -> None:
    team = Team.objects.create(name="old")
    saved()
    team.name = "new"
    team.save()
    number = saved()
    Team.objects.create(name="old")
    saved()
    with pytest.raises(RewindError, match="stands in the way"):
        undo(number, "ivan")


def test_a_look_at_an_old_state_is_what_was_loaded_then(begun: Route) -> None:
    team, provider = Team.objects.get(), Provider.objects.get()
    Limit.objects.create(team=team, kind="requests", amount=5)
    Budget.objects.create(key=ApiKey.objects.get(), amount=Decimal("12.5"))
    make_route("off-*", provider, enabled=False)
    make_route("two-*", {"provider": provider, "weight": 2}, {"provider": provider, "tier": 1}, team=team)
    make_credential(provider, label="off", enabled=False)
    number = saved()
    then, exported = read_tables(), export()
    for model in (Limit, Budget, Target, Route, ApiKey, Credential, Provider, Team):
        model._default_manager.all().delete()
    saved()
    seen = tables_at(number, vault())
    for name in Tables.__struct_fields__:
        if name in ("credentials", "purges", "catalogue"):
            continue
        assert _in_order(getattr(seen, name)) == _in_order(getattr(then, name)), name
    assert [row[:4] for row in seen.credentials] == [row[:4] for row in then.credentials]
    assert SECRET not in str(compile_tables(seen, vault()).providers)
    assert export(rows_at(number)) == exported
    assert latest() == number + 1


def _in_order(rows: object) -> object:
    # In the database 12.5 is a number, and its text has as many digits as it likes.
    return sorted(repr(row).replace("12.500000", "12.5") for row in rows) if isinstance(rows, list) else rows


def test_revisions_that_nobody_recorded(begun: Route) -> None:
    for number in (0, 2, -1):
        with pytest.raises(UnknownRevisionError):
            state_at(number)
    with pytest.raises(UnknownRevisionError):
        undo(1, "ivan")


def test_an_old_configuration_is_exported(begun: Route) -> None:
    begun.losses = "strict"
    begun.save()
    saved()
    out = StringIO()
    call_command("config", "export", "--revision", "1", stdout=out)
    assert yaml.safe_load(out.getvalue())["routes"][0]["losses"] == "warn"
    with pytest.raises(CommandError, match="No state is recorded"):
        call_command("config", "export", "--revision", "77", stdout=StringIO())


def test_an_old_revision_is_restored_from_the_command_line(begun: Route) -> None:
    begun.losses = "strict"
    begun.save()
    saved()
    out = StringIO()
    call_command("config", "restore", "1", "--dry-run", stdout=out)
    assert "strict" in out.getvalue()
    assert Route.objects.get().losses == "strict"
    call_command("config", "restore", "1", stdout=out)
    assert Route.objects.get().losses == "warn"
    assert latest() == 3
    call_command("config", "undo", "3", stdout=out)
    assert Route.objects.get().losses == "strict"


@pytest.fixture
def moved() -> Provider:
    """Revision 1: a provider at an old address, on the private network; 2: a new one, a new secret."""
    old = "http://10.0.0.9/v1"
    provider = make_provider("vendor", base_url=old, allow_private_addresses=True, secret="sk-old-0123456789")
    saved()
    provider.base_url, provider.allow_private_addresses = "https://new.example/v1", False
    provider.save()
    Credential.objects.update(sealed=vault().seal(SECRET, provider.pk), last4=SECRET[-4:])
    saved()
    return provider


def test_a_secret_does_not_follow_to_an_old_address_in_parts_either(moved: Provider) -> None:
    row = Credential.objects.get()
    undo(2, "ivan", frozenset({Place("provider", moved.pk)}))
    assert Provider.objects.get().base_url == "http://10.0.0.9/v1"
    outcome = undo(3, "ivan", frozenset({Place("credential", row.pk)}))
    assert not Credential.objects.get().enabled
    assert any("entered for another address" in note for note in outcome.notes)
    # Nor by a whole state in which it was enabled.
    restore(1, "ivan")
    assert not Credential.objects.get().enabled
    with pytest.raises(IntegrityError), transaction.atomic():
        Credential.objects.update(enabled=True)
    # With the address that it was entered for it comes back, and only then.
    restore(2, "ivan")
    row.refresh_from_db()
    assert (row.enabled, row.provider.base_url) == (True, "https://new.example/v1")


def test_what_is_read_of_a_secret_is_of_the_one_that_is_there(moved: Provider) -> None:
    outcome = undo(2, "ivan")
    assert Credential.objects.get().last4 == SECRET[-4:]
    assert any("stays the one" in note for note in outcome.notes)


def test_a_file_with_the_secret_brings_it_back_into_use(moved: Provider, tmp_path: Path) -> None:
    undo(2, "ivan")
    path = tmp_path / "gateway.yaml"
    enabled = "providers: {vendor: {credentials: [{label: default, enabled: true%s}]}}"
    path.write_text(enabled % "")
    with pytest.raises(CommandError, match="entered for another address"):
        call_command("config", "apply", str(path))
    path.write_text(enabled % f", secret: {SECRET}")
    # Somebody's taking back has disabled it, and no file takes that back unasked.
    with pytest.raises(CommandError, match="credential default: enabled, by ivan"):
        call_command("config", "apply", str(path))
    call_command("config", "apply", str(path), overwrite=True)
    assert Credential.objects.get().enabled


def test_private_addresses_come_back_only_for_a_superuser(moved: Provider) -> None:
    outcome = undo(2, "ivan")
    assert not Provider.objects.get().allow_private_addresses
    assert any("stay refused" in note for note in outcome.notes)
    restore(1, "boss", private=True)
    assert Provider.objects.get().allow_private_addresses


def test_a_deleted_provider_comes_back_without_private_addresses() -> None:
    provider = make_provider("vendor", base_url="http://10.0.0.9/v1", allow_private_addresses=True)
    saved()
    provider.delete()
    saved()
    undo(2, "ivan")
    assert not Provider.objects.get().allow_private_addresses


def test_a_key_that_has_expired_stays_so(begun: Route) -> None:
    key = ApiKey.objects.get()
    now = timezone.now()
    key.expires_at = now - timedelta(minutes=1)
    key.save()
    saved()
    outcome = restore(1, "ivan")
    assert ApiKey.objects.get().expires_at == key.expires_at
    assert any("has expired" in note for note in outcome.notes)
    # One that has not is given the time back that somebody took by mistake.
    key.expires_at = now + timedelta(days=1)
    key.save()
    saved()
    restore(1, "ivan")
    assert ApiKey.objects.get().expires_at is None


def test_who_owns_which_file_is_not_forgotten(begun: Route) -> None:
    files = make_provider("vendor", base_url="https://files.example/v1")
    number = saved()
    second = make_credential(files, label="second")
    last = saved()
    OwnedObject.objects.create(
        kind="file", upstream_id="file-1", provider=files, credential=second, team=Team.objects.get()
    )
    for back, to in ((restore, 1), (undo, number), (undo, last)):
        with pytest.raises(RewindError, match=r"still used by: files and batches of teams \(1\)"):
            back(to, "ivan")
    assert OwnedObject.objects.get().credential == second
    assert latest() == last


def test_whose_membership_goes_is_said(begun: Route) -> None:
    team = Team.objects.create(name="others")
    number = saved()
    TeamMember.objects.create(team=team, user=make_staff())
    outcome = undo(number, "ivan")
    assert any("do not come back with it: 1" in note for note in outcome.notes)
