"""Lays a draft's rows into the tables within a transaction that is taken back, and keeps what was changed
meanwhile: whatever edits the tables edits a draft by it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from django.db import IntegrityError, connection, models, transaction
from django.db.models import ProtectedError
from django.utils import timezone

from accounts.acting import acting_id
from accounts.audit import entry
from providers.models import Credential
from routing.freeze import only_tried
from routing.history import STEERING, Place, State, Values, made
from routing.models_approvals import ASKED, FORCED, VOID, Approval
from routing.models_drafts import Draft, DraftRow
from routing.revisions import hold
from routing.row_names import name
from routing.standing import MARK, Kept, sealed_of, standing_rows

_ORDER = list(STEERING)


class DraftError(Exception):
    """It cannot be done with this draft. `problems`: one line each."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = list(problems)


class Clash(NamedTuple):
    """Somebody has changed what the draft changes. `column`: "" for the whole row, which is gone or is to be
    deleted."""

    place: Place
    column: str
    was: Any
    theirs: Any
    mine: Any


@dataclass(slots=True)
class Laid:
    """The tables before a draft was laid into them, and what in it clashes with them. `wanted`: how its rows
    are to be."""

    rows: dict[Place, DraftRow]
    now: State
    clashes: list[Clash] = field(default_factory=list)
    wanted: dict[Place, Values | None] = field(default_factory=dict)


def lay(draft: Draft) -> Laid:
    """Bring a draft's rows into the tables, others' changes of other columns kept; where two have changed the
    same, the draft's stands and the clash is named. Within the caller's transaction, which holds. Raises
    DraftError."""
    rows = {Place(row.table, row.row): row for row in draft.rows.all()}
    laid = Laid(rows, standing_rows())
    for place, row in rows.items():
        _merge(place, row, laid)
    try:
        with transaction.atomic():
            _bring(laid)
    except IntegrityError as error:
        words = "Something published since stands in its way, such as another object of the same name."
        raise DraftError([words]) from error
    return laid


@contextmanager
def looked_at(draft: Draft) -> Iterator[Laid]:
    """Within it the tables are as the draft would have them; afterwards nothing has happened."""
    with transaction.atomic(), only_tried():
        hold()
        yield lay(draft)
        transaction.set_rollback(True)


@contextmanager
def drafting(draft: Draft, *, published: bool = False) -> Iterator[None]:
    """Whatever changes the tables within it changes the draft instead. With `published` the tables are as
    they are, and what is changed of them is added to what the draft holds. Raises DraftError."""
    with transaction.atomic():
        hold()
        draft.refresh_from_db()
        if not draft.standing:
            raise DraftError([f"The draft {draft} is {draft.get_state_display()}: it cannot be edited."])
        with transaction.atomic(), only_tried():
            laid = Laid({}, standing_rows()) if published else lay(draft)
            yield
            kept = _caught(laid)
            transaction.set_rollback(True)
        keep(draft, _added(_held(draft), kept) if published else kept)


def keep(draft: Draft, kept: Mapping[Place, Kept]) -> None:
    """Let a draft hold these rows and no others; an approval that was asked for is void by it. Within the
    caller's transaction, which holds."""
    before = _held(draft)
    touched = sorted(
        place for place in before.keys() | kept.keys() if _meant(before.get(place)) != _meant(kept.get(place))
    )
    draft.rows.all().delete()
    DraftRow.objects.bulk_create(
        DraftRow(draft=draft, table=place.table, row=place.row, **row._asdict())
        for place, row in sorted(kept.items())
    )
    _reserve(place for place, row in kept.items() if row.base is None)
    if not touched:
        return
    touch(draft)
    names = states_of(kept)
    told = {name(place, *names, *states_of(before)): "edited" for place in touched[:50]}
    entry(f"draft {draft}", "changed", {**told, "objects": [len(before), len(kept)]}).save()


def _held(draft: Draft) -> dict[Place, Kept]:
    return {
        Place(row.table, row.row): Kept(row.base, row.values, row.sealed, row.destination)
        for row in draft.rows.all()
    }


def _added(held: Mapping[Place, Kept], edit: Mapping[Place, Kept]) -> dict[Place, Kept]:
    """What a draft holds, and over it what an edit of the published rows changes: of a row the columns that
    differ, so that the rest of what the draft says of it stays."""
    added = dict(held)
    for place, new in edit.items():
        old = held.get(place)
        if old is None or old.base is None or old.values is None or new.base is None or new.values is None:
            added[place] = new
            continue
        changed = {key for key, value in new.values.items() if new.base.get(key) != value}
        base = {**old.base, **{key: new.base.get(key) for key in changed}}
        values = {**old.values, **{key: new.values[key] for key in changed}}
        secret = (new if new.sealed else old)[2:]
        added[place] = Kept(base, values, *secret)
    return added


def touch(draft: Draft, editor: int | None = None) -> None:
    """It is another one now, by whoever asks (`editor`: by this user). What was asked about the one before is
    answered by that."""
    who = editor if editor is not None else acting_id()
    if who is not None and who not in (draft.editors or ()):
        draft.editors = [*(draft.editors or ()), who]
    draft.changed = timezone.now()
    draft.save()
    for approval in draft.approvals.filter(state=ASKED):
        answer(approval, VOID, "", "The draft was edited after approval was asked for.")


def answer(approval: Approval, state: str, author: str, words: str) -> None:
    """Write down what became of a request, in the row and in the audit log."""
    told = {VOID: "voided", FORCED: "broke the glass"}.get(state, state)
    approval.state, approval.words = state, words[:500]
    approval.answered_by, approval.answered = author[:150], timezone.now()
    approval.save()
    fields: dict[str, Any] = {"asked by": approval.asked_by, "risks": approval.risks[:50]}
    entry(str(approval), told, fields | ({"words": words} if words else {}), author).save()


def states_of(rows: Mapping[Place, Kept]) -> tuple[State, State]:
    """As states, for names."""
    after = {place: row.values for place, row in rows.items() if row.values is not None}
    before = {place: row.base for place, row in rows.items() if row.base is not None}
    return after, before


def _meant(row: Kept | None) -> Any:
    """What is to become of a row, whatever it was."""
    if row is None or row.values is None or row.base is None:
        return None if row is None else row.values
    return {key: value for key, value in row.values.items() if row.base.get(key) != value}


def _merge(place: Place, row: DraftRow, laid: Laid) -> None:
    there = laid.now.get(place)
    if row.values is None:
        if there is not None:
            laid.wanted[place] = None
            if there != row.base:
                laid.clashes.append(Clash(place, "", row.base, there, None))
    elif row.base is None:
        if there is None:
            laid.wanted[place] = row.values
        else:
            laid.clashes.append(Clash(place, "", None, there, row.values))
    elif there is None:
        laid.clashes.append(Clash(place, "", row.base, None, row.values))
    else:
        merged = dict(there)
        for key, mine in row.values.items():
            was, theirs = row.base.get(key), there.get(key)
            if mine == was:
                continue
            merged[key] = mine
            if theirs not in (was, mine):
                laid.clashes.append(Clash(place, key, was, theirs, mine))
        laid.wanted[place] = merged


def _bring(laid: Laid) -> None:
    """Change the tables. What goes makes room first, unless another row still needs it."""
    going = [place for place, values in laid.wanted.items() if values is None]
    late = [place for place in sorted(going, key=_last_first) if not _deleted(place)]
    for place in sorted(laid.wanted, key=lambda each: (_ORDER.index(each.table), each.row)):
        values = laid.wanted[place]
        if values is not None:
            _write(place, values, laid)
    for place in late:
        if not _deleted(place):
            raise DraftError([f"{name(place, laid.now)} is still used by something that stays."])


def _last_first(place: Place) -> tuple[int, int]:
    return -_ORDER.index(place.table), place.row


def _deleted(place: Place) -> bool:
    """False: something that is there needs it."""
    row = STEERING[place.table]._default_manager.filter(pk=place.row).first()
    try:
        if row is not None:
            row.delete()
    except ProtectedError:
        return False
    return True


def _write(place: Place, values: Values, laid: Laid) -> None:
    model, was = STEERING[place.table], laid.now.get(place)
    draft_row = laid.rows[place]
    if was is None:
        row: models.Model = made(model, {"id": place.row, **values})
        if isinstance(row, Credential):
            row.sealed = draft_row.sealed
        row.save(force_insert=True)
        return
    columns = {key: value for key, value in values.items() if was.get(key) != value}
    shown = made(model, columns)
    changed = {key: getattr(shown, key) for key in columns if key in shown.__dict__}
    if draft_row.sealed:
        changed["sealed"] = draft_row.sealed
    if changed:
        model._default_manager.filter(pk=place.row).update(**changed)


def _caught(laid: Laid) -> dict[Place, Kept]:
    """What the tables have now that they had not before, as rows for the draft. A clash stays one until
    somebody decides it."""
    result = standing_rows()
    clashes: dict[Place, list[Clash]] = {}
    for clash in laid.clashes:
        clashes.setdefault(clash.place, []).append(clash)
    kept: dict[Place, Kept] = {}
    for place in laid.now.keys() | result.keys():
        was, values = laid.now.get(place), result.get(place)
        if was == values:
            continue
        base = was
        for clash in clashes.get(place, ()):
            base = clash.was if not clash.column else {**(base or {}), clash.column: clash.was}
        kept[place] = Kept(base, values, *_secret(place, was, values, laid))
    for place in clashes.keys() - kept.keys():
        if place not in result:
            # Gone by another's hand: whoever sees the clash decides.
            old = laid.rows[place]
            kept[place] = Kept(old.base, old.values, old.sealed, old.destination)
    return kept


def _secret(place: Place, was: Values | None, values: Values | None, laid: Laid) -> tuple[str, str]:
    if place.table != "credential" or values is None or (was or {}).get(MARK) == values.get(MARK):
        return "", ""
    sealed, destination = sealed_of(place.row)
    old = laid.rows.get(place)
    # The draft's address may have moved on; what the secret was entered for has not.
    return sealed, old.destination if old is not None and old.sealed == sealed else destination


def _reserve(places: Iterable[Place]) -> None:
    """What was rolled back gives its numbers to the next row on SQLite: those of a draft's rows are taken.
    PostgreSQL gives none twice."""
    if connection.vendor != "sqlite":
        return
    highest: dict[str, int] = {}
    for place in places:
        table = STEERING[place.table]._meta.db_table
        highest[table] = max(highest.get(table, 0), place.row)
    with connection.cursor() as cursor:
        for table, number in highest.items():
            cursor.execute("UPDATE sqlite_sequence SET seq = max(seq, %s) WHERE name = %s", [number, table])
            if not cursor.rowcount:
                cursor.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (%s, %s)", [table, number])
