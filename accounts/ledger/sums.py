"""The sums of each day: what ended requests add to them, and what is spent of a budget by them."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any

from django.db import connection
from django.db.models import Sum

from accounts.ledger.lines import ENDING
from accounts.ledger.rows import UsageDay

# Columns that say whose a sum is, and what is summed.
KEY = ("day", "team_id", "key_id", "model", "provider", "team", "key")
SUMS = (
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
    ]


def add(more: Sums, less: Sums) -> None:
    """Add to the days and take away, within the caller's transaction."""
    if not (more or less):
        return
    change: Sums = {key: list(amounts) for key, amounts in more.items()}
    for key, amounts in less.items():
        kept = change.setdefault(key, [0] * len(SUMS))
        for place, amount in enumerate(amounts):
            kept[place] -= amount
    table = UsageDay._meta.db_table
    columns = (*KEY, *SUMS)
    # In one order everywhere, so that two processes never wait for each other.
    rows = [(*key, *change[key]) for key in sorted(change)]
    one = f"({', '.join(['%s'] * len(columns))})"
    added = ", ".join(f"{name} = {table}.{name} + excluded.{name}" for name in SUMS)
    sql = (
        f"INSERT INTO {table} ({', '.join(columns)}) VALUES {', '.join([one] * len(rows))} "  # noqa: S608 - names of our own columns
        f"ON CONFLICT ({', '.join(KEY)}) DO UPDATE SET {added}"
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
