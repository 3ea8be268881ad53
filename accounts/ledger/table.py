"""Lines of the journal as rows: written in batches, in one transaction each, and however often a batch is
sent, it counts once."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cache, partial
from typing import Any, TypeVar

import orjson
from django.db import DataError, IntegrityError, OperationalError, connection, models, transaction

from accounts.ledger.lines import ATTEMPT_END, ENDING, OPENING
from accounts.ledger.rows import AttemptEntry, CredentialUse, LedgerCut, RequestEntry
from accounts.ledger.sums import add, sums_of

Values = list[Any]
Result = TypeVar("Result")

# Requests in one transaction: some tens of milliseconds.
BATCH = 500
# What a database says of two transactions that wait for each other or contradict: the same again may pass.
_AGAIN = frozenset({"40001", "40P01"})
_TRIES = 5
_MAX_INT = 2**63 - 1
# Nobody asks for a credential's last use more precisely, and so it is not a write for each batch.
_FINE = timedelta(seconds=10)
# Of a request that may still become something else. An orphan's end is a guess until its process says it.
_OPEN = ("reserved", "orphaned")
_AT, _STATE, _FLAGS = (ENDING.index(name) for name in ("at", "state", "flags"))


@dataclass(slots=True)
class Work:
    """What some lines say of one request: its columns by their places."""

    opening: Values | None = None
    raised: tuple[Any, Any] | None = None
    end: Values | None = None
    attempts: dict[int, Values] = field(default_factory=dict)


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
        except (IntegrityError, DataError, OverflowError):
            done, refused = _one_by_one(batch, process)
            ended += done
            unreadable += refused
    _note_uses(fresh.values())
    return Written(ended, len(works) - len(fresh), unreadable)


def _note_uses(works: Iterable[Work]) -> None:
    """When credentials were used last. After the batches and not within them: all processes write these few
    rows, and none is to wait for another's batch."""
    used: dict[int, datetime] = {}
    for end, attempts in ((work.end, work.attempts.values()) for work in works if work.end is not None):
        for number in (attempt[_CREDENTIAL] for attempt in attempts):
            if type(number) is int and 0 < number <= _MAX_INT:
                used[number] = max(used.get(number, end[_AT]), end[_AT])
    known = dict(
        CredentialUse.objects.filter(credential_id__in=list(used)).values_list("credential_id", "last_at")
    )
    rows = [
        [number, *[connection.ops.adapt_datetimefield_value(at)] * 2]
        for number, at in sorted(used.items())
        if number not in known or at - known[number] > _FINE
    ]
    again(partial(insert, CredentialUse, _USE_COLUMNS, rows, _USED))


def _one_by_one(works: Mapping[str, Work], process: str) -> tuple[int, int]:
    """What the database takes of a batch that it has refused, cut to measure, so that one bad line does not
    hold up all that come after it. How many requests were ended, and how many refused."""
    ended = refused = 0
    for name, work in works.items():
        try:
            ended += again(partial(_write, {name: _fitted(work)}, process))
        except (IntegrityError, DataError, OverflowError):
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
            kind, name, *said = orjson.loads(line)
            if not (type(name) is str and 0 < len(name) <= 64 and "\0" not in name):
                raise ValueError(name)
            _TAKE[kind](works, name, *said)
        except (ValueError, TypeError, KeyError, IndexError, OverflowError, OSError):
            # Half a line after a crash of the machine, or a hand in the file.
            unreadable += 1
    return works, unreadable


def _take_attempt(works: dict[str, Work], name: str, opening: Values | None, attempt: Values) -> None:
    number, values = int(attempt[0]), _padded(attempt, _ATTEMPT_DEFAULTS)
    opened = None if opening is None else _row(opening[: len(OPENING)])
    work = works.setdefault(name, Work())
    if opened is not None:
        work.opening = opened
    work.attempts.setdefault(number, values)


def _take_raise(works: dict[str, Work], name: str, tokens: int, cost: int | None) -> None:
    works.setdefault(name, Work()).raised = tokens, cost


def _take_end(works: dict[str, Work], name: str, end: Values, attempts: list[Values]) -> None:
    row = _row(end)
    made = {int(attempt[0]): _padded(attempt, _ATTEMPT_DEFAULTS) for attempt in attempts}
    work = works.setdefault(name, Work())
    work.end = row
    work.attempts.update(made)


_TAKE: Mapping[str, Callable[..., None]] = {"a": _take_attempt, "r": _take_raise, "e": _take_end}


def _row(said: Values) -> Values:
    """A whole row of a request. Raises what a line raises that says too little."""
    if len(said) < len(OPENING):
        raise ValueError("too short")
    row = _padded(said, _DEFAULTS)
    row[_AT] = datetime.fromtimestamp(row[_AT], UTC)
    return row


def _padded(said: Values, defaults: Sequence[Any]) -> Values:
    missing = len(defaults) - len(said)
    return said + list(defaults[-missing:]) if missing > 0 else said[: len(defaults)]


def _is_stale(work: Work, cut: date | None) -> bool:
    """Whether it is of a day whose requests were deleted: if it was written before, it would count again."""
    row = work.end or work.opening
    return row is not None and cut is not None and bool(row[_AT].date() < cut)


def _write(works: Mapping[str, Work], process: str) -> int:
    """One batch, within a transaction. How many requests it has ended."""
    known = _known(list(works))
    beginning = [
        (name, _raised(work.opening, work.raised))
        for name, work in works.items()
        if work.opening is not None and work.end is None and name not in known
    ]
    pks = dict(insert(RequestEntry, _COLUMNS, _sqled(beginning, process), "DO NOTHING"))
    ending = [
        (name, _corrected(work.end, known.get(name)))
        for name, work in works.items()
        if work.end is not None and (name not in known or known[name][1][_STATE] in _OPEN)
    ]
    ended = dict(insert(RequestEntry, _COLUMNS, _sqled(ending, process), _ENDS))
    for name, work in works.items():
        if work.end is None and name in known and known[name][1][_STATE] == "reserved":
            pks[name] = known[name][0]
            if work.raised is not None:
                tokens, cost = work.raised
                RequestEntry.objects.filter(pk=pks[name]).update(reserved_output=tokens, reserved_cost=cost)
    _write_attempts(works, pks, "DO NOTHING")
    _write_attempts(works, ended, _ENDS_ATTEMPT)
    before = [known[name][1] for name in ended if name in known and known[name][1][_STATE] == "orphaned"]
    after = [row for name in ended if (row := works[name].end) is not None]
    add(sums_of(after), sums_of(before))
    return len(ended)


def _known(names: Sequence[str]) -> dict[str, tuple[int, Values]]:
    """The rows that there are already, locked: their primary keys, and columns in the order of ENDING."""
    found = [name for name, _ in _found(names)]
    if not found:
        return {}
    rows = RequestEntry.objects.select_for_update().filter(request_id__in=found).order_by("request_id")
    return {name: (pk, values) for name, pk, *values in rows.values_list("request_id", "pk", *ENDING)}


def _raised(opening: Values, raised: tuple[Any, Any] | None) -> Values:
    if raised is None:
        return opening
    return [*opening[: len(OPENING) - 2], *raised, *opening[len(OPENING) :]]


def _corrected(end: Values, known: tuple[int, Values] | None) -> Values:
    """The end, with a mark where it replaces a guess."""
    if known is None or known[1][_STATE] != "orphaned":
        return end
    marked = list(end)
    marked[_FLAGS] = ",".join(filter(None, (end[_FLAGS], "corrected")))
    return marked


def _write_attempts(works: Mapping[str, Work], pks: Mapping[str, int], conflict: str) -> None:
    rows = [
        [pks[name], *work.attempts[number]]
        for name, work in works.items()
        if name in pks
        for number in sorted(work.attempts)
    ]
    for begin in range(0, len(rows), BATCH * 4):
        insert(AttemptEntry, _ATTEMPT_COLUMNS, rows[begin : begin + BATCH * 4], conflict)


def insert(
    model: type[models.Model], columns: Sequence[str], rows: Sequence[Values], conflict: str
) -> list[tuple[Any, Any]]:
    """Insert rows that are not there, or that `conflict` (what comes after the unique columns) changes. Of
    each that was inserted or changed the first column and the primary key, which no method of Django's says;
    of attempts SQLite says none."""
    if not rows:
        return []
    if connection.vendor == "postgresql":
        sql = _statement(model, columns, _unpacked(model, tuple(columns)), conflict)
        with connection.cursor() as cursor:
            cursor.execute(f"{sql} RETURNING {columns[0]}, id", [orjson.dumps(rows).decode()])
            return list(cursor.fetchall())
    # One small statement, prepared once: one that names all rows takes SQLite longer than the rows do. It
    # does not say what became of each, and need not: within this transaction nobody else writes, and the
    # caller has looked.
    sql = _statement(model, columns, f"VALUES ({', '.join(['%s'] * len(columns))})", conflict)
    with connection.cursor() as cursor:
        cursor.executemany(sql, rows)
    return [] if model is AttemptEntry else _found([row[0] for row in rows])


def _statement(model: type[models.Model], columns: Sequence[str], source: str, conflict: str) -> str:
    names = ", ".join(columns)
    table = model._meta.db_table
    return f"INSERT INTO {table} ({names}) {source} ON CONFLICT ({_UNIQUE[model]}) {conflict}"


def _found(names: Sequence[str]) -> list[tuple[str, int]]:
    """Which of these requests there are, with their primary keys. As one parameter: Django takes as long over
    hundreds of them as the database over the rows."""
    one_of = "IN (SELECT value FROM json_each(%s))"
    if connection.vendor == "postgresql":
        # An array, so that the plan is by the index whatever the table's statistics say.
        one_of = "= ANY (ARRAY (SELECT jsonb_array_elements_text(%s::jsonb)))"
    sql = f"SELECT request_id, id FROM {RequestEntry._meta.db_table} WHERE request_id {one_of}"  # noqa: S608 - a name of our own
    with connection.cursor() as cursor:
        cursor.execute(sql, [orjson.dumps(names).decode()])
        return list(cursor.fetchall())


@cache
def _unpacked(model: type[models.Model], columns: tuple[str, ...]) -> str:
    """Rows out of one parameter, an array of arrays as JSON. psycopg takes a third of a millisecond to write
    the fifty values of one request into a statement, which is nearly what the rest of a request costs."""
    known = {column.attname: column for column in model._meta.concrete_fields}
    cast = (f"(r->>{place})::{known[name].db_type(connection)}" for place, name in enumerate(columns))
    return f"SELECT {', '.join(cast)} FROM jsonb_array_elements(%s::jsonb) AS r"  # noqa: S608 - names of our own columns


def _sqled(rows: Iterable[tuple[str, Values]], process: str) -> list[Values]:
    """Rows in the order of _COLUMNS, each with its moment, which is in UTC, as the database takes it."""
    made = [[name, process, *row] for name, row in rows]
    if connection.vendor == "sqlite":
        for row in made:
            # As Django writes it, which takes four times as long over asking what is known here.
            row[_AT + 2] = str(row[_AT + 2].replace(tzinfo=None))
    return made


def _fitted(work: Work) -> Work:
    """With each value as long or large as its column takes."""
    fit_attempt = partial(_fit, _ATTEMPT_TYPES)
    return Work(
        None if work.opening is None else _fit(_TYPES, work.opening),
        work.raised,
        None if work.end is None else _fit(_TYPES, work.end),
        {number: fit_attempt(attempt) for number, attempt in work.attempts.items()},
    )


def _fit(types: Sequence[models.Field[Any, Any]], row: Values) -> Values:
    fitted = []
    for column, value in zip(types, row, strict=True):
        if isinstance(column, models.CharField):
            value = str(value).replace("\0", "?")[: column.max_length]
        elif type(value) is int:
            value = max(-_MAX_INT, min(value, _MAX_INT))
        fitted.append(value)
    return fitted


def _columns(model: type[models.Model], names: Sequence[str]) -> list[models.Field[Any, Any]]:
    known = {column.attname: column for column in model._meta.concrete_fields}
    return [known[name] for name in names]


_TYPES, _ATTEMPT_TYPES = _columns(RequestEntry, ENDING), _columns(AttemptEntry, ATTEMPT_END)
_DEFAULTS = ["reserved" if c.attname == "state" else c.get_default() for c in _TYPES]
_ATTEMPT_DEFAULTS = [column.get_default() for column in _ATTEMPT_TYPES]
_COLUMNS = ("request_id", "process", *ENDING)
_ATTEMPT_COLUMNS = ("request_id", *ATTEMPT_END)
_CREDENTIAL = ATTEMPT_END.index("credential_id")
_USE_COLUMNS = ("credential_id", "first_at", "last_at")
_UNIQUE: dict[type[models.Model], str] = {
    RequestEntry: "request_id",
    AttemptEntry: "request_id, number",
    CredentialUse: "credential_id",
}


def _replacing(model: type[models.Model], columns: Sequence[str]) -> str:
    changed = ", ".join(f"{name} = excluded.{name}" for name in columns if name != "request_id")
    among = ", ".join(f"'{state}'" for state in _OPEN)
    return f"DO UPDATE SET {changed} WHERE {model._meta.db_table}.state IN ({among})"


_USED = (
    f"DO UPDATE SET last_at = excluded.last_at "
    f"WHERE {CredentialUse._meta.db_table}.last_at < excluded.last_at"
)
_ENDS = _replacing(RequestEntry, _COLUMNS)
_ENDS_ATTEMPT = _replacing(AttemptEntry, _ATTEMPT_COLUMNS)
