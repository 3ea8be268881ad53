"""What was used in a span of days, by day and by team, key, model or provider: read from the sums of days,
which are some ten thousand rows where requests are millions."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import reduce
from typing import Any

from django.db.models import Max, QuerySet, Sum

from accounts.ledger.rows import UsageDay
from accounts.ledger.sums import BOUNDS, SPREAD, SUMS

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

    def of(self, rows: QuerySet[UsageDay]) -> QuerySet[UsageDay]:
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


def usage(wanted: Asked, rows: QuerySet[UsageDay]) -> Usage:
    """What was used, of `rows` that one may see. Two passes over the sums of these days, the second of which
    adds up no more than what it orders by; of the largest groups all is then added up. Blocks."""
    chosen = wanted.of(rows)
    sums = {f"sum_{name}": Sum(name) for name in SUMS}
    by_day = {row["day"]: _sums(row) for row in chosen.order_by().values("day").annotate(**sums)}
    total = _added(by_day.values())
    span = (wanted.first + timedelta(days=n) for n in range((wanted.last - wanted.first).days + 1))
    nothing = dict.fromkeys(SUMS, 0)
    column, name = GROUPS[wanted.by]
    parts = ("input_tokens", "output_tokens") if wanted.measure == "tokens" else (wanted.measure,)
    size = reduce(operator.add, (Sum(part) for part in parts))
    by_size = (
        chosen.order_by()
        .values(column)
        .annotate(size=size, count=Sum("requests"))
        .order_by("-size", "-count", column)
    )
    largest = [row[column] for row in by_size[:MOST_GROUPS]]
    whole = chosen.filter(**{f"{column}__in": largest}).order_by().values(column)
    found = {row[column]: row for row in whole.annotate(**sums, named=Max(name))}
    groups = [
        Used(str(found[each]["named"]) or "(none)", _sums(found[each]), str(each))
        for each in largest
        # One that was deleted in between is no more.
        if each in found
    ]
    listed = _added(group.sums for group in groups)
    left = {name: total[name] - listed[name] for name in SUMS}
    return Usage(
        Used("Total", total),
        [Used(f"{day}", by_day.get(day, nothing)) for day in span],
        groups,
        Used("All others", left) if left["requests"] else None,
    )


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
