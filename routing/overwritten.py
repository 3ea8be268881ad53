"""Tells which edits of people a revision has written over: for whoever applies a file, which knows nothing of
them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from django.db.models import Min

from routing.history import Place, State, Values, present
from routing.models import Revision
from routing.models_history import RowVersion
from routing.row_names import name
from routing.seed import AUTHOR

# How revisions that a file made say so.
APPLIED = "config apply "
_SECRET = "secret"  # noqa: S105 - what people call the column, not one


class _Lost(NamedTuple):
    """Columns of a row that a revision set, and that are something else now; none: the row is gone. `was`:
    the row as it was."""

    place: Place
    was: Values
    revision: int
    columns: list[str]


def overwritten(number: int) -> list[str]:
    """Of what revision `number` changed or deleted, what somebody had set by hand, one line for each object
    and each of his revisions. A start and `config apply` are nobody's hand; of what is older than the history
    nobody knows whose it is."""
    first: int = RowVersion.objects.aggregate(first=Min("since"))["first"] or 0
    ended = RowVersion.objects.filter(until=number, values__isnull=False).order_by("table", "row")
    lost = [each for version in ended for each in _lost(version, number) if each.revision != first]
    by = Revision.objects.in_bulk({each.revision for each in lost})
    hands = [each for each in lost if each.revision in by and _by_hand(by[each.revision])]
    now = present() if hands else {}
    return [_line(each, by[each.revision], now) for each in hands]


def _lost(version: RowVersion, number: int) -> Iterator[_Lost]:
    after = RowVersion.objects.filter(table=version.table, row=version.row, since=number).first()
    place = Place(version.table, version.row)
    if after is None or after.values is None:
        yield _Lost(place, version.values or {}, version.since, [])
        return
    before, now = _columns(version), _columns(after)
    rows = RowVersion.objects.filter(table=version.table, row=version.row, since__lt=version.since)
    older = list(rows.order_by("-since"))
    found: dict[int, list[str]] = {}
    for column in before:
        if now.get(column) != before[column]:
            found.setdefault(_set_at(column, version, older), []).append(column)
    for revision, columns in sorted(found.items()):
        yield _Lost(place, version.values or {}, revision, columns)


def _set_at(column: str, version: RowVersion, older: Iterable[RowVersion]) -> int:
    """The revision that gave the column the value that it has in this version."""
    value, since = _columns(version)[column], version.since
    for each in older:
        if each.values is None or _columns(each).get(column) != value:
            break
        since = each.since
    return since


def _columns(version: RowVersion) -> dict[str, object]:
    return {**(version.values or {}), _SECRET: version.mark}


def _by_hand(revision: Revision) -> bool:
    return revision.author != AUTHOR and not revision.reason.startswith(APPLIED)


def _line(lost: _Lost, revision: Revision, now: State) -> str:
    what = name(lost.place, {lost.place: lost.was}, now)
    words = ", ".join(lost.columns) or "the object itself"
    return f"{what}: {words}, by {revision.author} in revision {revision.number} ({revision.reason})"
