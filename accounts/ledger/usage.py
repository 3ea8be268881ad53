"""What was used in a span of days, by day and by team, key, model or provider: read from the sums of days,
which are some ten thousand rows where requests are millions."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import reduce
from typing import Any, TypeVar

from django.core.exceptions import EmptyResultSet
from django.db import connection
from django.db.models import Max, QuerySet, Sum

from accounts.ledger.rows import UsageDay, UsageFold
from accounts.ledger.sums import BOUNDS, SPREAD, SUMS, folded_until

# A year, and some days to compare with. More would be less than a pixel a day.
MOST_DAYS = 400
USUAL_DAYS = 31
# As many groups as one reads; the rest are added up.
MOST_GROUPS = 20
# What can be grouped by: the column, and that of its name. In the order in which one looks closer.
GROUPS = {
    "team": ("team_id", "team"),
    "key": ("key_id", "key"),
    "model": ("model", "model"),
    "provider": ("provider", "provider"),
}
# What groups are ordered and drawn by.
MEASURES = ("cost", "tokens", "requests", "errors", "saved")


Row = TypeVar("Row", UsageDay, UsageFold)
# Rows of either; the days of one are none of another's.
_Rows = QuerySet[Any]


@dataclass(frozen=True, slots=True)
class Asked:
    """What somebody wants to see: days from `first` to `last`, grouped `by`, largest `measure` first, and of
    the groups in `only` alone. `cut`: they were more days."""

    first: date
    last: date
    by: str = "team"
    measure: str = "cost"
    only: Mapping[str, str] = field(default_factory=dict)
    cut: bool = False

    @property
    def query(self) -> dict[str, str]:
        """As an address says it."""
        days = {"first": f"{self.first}", "last": f"{self.last}"}
        return {**days, "by": self.by, "measure": self.measure, **self.only}

    def of(self, rows: QuerySet[Row]) -> QuerySet[Row]:
        """The sums that are asked for."""
        columns = {GROUPS[name][0]: value for name, value in self.only.items()}
        return rows.filter(day__gte=self.first, day__lte=self.last, **columns)


def asked(query: Mapping[str, str], today: date | None = None) -> Asked:
    """What an address asks for; what cannot be understood is as if it were not there."""
    now = today or datetime.now(UTC).date()
    last = _day(query.get("last"), now)
    first = _day(query.get("first"), last - timedelta(days=min(USUAL_DAYS - 1, last.toordinal() - 1)))
    first, last = min(first, last), max(first, last)
    cut = (last - first).days >= MOST_DAYS
    only = {name: said for name in GROUPS if (said := _value(name, query.get(name, "")))}
    by, measure = query.get("by", ""), query.get("measure", "")
    return Asked(
        last - timedelta(days=MOST_DAYS - 1) if cut else first,
        last,
        by if by in GROUPS else next((name for name in GROUPS if name not in only), "model"),
        measure if measure in MEASURES else "cost",
        only,
        cut,
    )


def _day(text: str | None, otherwise: date) -> date:
    try:
        day = date.fromisoformat(text or "")
    except ValueError:
        return otherwise
    # The day after the last is asked for too.
    return min(day, date.max - timedelta(days=1))


def _value(name: str, text: str) -> str:
    if name in ("team", "key"):
        return text if text.isascii() and text.isdigit() and len(text) <= 18 else ""
    # PostgreSQL has no word for a zero byte.
    return text[:200].replace("\0", "?")


@dataclass(frozen=True, slots=True)
class Used:
    """Sums of something: a day, a team, all. `value`: what to filter by."""

    name: str
    sums: Mapping[str, int]
    value: str = ""

    @property
    def tokens(self) -> int:
        return self.sums["input_tokens"] + self.sums["output_tokens"]

    @property
    def p50(self) -> float | None:
        """Half of the requests that ended well took at most so many milliseconds."""
        return share([self.sums[name] for name in SPREAD], 0.5)

    @property
    def p95(self) -> float | None:
        """The same of 95 in a hundred."""
        return share([self.sums[name] for name in SPREAD], 0.95)

    def measured(self, measure: str) -> int:
        """One of MEASURES."""
        return self.tokens if measure == "tokens" else self.sums[measure]


@dataclass(frozen=True, slots=True)
class Usage:
    """`days`: every day of the span; `groups`: the largest; `rest`: what the others come to, if there are."""

    total: Used
    days: list[Used]
    groups: list[Used]
    rest: Used | None


def usage(wanted: Asked, rows: QuerySet[UsageDay], folded: QuerySet[UsageFold]) -> Usage:
    """What was used, of `rows` that one may see, and the same of `folded`, which is read where keys do not
    matter. Two passes over the sums of these days, the second of which adds up no more than what it orders
    by; of the largest groups all is then added up. Blocks."""
    parts = _parts(wanted, rows, folded)
    by_day = {
        row["day"]: _sums(row)
        for part in parts
        for row in part.order_by().values("day").annotate(**_ALL_SUMS)
    }
    total = _added(by_day.values())
    span = (wanted.first + timedelta(days=n) for n in range((wanted.last - wanted.first).days + 1))
    nothing = dict.fromkeys(SUMS, 0)
    groups = _groups(wanted, [wanted.of(rows)] if wanted.by == "key" else parts)
    listed = _added(group.sums for group in groups)
    left = {name: total[name] - listed[name] for name in SUMS}
    return Usage(
        Used("Total", total),
        [Used(f"{day}", by_day.get(day, nothing)) for day in span],
        groups,
        Used("All others", left) if left["requests"] else None,
    )


def _parts(wanted: Asked, rows: QuerySet[UsageDay], folded: QuerySet[UsageFold]) -> list[_Rows]:
    """The asked days, each in one of these. The last folded day only ever moves on, and what comes later of
    days before it is added to both: so looked up once it is good for all of a page's queries."""
    chosen, until = wanted.of(rows), folded_until()
    if "key" in wanted.only or until is None or until < wanted.first:
        return [chosen]
    over = wanted.of(folded).filter(day__lte=until)
    return [over, chosen.filter(day__gt=until)] if until < wanted.last else [over]


def _groups(wanted: Asked, parts: Sequence[_Rows]) -> list[Used]:
    """The largest, with all their sums."""
    column, name = GROUPS[wanted.by]
    largest = _largest(wanted, parts)
    sums: dict[Any, dict[str, int]] = {}
    names: dict[Any, str] = {}
    for part in parts:
        chosen = part.filter(**{f"{column}__in": largest}).order_by().values(column)
        for row in chosen.annotate(**_ALL_SUMS, named=Max(name)):
            group = row[column]
            sums[group] = _added([sums[group], _sums(row)]) if group in sums else _sums(row)
            names[group] = max(names.get(group, ""), str(row["named"]))
    # One that was deleted in between is no more.
    return [Used(names[each] or "(none)", sums[each], str(each)) for each in largest if each in sums]


def _largest(wanted: Asked, parts: Sequence[_Rows]) -> list[Any]:
    """What is grouped by, of the largest groups."""
    column, _ = GROUPS[wanted.by]
    summed = ("input_tokens", "output_tokens") if wanted.measure == "tokens" else (wanted.measure,)
    size = reduce(operator.add, (Sum(name) for name in summed))
    first, *others = (
        part.order_by().values(column).annotate(size=size, asked=Sum("requests")) for part in parts
    )
    both = first.union(*others, all=True) if others else first
    try:
        inner, values = both.query.sql_with_params()
    except EmptyResultSet:
        # Of no team at all: Django asks nothing of a database then.
        return []
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {column} FROM ({inner}) AS parts GROUP BY {column} "  # noqa: S608 - Django's own SQL
            f"ORDER BY SUM(size) DESC, SUM(asked) DESC, {column} LIMIT {MOST_GROUPS}",
            values,
        )
        return [group for (group,) in cursor.fetchall()]


_ALL_SUMS = {f"sum_{name}": Sum(name) for name in SUMS}


def _sums(row: Mapping[str, Any]) -> dict[str, int]:
    # Sums of PostgreSQL's are decimals.
    return {name: int(row[f"sum_{name}"] or 0) for name in SUMS}


def _added(rows: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total = dict.fromkeys(SUMS, 0)
    for row in rows:
        for name in SUMS:
            total[name] += row[name]
    return total


def share(spread: Sequence[int], part: float) -> float | None:
    """Within how many milliseconds this part of calls ended, as if they were spread evenly between two
    bounds; infinity beyond the last bound, None where nothing is known."""
    goal, before = sum(spread) * part, 0
    for place, count in enumerate(spread):
        if count and before + count >= goal:
            if place == len(BOUNDS):
                return float("inf")
            lower = BOUNDS[place - 1] if place else 0
            return lower + (BOUNDS[place] - lower) * (goal - before) / count
        before += count
    return None
