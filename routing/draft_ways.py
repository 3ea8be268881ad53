"""What is done with a whole draft: begun, looked over, its clashes decided, published at once, or dropped."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, TypeVar

from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.utils import timezone

from accounts.acting import acting_id
from accounts.audit import entry
from providers.apps import vault
from providers.models import Credential, Provider
from routing.drafts import Clash, DraftError, Laid, answer, drafting, lay, looked_at, touch
from routing.history import SECRET, STEERING, Place, State, present
from routing.loader import build_snapshot
from routing.models import Route, check_targets
from routing.models_approvals import ASKED, WITHDRAWN
from routing.models_drafts import DROPPED, OPEN, PUBLISHED, Draft, DraftRow
from routing.rehearsal import Rehearsal
from routing.revisions import Change, describe, hold, latest, publish
from routing.row_names import name, named
from routing.snapshot import Snapshot
from routing.standing import MARK, standing_rows

LOOK_AGAIN = "It has changed since you looked at it: look again."
_UNSAID = (SECRET["credential"] - {"entered_for"}) | {"digest", "webhook_url", MARK}


Result = TypeVar("Result")


@dataclass(slots=True)
class Sight:
    """A draft as it would be published now. `print_`: of the changes; who publishes says it, so that
    nobody does so with what he has not seen."""

    changes: list[Change] = field(default_factory=list)
    clashes: list[Clash] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    print_: str = ""
    rehearsal: Rehearsal | None = None

    @property
    def lines(self) -> list[str]:
        """The changes in words."""
        return [describe(change) for change in self.changes]


def begin(title: str, author: str, note: str = "") -> Draft:
    """A new draft. Raises ValidationError."""
    who = acting_id()
    editors = None if who is None else [who]
    draft = Draft(name=title, note=note, author=author[:150], base=latest(), editors=editors)
    draft.full_clean()
    draft.save()
    entry(f"draft {draft}", "added", {"note": ["", note]} if note else {}, author).save()
    return draft


def open_draft(title: str) -> Draft | None:
    """The one of this name that can still be edited."""
    return Draft.objects.filter(name=title, state=OPEN).first()


def gathered(title: str, author: str, change: Callable[[], Result]) -> tuple[Draft, Result]:
    """Let what `change` changes go into the draft of this name, which is begun where there is none. What it
    publishes is taken back. Raises DraftError, ValidationError, and what `change` raises."""
    with transaction.atomic():
        hold()
        draft = open_draft(title) or begin(title, author)
        with drafting(draft):
            result = change()
    return draft, result


def seen(draft: Draft) -> Sight:
    """What publishing it would do. Nothing is changed. Blocks, and holds others' changes up."""
    with transaction.atomic():
        hold()
        rehearsal = Rehearsal(build_snapshot(vault()))
        try:
            with looked_at(draft) as laid:
                sight = sight_of(laid)
                rehearsal.after = build_snapshot(vault())
        except DraftError as error:
            return Sight(problems=error.problems)
    sight.rehearsal = rehearsal
    return sight


def snapshot_of(draft: Draft) -> Snapshot:
    """The configuration as the draft would have it, for whoever explains a request. Raises DraftError."""
    with looked_at(draft):
        return build_snapshot(vault())


def laid_to_publish(draft: Draft) -> tuple[Laid, Sight]:
    """What publishing it would change, with its rows laid, held until the transaction about it ends. Raises
    DraftError where something stands in its way."""
    hold()
    draft.refresh_from_db()
    must_stand(draft)
    laid = lay(draft)
    sight = sight_of(laid)
    if problems := stands_in_its_way(sight, laid):
        raise DraftError(problems)
    return laid, sight


def publish_draft(draft: Draft, user: Any, reason: str, print_: str = "") -> int:
    """All of it as one revision. `print_`: of what was seen; "": whatever it is now. `user`: None for the
    command line. Raises DraftError, PermissionDenied, FrozenError; then nothing has changed."""
    author = user.get_username() if user is not None else "command line"
    with transaction.atomic():
        laid, sight = laid_to_publish(draft)
        if print_ and print_ != sight.print_:
            raise DraftError([LOOK_AGAIN])
        if user is not None:
            check_rights(user, laid)
        number = publish(author, reason or f"draft {draft}", sight.changes)
        finish(draft, PUBLISHED, number)
        entry(f"draft {draft}", "published", {"objects": [0, len(sight.changes)]}, author).save()
    return number


def drop(draft: Draft, author: str) -> None:
    """It is not to be. Raises DraftError."""
    with transaction.atomic():
        hold()
        draft.refresh_from_db()
        must_stand(draft)
        for approval in draft.approvals.filter(state=ASKED):
            answer(approval, WITHDRAWN, author, "The draft was dropped.")
        finish(draft, DROPPED, None)
        entry(f"draft {draft}", "dropped", {}, author).save()


def clashes_of(sight: Sight) -> dict[str, list[str]]:
    """Each row that clashes once, by the words that `place_of` reads, with all that clashes in it."""
    clashes: dict[str, list[str]] = {}
    names = present() if sight.clashes else {}
    for each in sight.clashes:
        clashes.setdefault(f"{each.place.table}:{each.place.row}", []).append(words_of(each, names))
    return clashes


def decide(draft: Draft, place: Place | None, *, mine: bool) -> None:
    """Of all that clashes in one row, take the draft's (`mine`) or the one that is published. Raises
    DraftError."""
    if place is None:
        raise DraftError(["There is no such row."])
    with transaction.atomic():
        hold()
        draft.refresh_from_db()
        must_stand(draft)
        row = DraftRow.objects.filter(draft=draft, table=place.table, row=place.row).first()
        if row is None:
            return
        there = standing_rows().get(place)
        if not mine and (there is None or row.values is None or row.base is None):
            row.delete()
            _with_it(draft, place)
        else:
            _decided(row, there, mine=mine)
            row.save()
        touch(draft)
        words = "the draft's" if mine else "what is published"
        entry(f"draft {draft}", "decided", {f"{place.table} {place.row}": words}).save()


def words_of(clash: Clash, *states: State) -> str:
    """A clash for people. A secret is never shown."""
    what = name(clash.place, *states, {clash.place: clash.was or {}} if not clash.column else {})
    if clash.column in _UNSAID:
        return f"{what}: {clash.column} was changed meanwhile too."
    if clash.column:
        ((column, (was, theirs, mine)),) = named(
            {clash.column: [clash.was, clash.theirs, clash.mine]}, *states
        ).items()
        return f"{what}: {column} was {was!r}, is {theirs!r} since, and the draft says {mine!r}."
    if clash.theirs is None:
        return f"{what} was deleted meanwhile, and the draft changes it."
    return f"{what} was changed meanwhile, and the draft deletes or adds it."


def check_rights(user: Any, laid: Laid) -> None:
    """Raises PermissionDenied where `user` might not do one of its changes himself."""
    for place, values in laid.wanted.items():
        was = laid.now.get(place)
        if was == values:
            continue
        verb = "delete" if values is None else "add" if was is None else "change"
        meta = STEERING[place.table]._meta
        if not user.has_perm(f"{meta.app_label}.{verb}_{meta.model_name}"):
            raise PermissionDenied
        private = "allow_private_addresses"
        if values and values.get(private) and not (was or {}).get(private) and not user.is_superuser:
            raise PermissionDenied


def _with_it(draft: Draft, place: Place) -> None:
    """What would have gone with a row that stays, stays too."""
    for row in draft.rows.filter(values__isnull=True):
        if row.base is not None and row.base.get(f"{place.table}_id") == place.row:
            row.delete()


def _decided(row: DraftRow, there: Any, *, mine: bool) -> None:
    """Make the published row the base. Without `mine`, what differs from it is taken from it."""
    if mine and (there is None or row.values is None or row.base is None):
        row.base = there
        return
    base, values = dict(there), dict(there)
    for key, said in row.values.items():
        was = row.base.get(key)
        if said != was and (mine or there.get(key) in (was, said)):
            values[key] = said
    row.base, row.values = base, values
    if values.get(MARK) == base.get(MARK):
        row.sealed = row.destination = ""


def must_stand(draft: Draft) -> None:
    """Raises DraftError for one that is over."""
    if not draft.standing:
        raise DraftError([f"The draft {draft} is {draft.get_state_display()} already."])


def finish(draft: Draft, state: str, number: int | None) -> None:
    """It is over."""
    draft.state, draft.revision, draft.changed = state, number, timezone.now()
    draft.save()
    # What it was is in the revision; a secret of a draft that is over is nobody's.
    draft.rows.update(sealed="", destination="")


def stands_in_its_way(sight: Sight, laid: Laid) -> list[str]:
    """Why it cannot be published as it is."""
    if not sight.changes:
        return ["Nothing in it differs from how it is."]
    return [*(words_of(each, laid.now) for each in sight.clashes), *sight.problems]


def sight_of(laid: Laid) -> Sight:
    """Of what has just been laid."""
    result = standing_rows()
    places = sorted(place for place in laid.wanted if laid.now.get(place) != result.get(place))
    changes = [_change(place, laid.now, result) for place in places]
    said = [[*place, _fresh(laid.now.get(place), result.get(place))] for place in places]
    print_ = sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
    problems = [*_strangers(laid, result), *_unsound(laid), *_astray(laid, result)]
    return Sight(changes, list(laid.clashes), problems, print_)


def _fresh(was: Any, now: Any) -> Any:
    """What of a row differs."""
    if was is None or now is None:
        return [was, now]
    return {key: [was.get(key), value] for key, value in now.items() if was.get(key) != value}


def _change(place: Place, now: State, result: State) -> Change:
    was, values = now.get(place), result.get(place)
    what = name(place, result, now)
    if values is None:
        return {"object": what, "action": "deleted", "fields": {}}
    fields: dict[str, Any] = {
        key: [(was or {}).get(key), value]
        for key, value in values.items()
        if key not in _UNSAID and (was or {}).get(key) != value
    }
    if place.table == "credential" and (was or {}).get(MARK) != values.get(MARK):
        fields["secret"] = "entered" if was is None else "replaced"
    if (was or {}).get("webhook_url") != values.get("webhook_url"):
        fields["webhook_url"] = "replaced"
    action = "added" if was is None else "changed"
    return {"object": what, "action": action, "fields": named(fields, result, now)}


def _strangers(laid: Laid, result: State) -> list[str]:
    """What would change beside the draft: a row that was made since and hangs on one that goes."""
    return [
        f"{name(place, laid.now)} came since and would go with what the draft deletes: look at it first."
        for place in sorted(laid.now.keys() - result.keys() - laid.wanted.keys())
    ]


def _unsound(laid: Laid) -> list[str]:
    """What no form would let through, now that it stands beside others' changes."""
    problems: list[str] = []
    for place, values in sorted(laid.wanted.items(), key=lambda each: each[0]):
        row = STEERING[place.table]._default_manager.filter(pk=place.row).first() if values else None
        if row is None or values == laid.now.get(place):
            continue
        try:
            row.full_clean()
        except ValidationError as error:
            problems += [f"{name(place, {place: values or {}}, laid.now)}: {each}" for each in error.messages]
    for route in Route.objects.filter(enabled=True).prefetch_related("targets"):
        try:
            check_targets((target.weight, target.enabled, target.after) for target in route.targets.all())
        except ValidationError as error:
            problems += [f"route {route}: {words}" for words in error.messages]
    return problems


def _astray(laid: Laid, result: State) -> list[str]:
    """Secrets that would go to another address than they were entered for."""
    problems: list[str] = []
    moved = {
        place.row
        for place, values in laid.wanted.items()
        if place.table == "provider" and values and place in laid.now and _moves(laid.now[place], values)
    }
    for row in Credential.objects.filter(entered_for="", enabled=True).select_related("provider"):
        kept = laid.rows.get(Place("credential", row.pk))
        entered = kept is not None and bool(kept.sealed)
        wrong = kept.destination != row.provider.destination if kept and entered else None
        if wrong or (row.provider_id in moved and not entered):
            what = name(Place("credential", row.pk), result)
            problems.append(f"{what} of {row.provider}: its secret was entered for another address.")
    return problems


def _moves(was: Any, values: Any) -> bool:
    before, after = (Provider(kind=each["kind"], base_url=each["base_url"]) for each in (was, values))
    return before.destination != after.destination
