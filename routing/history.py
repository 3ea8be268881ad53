"""How each row that steers traffic stood at each revision: written when a revision is published, and read
back as a state."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from hashlib import sha256
from types import MappingProxyType
from typing import Any, NamedTuple

from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import Min, Q, QuerySet

from accounts.models import ApiKey, Budget, Limit, Team
from accounts.row_ids import is_id
from providers.models import CatalogueModel, Credential, Provider
from routing.models import Revision, Route, Target
from routing.models_history import RowVersion
from routing.readable import readable

# In the order in which rows can be made: whoever is referred to comes first.
STEERING: Mapping[str, type[models.Model]] = {
    "team": Team,
    "provider": Provider,
    "credential": Credential,
    "key": ApiKey,
    "route": Route,
    "target": Target,
    "catalogue": CatalogueModel,
    "limit": Limit,
    "budget": Budget,
}
# What is never remembered: a secret that was replaced or taken away must not be found in the history, and
# what it was entered for is true of the one that is there.
SECRET: Mapping[str, frozenset[str]] = {"credential": frozenset({"sealed", "entered_for"})}
# Each insert carries so many rows at the most; SQLite takes 32,766 variables in one.
_BATCH = 500

_NOTHING = (0, None, None)

Values = dict[str, Any]


class Place(NamedTuple):
    """One row of one table."""

    table: str
    row: int


def place_of(words: str) -> Place | None:
    """The place that `route:12` names; None for what names none."""
    table, _, row = words.partition(":")
    return Place(table, int(row)) if table in STEERING and is_id(row) else None


# Rows that are there, with their columns. A row that is not there is not in it.
State = dict[Place, Values]


class UnknownRevisionError(Exception):
    """No state is recorded for this revision: it is from before the history began, or does not exist."""


def present() -> State:
    """The state as the tables have it. Reads all of them."""
    return {
        Place(table, row.pop("id")): row
        for table, model in STEERING.items()
        for row in _plain(readable(model._default_manager.order_by().values(*columns(table))))
    }


def columns(table: str) -> list[str]:
    """Names of the columns that are remembered, the primary key among them."""
    hidden = SECRET.get(table, frozenset())
    return [field.attname for field in STEERING[table]._meta.concrete_fields if field.attname not in hidden]


class Recorded(NamedTuple):
    """What a revision changes: of each row how it stood before and after, None for not at all, and all rows
    as they are now. `known`: not of the first revision, before which nothing was recorded. `replaced`:
    credentials with another secret, though it may end in the same letters. `ended`: the versions that end."""

    changed: dict[Place, tuple[Values | None, Values | None]]
    now: State
    known: bool
    replaced: frozenset[Place] = frozenset()
    ended: tuple[int, ...] = ()
    marks: Mapping[Place, str] = MappingProxyType({})


def mark(sealed: str) -> str:
    """Tells one sealed secret from another, and says nothing of it."""
    return sha256(sealed.encode()).hexdigest()[:16]


def look(number: int) -> Recorded:
    """What differs from the last revision, as revision `number` will have changed it. Writes nothing."""
    rows = RowVersion.objects.filter(until=None).values_list("pk", "table", "row", "values", "mark")
    standing = {Place(table, row): (pk, values, was) for pk, table, row, values, was in rows.order_by()}
    now, marks = present(), _marks()
    replaced = frozenset(
        place
        for place, found in marks.items()
        if standing.get(place, _NOTHING)[2] not in (None, found) and place in now
    )
    changed = {
        place: (standing.get(place, _NOTHING)[1], now.get(place))
        for place in standing.keys() | now.keys()
        if now.get(place) != standing.get(place, _NOTHING)[1] or place in replaced
    }
    ended = tuple(standing[place][0] for place in changed if place in standing)
    return Recorded(changed, now, number > 1, replaced, ended, marks)


def record(number: int, recorded: Recorded) -> None:
    """Write down what revision `number` changes. Runs in its transaction, once."""
    ended = recorded.ended
    for begin in range(0, len(ended), _BATCH):
        RowVersion.objects.filter(pk__in=ended[begin : begin + _BATCH]).update(until=number)
    RowVersion.objects.bulk_create(
        [
            RowVersion(
                table=place.table,
                row=place.row,
                since=number,
                values=values,
                mark=recorded.marks.get(place, ""),
            )
            for place, (_, values) in sorted(recorded.changed.items(), key=lambda each: each[0])
        ],
        batch_size=_BATCH,
    )


def mark_what_stands() -> None:
    """Mark the secrets of versions from before marks were written; at a start, before anything is changed."""
    marks = _marks()
    for version in RowVersion.objects.filter(table="credential", until=None, mark=None):
        version.mark = marks.get(Place("credential", version.row), "")
        version.save(update_fields=["mark"])


def _marks() -> dict[Place, str]:
    rows = Credential.objects.order_by().values_list("pk", "sealed")
    return {Place("credential", pk): mark(sealed) for pk, sealed in rows}


def state_at(number: int, only: Q | None = None) -> State:
    """The state as of a revision; `only`: of these versions. Raises UnknownRevisionError."""
    first: int | None = RowVersion.objects.aggregate(first=Min("since"))["first"]
    if first is None or number < first or not Revision.objects.filter(number=number).exists():
        raise UnknownRevisionError(f"No state is recorded for revision {number}.")
    versions = RowVersion.objects.filter(Q(until=None) | Q(until__gt=number), since__lte=number)
    return _state(versions if only is None else versions.filter(only))


def before_and_after(number: int) -> tuple[State, State]:
    """Of the rows that a revision changed, how they stood before and after it.

    Raises UnknownRevisionError for one that is not recorded, and for the first that is: before it there may
    have been anything.
    """
    first: int | None = RowVersion.objects.aggregate(first=Min("since"))["first"]
    if first is None or number <= first or not Revision.objects.filter(number=number).exists():
        raise UnknownRevisionError(f"What was before revision {number} is not recorded.")
    return _state(RowVersion.objects.filter(until=number)), _state(RowVersion.objects.filter(since=number))


def made(model: type[models.Model], columns: Values) -> models.Model:
    """A row of these columns; a column that a newer version added has its default, one that it took away is
    left."""
    known = {field.attname: field for field in model._meta.concrete_fields}
    return model(**{key: known[key].to_python(value) for key, value in columns.items() if key in known})


def _state(versions: QuerySet[RowVersion]) -> State:
    return {
        Place(table, row): values
        for table, row, values in versions.order_by().values_list("table", "row", "values")
        if values is not None
    }


def _plain(rows: Iterable[Values]) -> Iterable[Values]:
    """The rows as JSON gives them back, so that what is read from the history equals what is there."""
    for row in rows:
        yield json.loads(json.dumps(row, cls=DjangoJSONEncoder))
