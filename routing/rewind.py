"""Brings rows to how they stood once: a revision taken back, or an old state restored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.db import IntegrityError, models, transaction
from django.db.models import ProtectedError
from django.utils import timezone

from accounts.models import TeamMember
from providers.models import Credential, Provider
from routing.history import SECRET, STEERING, Place, State, Values, before_and_after, made, present, state_at
from routing.models import OwnedObject, Route, check_targets
from routing.revisions import Change, hold, publish
from routing.row_names import name, named

# What stays as it is whatever is taken back: a key that was revoked was revoked for a reason, and a key that
# was deleted is in somebody's hands. A secret stays, so its ending does. And what follows the environment is
# given its secrets and its address at the next start: nobody is to point the two at each other from here.
_KEPT: Mapping[str, frozenset[str]] = {
    "key": frozenset({"revoked_at", "replaces_id"}),
    "provider": frozenset({"managed_by_env"}),
    "credential": frozenset({"last4", "managed_by_env"}),
}
_PRIVATE = "allow_private_addresses"
_NOT_MADE_AGAIN: Mapping[str, str] = {
    "credential": "its secret is not kept in the history: add it anew",
    "key": "a deleted key does not come back: issue another one",
}


class RewindError(Exception):
    """It cannot be taken back. `problems`: one line each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(slots=True)
class Outcome:
    """What was changed, and what could not come back, in words. `revision`: what was published, None where
    nothing changed. `private`: whether a provider may get into the private network by it."""

    private: bool = False
    changes: list[Change] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    revision: int | None = None


def undo(
    number: int, author: str, places: frozenset[Place] | None = None, *, private: bool = False
) -> Outcome:
    """Take back what revision `number` changed: all of it, or the rows in `places`, as one new revision.
    `private`: may let providers into the private network again, as superusers and the command line may.

    Raises RewindError where a later revision has changed one of the rows, or where what would come out
    cannot be; UnknownRevisionError.
    """
    with transaction.atomic():
        hold()
        before, after = before_and_after(number)
        wanted: dict[Place, Values | None] = {
            place: before.get(place)
            for place in before.keys() | after.keys()
            if places is None or place in places
        }
        now = present()
        moved = sorted(place for place in wanted if now.get(place) != after.get(place))
        if moved:
            words = [f"{name(place, after, before)} was changed again since." for place in moved]
            raise RewindError([*words, "Take the later revisions back first, or restore a whole state."])
        part = "" if places is None else " in part"
        return _published(wanted, now, Outcome(private), (author, f"revision {number} taken back{part}"))


def restore(number: int, author: str, *, private: bool = False) -> Outcome:
    """Bring everything to how it stood as of revision `number`, as one new revision; `private` as of undo.
    Raises RewindError, UnknownRevisionError."""
    with transaction.atomic():
        hold()
        now = present()
        wanted = _difference(state_at(number), now)
        return _published(wanted, now, Outcome(private), (author, f"as of revision {number} again"))


def _difference(wanted: State, now: State) -> dict[Place, Values | None]:
    return {
        place: wanted.get(place)
        for place in wanted.keys() | now.keys()
        if wanted.get(place) != now.get(place)
    }


def _published(
    wanted: Mapping[Place, Values | None], now: State, outcome: Outcome, why: tuple[str, str]
) -> Outcome:
    author, reason = why
    try:
        _bring(wanted, now, outcome)
    except IntegrityError as error:
        raise RewindError(
            ["A row that is there now stands in the way of one that would come back."]
        ) from error
    _check(outcome)
    if outcome.changes:
        outcome.revision = publish(author, reason, outcome.changes)
    return outcome


def _bring(wanted: Mapping[Place, Values | None], now: State, outcome: Outcome) -> None:
    """Change the rows. Whoever is referred to is made first and goes last."""
    order = list(STEERING)
    names: State = {place: values for place, values in wanted.items() if values is not None} | dict(now)
    for place in sorted(wanted, key=lambda place: (order.index(place.table), place.row)):
        values = wanted[place]
        if values is not None:
            _set(place, values, now.get(place), outcome, names)
    for place in sorted(wanted, key=lambda place: (-order.index(place.table), place.row)):
        if wanted[place] is None and place in now:
            _remove(place, outcome, names)


def _part_secrets(provider: Provider, before: str) -> bool:
    """A secret that was entered for one address is not sent to another, whoever brings that back, and in
    however many steps. `before`: where they went. Whether any was in use."""
    secrets = Credential.objects.filter(provider=provider)
    at_home = list(secrets.filter(entered_for=provider.destination).values_list("pk", flat=True))
    used = secrets.filter(enabled=True).exists()
    secrets.filter(entered_for="").update(entered_for=before, enabled=False)
    secrets.filter(pk__in=at_home).update(entered_for="")
    return used


def _set(place: Place, values: Values, was: Values | None, outcome: Outcome, names: State) -> None:
    if was is None and place.table in _NOT_MADE_AGAIN:
        outcome.notes.append(f"{name(place, names)}: {_NOT_MADE_AGAIN[place.table]}.")
        return
    model = STEERING[place.table]
    columns = _allowed(place, values, was, outcome, names)
    if was is None:
        row = made(model, {"id": place.row, **columns})
        row.save(force_insert=True)
    else:
        changed = {key: value for key, value in columns.items() if was.get(key) != value}
        if not changed:
            return
        row = model._default_manager.get(pk=place.row)
        before = row.destination if isinstance(row, Provider) else ""
        for key, value in made(model, changed).__dict__.items():
            if key in changed:
                setattr(row, key, value)
        row.save(update_fields=[_field(model, key) for key in changed])
        if isinstance(row, Provider) and row.destination != before and _part_secrets(row, before):
            words = "its address is another one, so its credentials are disabled: enter their secrets anew"
            outcome.notes.append(f"{name(place, names)}: {words}.")
    outcome.changes.append(_change(place, was, {**(was or {}), **columns}, names))


def _allowed(place: Place, values: Values, was: Values | None, outcome: Outcome, names: State) -> Values:
    """The columns that come back; of what may not be opened by a way back it is said that it stays."""
    kept = frozenset() if was is None else _KEPT.get(place.table, frozenset())
    columns = {key: value for key, value in values.items() if key not in kept}
    now, notes = was or {}, []
    if place.table == "provider" and columns.get(_PRIVATE) and not (outcome.private or now.get(_PRIVATE)):
        columns[_PRIVATE] = False
        notes.append("private addresses stay refused: only a superuser may allow them")
    elif place.table == "credential":
        if values.get("last4") != now.get("last4"):
            notes.append("its secret stays the one that it has now")
        apart = Credential.objects.filter(pk=place.row).exclude(entered_for="").exists()
        if apart and columns.get("enabled"):
            columns["enabled"] = False
            notes.append("stays disabled, for its secret was entered for another address: enter it anew")
    elif place.table == "key" and _expired(now) and columns.get("expires_at") != now["expires_at"]:
        columns["expires_at"] = now["expires_at"]
        notes.append("it has expired and stays so")
    outcome.notes += [f"{name(place, names)}: {note}." for note in notes]
    return columns


def _expired(key: Values) -> bool:
    until = key.get("expires_at")
    return until is not None and datetime.fromisoformat(until) <= timezone.now()


def _field(model: type[models.Model], column: str) -> str:
    return next(field.name for field in model._meta.concrete_fields if field.attname == column)


def _remove(place: Place, outcome: Outcome, names: State) -> None:
    model = STEERING[place.table]
    row = model._default_manager.filter(pk=place.row).first()
    if row is None:
        # It went with the row that it belonged to.
        return
    _spare(place, outcome, names)
    try:
        row.delete()
    except ProtectedError as error:
        others = ", ".join(sorted({str(each._meta.verbose_name) for each in error.protected_objects}))
        raise RewindError([f"{name(place, names)} is still used by: {others}."]) from None
    outcome.changes.append(_change(place, names.get(place), None, names))


def _spare(place: Place, outcome: Outcome, names: State) -> None:
    """What hangs on a row and is in no revision goes for good: refused for files, said of members."""
    if place.table in ("provider", "credential"):
        files = OwnedObject.objects.filter(**{place.table: place.row}).count()
        if files:
            raise RewindError(
                [f"{name(place, names)} is still used by: files and batches of teams ({files})."]
            )
    if place.table == "team":
        members = TeamMember.objects.filter(team=place.row).count()
        if members:
            words = f"members who go with it and do not come back with it: {members}"
            outcome.notes.append(f"{name(place, names)}: {words}.")


def _change(place: Place, was: Values | None, values: Values | None, names: State) -> Change:
    """For a revision's summary."""
    if values is None:
        return {"object": name(place, names), "action": "deleted", "fields": {}}
    hidden = SECRET.get(place.table, frozenset()) | {"digest"}
    before = was or {}
    fields: dict[str, Any] = {
        key: [before.get(key), value]
        for key, value in values.items()
        if key not in hidden and before.get(key) != value
    }
    action = "added" if was is None else "changed"
    return {"object": name(place, {place: values}, names), "action": action, "fields": named(fields, names)}


def _check(outcome: Outcome) -> None:
    """Refuse what no form would have let through."""
    problems: list[str] = []
    for route in Route.objects.filter(enabled=True).prefetch_related("targets"):
        try:
            check_targets((target.weight, target.enabled, target.after) for target in route.targets.all())
        except ValidationError as error:
            problems += [f"route {route}: {words}" for words in error.messages]
    if problems:
        raise RewindError([*problems, *outcome.notes])
