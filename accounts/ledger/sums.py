"""The sums of each day: what ended requests add to them, and what is spent of a budget by them."""

from __future__ import annotations

import operator
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, time
from typing import Any

from django.db import connection
from django.db.models import Count, Max, Q, QuerySet, Sum
from django.db.models.functions import Coalesce, TruncDate

from accounts.ledger.lines import ENDING
from accounts.ledger.rows import ENDED, RequestEntry, UsageDay, UsageFold

# Columns that say whose a sum is.
KEY = ("day", "team_id", "key_id", "model", "provider", "team", "key")
# The same of sums without keys.
FOLDED = ("day", "team_id", "model", "provider", "team")
# What is summed.
_SUMS = (
    "requests",
    "errors",
    "gone",
    "estimated",
    "orphaned",
    "unpriced",
    "input_tokens",
    "output_tokens",
    "cache_read",
    "cache_write",
    "reasoning",
    "cost",
    "cache_hits",
    "saved",
    "total_ms",
    "upstream_ms",
    "ttft_ms",
    "ttft_count",
)
# Milliseconds. Between which two of them a share of calls lies is known; a guess in between is near enough to
# be set beside another day's: each is some one and a half times the one before it, twice at the ends.
BOUNDS = (
    50,
    100,
    200,
    350,
    500,
    750,
    1_000,
    1_500,
    2_000,
    3_000,
    5_000,
    8_000,
    12_000,
    20_000,
    30_000,
    60_000,
    120_000,
    300_000,
)
# How many ended well within each bound, and not within the one before; the last: later.
SPREAD = (*(f"ok_{bound}" for bound in BOUNDS), "ok_more")
SUMS = (*_SUMS, *SPREAD)
_HITS = ("hit", "semantic_hit")

Key = tuple[Any, ...]
Sums = dict[Key, list[int]]
_AT, *_WHOSE = (ENDING.index(name) for name in ("at", *KEY[1:]))
_OUTCOME, _STATE, _COST, _CACHE, _SAVED, _TTFT = (
    ENDING.index(name) for name in ("outcome", "state", "cost", "cache", "saved", "ttft_ms")
)
_TOKENS = [ENDING.index(name) for name in SUMS[6:11]]
_TOTAL, _UPSTREAM = ENDING.index("total_ms"), ENDING.index("upstream_ms")


def sums_of(rows: Iterable[Sequence[Any]]) -> Sums:
    """What these ended requests come to; each is its columns in the order of ENDING."""
    found: Sums = {}
    for row in rows:
        key = (row[_AT].date(), *[row[place] for place in _WHOSE])
        kept = found.get(key)
        amounts = _amounts(row)
        found[key] = amounts if kept is None else list(map(operator.add, kept, amounts))
    return found


def _amounts(row: Sequence[Any]) -> list[int]:
    """In the order of SUMS."""
    outcome, state, cost, ttft = row[_OUTCOME], row[_STATE], row[_COST], row[_TTFT]
    return [
        1,
        int(outcome == "error"),
        int(outcome == "client_gone"),
        int(state == "estimated"),
        int(state == "orphaned"),
        int(cost is None),
        *[row[place] for place in _TOKENS],
        cost or 0,
        int(row[_CACHE] in _HITS),
        row[_SAVED] or 0,
        row[_TOTAL],
        row[_UPSTREAM],
        ttft or 0,
        int(ttft is not None),
        *_spread(row[_TOTAL] if outcome == "ok" else None),
    ]


def _spread(milliseconds: int | None) -> list[int]:
    """In the order of SPREAD."""
    counts = [0] * len(SPREAD)
    if milliseconds is not None:
        counts[bisect_left(BOUNDS, milliseconds)] = 1
    return counts


def midnight(day: date) -> datetime:
    """When a day begins, in UTC."""
    return datetime.combine(day, time(), UTC)


def grouped(requests: QuerySet[RequestEntry]) -> QuerySet[Any]:
    """The same of rows, added up within the database: of each key those that have ended, KEY by name and each
    of SUMS as `sum_...`, in this order."""
    ended = requests.filter(state__in=ENDED).annotate(day=TruncDate("at", tzinfo=UTC))
    # Not by the columns' own names, which the grouping would then take for theirs.
    counted = {f"sum_{name}": Coalesce(sum_, 0) for name, sum_ in _IN_DATABASE.items()}
    sums: QuerySet[Any] = ended.order_by().values(*KEY).annotate(**counted)
    return sums


def summed(requests: QuerySet[RequestEntry]) -> Iterator[tuple[Key, list[int]]]:
    """`grouped` as `sums_of` has it. Blocks."""
    for row in grouped(requests).iterator():
        yield tuple(row[name] for name in KEY), [row[f"sum_{name}"] for name in SUMS]


def _within(place: int) -> Q:
    """Which requests a place of SPREAD counts."""
    later = Q(total_ms__gt=BOUNDS[place - 1]) if place else Q()
    return Q(later, outcome="ok", **({"total_ms__lte": BOUNDS[place]} if place < len(BOUNDS) else {}))


_COUNTED = {
    "requests": Q(),
    "errors": Q(outcome="error"),
    "gone": Q(outcome="client_gone"),
    "estimated": Q(state="estimated"),
    "orphaned": Q(state="orphaned"),
    "unpriced": Q(cost__isnull=True),
    "cache_hits": Q(cache__in=_HITS),
    "ttft_count": Q(ttft_ms__isnull=False),
    **{name: _within(place) for place, name in enumerate(SPREAD)},
}
_IN_DATABASE: dict[str, Any] = {
    name: Count("id", filter=_COUNTED[name]) if name in _COUNTED else Sum(name) for name in SUMS
}


def add(more: Sums, less: Sums) -> None:
    """Add to the days and take away, within the caller's transaction."""
    if not (more or less):
        return
    change: Sums = {key: list(amounts) for key, amounts in more.items()}
    for key, amounts in less.items():
        kept = change.setdefault(key, [0] * len(SUMS))
        for place, amount in enumerate(amounts):
            kept[place] -= amount
    _put(UsageDay, KEY, change)
    # Looked for after that was written: it waits for who folds a day, and who folds one waits for it.
    until = folded_until()
    if until is not None and any(key[0] <= until for key in change):
        _put(UsageFold, FOLDED, _without_keys(change, until))


def folded_until() -> date | None:
    """The last day of which there are sums without keys; there are of all days before it. None: of no day."""
    last: date | None = UsageFold.objects.aggregate(last=Max("day"))["last"]
    return last


def _without_keys(change: Sums, until: date) -> Sums:
    found: Sums = {}
    for key, amounts in change.items():
        if key[0] <= until:
            named = dict(zip(KEY, key, strict=True))
            whose = tuple(named[name] for name in FOLDED)
            found[whose] = list(map(operator.add, found.get(whose, [0] * len(SUMS)), amounts))
    return found


def _put(model: type[UsageDay | UsageFold], key: Sequence[str], change: Sums) -> None:
    """Add to rows. `key`: the columns that the sums are by."""
    table = model._meta.db_table
    columns = (*key, *SUMS)
    # In one order everywhere, so that two processes never wait for each other.
    rows = [(*whose, *change[whose]) for whose in sorted(change)]
    one = f"({', '.join(['%s'] * len(columns))})"
    added = ", ".join(f"{name} = {table}.{name} + excluded.{name}" for name in SUMS)
    sql = (
        f"INSERT INTO {table} ({', '.join(columns)}) VALUES {', '.join([one] * len(rows))} "  # noqa: S608 - names of our own columns
        f"ON CONFLICT ({', '.join(key)}) DO UPDATE SET {added}"
    )
    values = [
        connection.ops.adapt_datefield_value(value) if isinstance(value, date) else value
        for row in rows
        for value in row
    ]
    with connection.cursor() as cursor:
        cursor.execute(sql, values)


def spent(unit: str, since: date, *, team_id: int | None = None, key_id: int | None = None) -> int:
    """What has been spent since this day, in nano-dollars (`unit` "usd") or tokens: by a key, a team, or all.
    Blocks. Raises DatabaseError."""
    days = UsageDay.objects.filter(day__gte=since)
    if key_id is not None:
        days = days.filter(key_id=key_id)
    if team_id is not None:
        days = days.filter(team_id=team_id)
    if unit == "usd":
        return int(days.aggregate(all=Sum("cost"))["all"] or 0)
    found = days.aggregate(given=Sum("input_tokens"), said=Sum("output_tokens"))
    return int(found["given"] or 0) + int(found["said"] or 0)
