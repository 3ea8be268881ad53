"""Lines of the journal as rows: written in batches, in one transaction each, and however often a batch is
sent, it counts once."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import partial
from typing import Any, TypeVar

from django.db import DataError, IntegrityError, OperationalError, connection, models, transaction

from accounts.ledger.rows import AttemptEntry, LedgerCut, RequestEntry
from accounts.ledger.sums import add, sums_of

Row = dict[str, Any]
Result = TypeVar("Result")

# Requests in one transaction: some tens of milliseconds, and less than SQLite's bound on parameters.
BATCH = 200
# What a database says of two transactions that wait for each other or contradict: the same again may pass.
_AGAIN = frozenset({"40001", "40P01"})
_TRIES = 5
_MAX_INT = 2**63 - 1
# Of a request that may still become something else. An orphan's end is a guess until its process says it.
_OPEN = ("reserved", "orphaned")


@dataclass(slots=True)
class Work:
    """What some lines say of one request."""

    opening: Row | None = None
    raised: Row | None = None
    end: Row | None = None
    attempts: dict[int, Row] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Written:
    """What became of lines: `ended` requests, `stale` ones that belong to days that were deleted, and
    `unreadable` lines."""

    ended: int = 0
    stale: int = 0
    unreadable: int = 0


def write(lines: Iterable[bytes], process: str) -> Written:
    """Write what the lines say. `process`: whose they are. Blocks. Raises DatabaseError, and then has written
    whole batches or nothing of them."""
    works, unreadable = _gathered(lines)
    cut = LedgerCut.objects.filter(team_id=0).values_list("before", flat=True).first()
    fresh = {name: work for name, work in works.items() if not _is_stale(work, cut)}
    ended = 0
    # In one order everywhere, so that two processes never wait for each other.
    names = sorted(fresh)
    for begin in range(0, len(names), BATCH):
        batch = {name: fresh[name] for name in names[begin : begin + BATCH]}
        try:
            ended += again(partial(_write, batch, process))
        except (IntegrityError, DataError):
            done, refused = _one_by_one(batch, process)
            ended += done
            unreadable += refused
    return Written(ended, len(works) - len(fresh), unreadable)


def _one_by_one(works: Mapping[str, Work], process: str) -> tuple[int, int]:
    """What the database takes of a batch that it has refused, so that one bad line does not hold up all that
    come after it. How many requests were ended, and how many refused."""
    ended = refused = 0
    for name, work in works.items():
        try:
            ended += again(partial(_write, {name: work}, process))
        except (IntegrityError, DataError):
            refused += 1
    return ended, refused


def again(job: Callable[[], Result]) -> Result:
    """Do a transaction, and do it again where the database asks for that."""
    for tried in range(1, _TRIES + 1):
        try:
            with transaction.atomic():
                return job()
        except OperationalError as error:
            if tried == _TRIES or getattr(error.__cause__, "sqlstate", None) not in _AGAIN:
                raise
            time.sleep(random.random() * 0.05 * tried)
    raise AssertionError("the last try raises")


def _gathered(lines: Iterable[bytes]) -> tuple[dict[str, Work], int]:
    works: dict[str, Work] = {}
    unreadable = 0
    for line in lines:
        try:
            said = json.loads(line)
            work = works.setdefault(str(said["request_id"])[:64], Work())
            _take(work, said)
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, OSError):
            # Half a line after a crash of the machine, or a hand in the file.
            unreadable += 1
    return works, unreadable


def _take(work: Work, said: Mapping[str, Any]) -> None:
    if "open" in said:
        work.opening = _whole(said["open"])
    if "raised" in said:
        work.raised = _clean(RequestEntry, said["raised"])
    if "attempt" in said:
        attempt = _clean(AttemptEntry, said["attempt"])
        work.attempts.setdefault(attempt["number"], attempt)
    if "end" in said:
        work.end = _whole(said["end"])
        for each in said["attempts"]:
            attempt = _clean(AttemptEntry, each)
            work.attempts[attempt["number"]] = attempt


def _whole(said: Mapping[str, Any]) -> Row:
    """A row with all that one needs. Raises KeyError."""
    row = _clean(RequestEntry, said)
    for name in ("at", "surface", "team_id", "team", "key_id", "key", "model"):
        _ = row[name]
    return row


def _clean(model: type[models.Model], said: Mapping[str, Any]) -> Row:
    """The columns that this version knows, as the database takes them."""
    row = {}
    for name, value in said.items():
        column = _COLUMNS[model].get(name)
        if column is None:
            continue
        if isinstance(column, models.CharField):
            value = str(value).replace("\0", "?")[: column.max_length]
        elif isinstance(column, models.DateTimeField):
            value = datetime.fromtimestamp(value, UTC)
        elif isinstance(value, int) and not isinstance(value, bool):
            value = max(-_MAX_INT, min(value, _MAX_INT))
        row[name] = value
    return row


def _is_stale(work: Work, cut: date | None) -> bool:
    """Whether it is of a day whose requests were deleted: if it was written before, it would count again."""
    row = work.end or work.opening
    return row is not None and cut is not None and bool(row["at"].date() < cut)


def _write(works: Mapping[str, Work], process: str) -> int:
    """One batch, within a transaction. How many requests it has ended."""
    known: dict[str, Row] = {
        row["request_id"]: dict(row)
        for row in RequestEntry.objects.select_for_update()
        .filter(request_id__in=list(works))
        .order_by("request_id")
        .values()
    }
    beginning = [
        _row(_BEGIN, {"request_id": name, "process": process, **work.opening, **(work.raised or {})})
        for name, work in works.items()
        if work.opening is not None and work.end is None and name not in known
    ]
    pks = dict(insert(RequestEntry, _BEGIN, beginning, "DO NOTHING", ("request_id", "id")))
    ending = [
        _row(_END, {"request_id": name, "process": process, **_corrected(work.end, known.get(name))})
        for name, work in works.items()
        if work.end is not None and (name not in known or known[name]["state"] in _OPEN)
    ]
    ended = dict(insert(RequestEntry, _END, ending, _ENDS, ("request_id", "id")))
    for name, work in works.items():
        row = known.get(name)
        if work.end is None and row is not None and row["state"] == "reserved":
            pks[name] = row["id"]
            if work.raised is not None:
                RequestEntry.objects.filter(pk=row["id"]).update(**work.raised)
    _write_attempts(works, pks, "DO NOTHING")
    _write_attempts(works, ended, _ENDS_ATTEMPT)
    before = [known[name] for name in ended if name in known and known[name]["state"] == "orphaned"]
    after = [{**row, "request_id": name} for name, row in _ends(works, ended)]
    add(sums_of(after), sums_of(before))
    return len(ended)


def _ends(works: Mapping[str, Work], ended: Iterable[str]) -> Iterable[tuple[str, Row]]:
    for name in ended:
        end = works[name].end
        if end is not None:
            yield name, {**_DEFAULTS, **end}


def _corrected(end: Row, row: Row | None) -> Row:
    """The end, with a mark where it replaces a guess."""
    if row is None or row["state"] != "orphaned":
        return end
    return {**end, "flags": ",".join(filter(None, (end.get("flags", ""), "corrected")))}


def _write_attempts(works: Mapping[str, Work], pks: Mapping[str, int], conflict: str) -> None:
    rows = [
        _row(_ATTEMPT, {**_ATTEMPT_DEFAULTS, **attempt, "request_id": pks[name]})
        for name in pks
        for _, attempt in sorted(works[name].attempts.items())
    ]
    for begin in range(0, len(rows), BATCH * 4):
        insert(AttemptEntry, _ATTEMPT, rows[begin : begin + BATCH * 4], conflict, ("id",))


def insert(
    model: type[models.Model],
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    conflict: str,
    answer: Sequence[str],
) -> list[tuple[Any, ...]]:
    """Insert rows and say what `answer` of those that were inserted or changed, which no method of Django's
    does. `conflict`: what comes after its unique columns."""
    if not rows:
        return []
    table = model._meta.db_table
    one = f"({', '.join(['%s'] * len(columns))})"
    sql = (
        f"INSERT INTO {table} ({', '.join(columns)}) VALUES {', '.join([one] * len(rows))} "  # noqa: S608 - names of our own columns
        f"ON CONFLICT ({_UNIQUE[model]}) {conflict} RETURNING {', '.join(answer)}"
    )
    with connection.cursor() as cursor:
        cursor.execute(sql, [_adapted(value) for row in rows for value in row])
        return list(cursor.fetchall())


def _adapted(value: Any) -> Any:
    if isinstance(value, datetime):
        return connection.ops.adapt_datetimefield_value(value)
    return connection.ops.adapt_datefield_value(value) if isinstance(value, date) else value


def _row(columns: Sequence[str], values: Mapping[str, Any]) -> list[Any]:
    return [values[name] if name in values else _DEFAULTS[name] for name in columns]


def _named(model: type[models.Model]) -> dict[str, models.Field[Any, Any]]:
    return {column.attname: column for column in model._meta.concrete_fields if column.attname != "id"}


def _defaults(model: type[models.Model]) -> Row:
    return {column.attname: column.get_default() for column in model._meta.concrete_fields}


_COLUMNS = {RequestEntry: _named(RequestEntry), AttemptEntry: _named(AttemptEntry)}
_UNIQUE: dict[type[models.Model], str] = {RequestEntry: "request_id", AttemptEntry: "request_id, number"}
_DEFAULTS = {**_defaults(RequestEntry), "state": "reserved"}
_ATTEMPT_DEFAULTS = _defaults(AttemptEntry)
_BEGIN = tuple(_COLUMNS[RequestEntry])
_END = _BEGIN
_ATTEMPT = tuple(_COLUMNS[AttemptEntry])


def _replacing(model: type[models.Model], columns: Sequence[str], states: Sequence[str]) -> str:
    table = model._meta.db_table
    changed = ", ".join(f"{name} = excluded.{name}" for name in columns if name != "request_id")
    among = ", ".join(f"'{state}'" for state in states)
    return f"DO UPDATE SET {changed} WHERE {table}.state IN ({among})"


_ENDS = _replacing(RequestEntry, _END, _OPEN)
_ENDS_ATTEMPT = _replacing(AttemptEntry, _ATTEMPT, _OPEN)
