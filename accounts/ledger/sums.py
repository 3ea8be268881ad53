"""The sums of each day: what ended requests add to them, and what is spent of a budget by them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any

from django.db import connection
from django.db.models import Sum

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
_COPIED = (
    "input_tokens",
    "output_tokens",
    "cache_read",
    "cache_write",
    "reasoning",
    "total_ms",
    "upstream_ms",
)
_HITS = ("hit", "semantic_hit")

Key = tuple[Any, ...]
Sums = dict[Key, list[int]]


def sums_of(rows: Iterable[Mapping[str, Any]]) -> Sums:
    """What these ended requests come to."""
    found: Sums = {}
    for row in rows:
        key = (row["at"].date(), *(row[name] for name in KEY[1:]))
        amounts = _amounts(row)
        kept = found.setdefault(key, [0] * len(SUMS))
        for place, name in enumerate(SUMS):
            kept[place] += amounts[name]
    return found


def _amounts(row: Mapping[str, Any]) -> dict[str, int]:
    ttft = row["ttft_ms"]
    return {
        "requests": 1,
        "errors": int(row["outcome"] == "error"),
        "gone": int(row["outcome"] == "client_gone"),
        "estimated": int(row["state"] == "estimated"),
        "orphaned": int(row["state"] == "orphaned"),
        "unpriced": int(row["cost"] is None),
        "cost": row["cost"] or 0,
        "cache_hits": int(row["cache"] in _HITS),
        "saved": row["saved"] or 0,
        "ttft_ms": ttft or 0,
        "ttft_count": int(ttft is not None),
        **{name: row[name] for name in _COPIED},
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
