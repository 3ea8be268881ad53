"""The page of usage: charts and tables of a span of days."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse

from accounts.ledger.charts import Chart, Series, bars, columns, curves
from accounts.ledger.rows import UsageDay, UsageFold
from accounts.ledger.sums import BOUNDS
from accounts.ledger.usage import GROUPS, MEASURES, MOST_DAYS, Asked, Usage, Used, asked, usage

_SPANS = (1, 7, 31, 92, 365)
_TITLES = {"cost": "Cost", "tokens": "Tokens", "requests": "Requests", "errors": "Errors", "saved": "Saved"}


def context(request: HttpRequest, rows: QuerySet[UsageDay], folded: QuerySet[UsageFold]) -> dict[str, Any]:
    """What the page shows of the rows that one may see, with and without keys."""
    wanted = asked(request.GET.dict())
    found = usage(wanted, rows, folded)
    return {
        "asked": wanted,
        "most_days": MOST_DAYS,
        "query": urlencode(wanted.query),
        "spans": [(days, _last(wanted, days)) for days in _SPANS],
        "ways": [(name, _address(wanted, by=name), name == wanted.by) for name in GROUPS],
        "measures": [(_TITLES[m], _address(wanted, measure=m), m == wanted.measure) for m in MEASURES],
        "only": list(_only(wanted, rows)),
        "requests_link": _requests(wanted),
        "cards": _cards(found.total),
        "charts": _charts(found),
        "grouped": _grouped(wanted, found),
        "table": [(_line(group), _closer(wanted, group)) for group in found.groups],
        "others": [_line(row) for row in (found.rest, found.total) if row is not None],
    }


def _address(wanted: Asked, **change: str) -> str:
    """This page with something changed."""
    return "?" + urlencode({**wanted.query, **change})


def _last(wanted: Asked, days: int) -> str:
    """This page with the last so many days."""
    today = asked({}).last
    return _address(wanted, first=f"{today - timedelta(days=days - 1)}", last=f"{today}")


def _only(wanted: Asked, rows: QuerySet[UsageDay]) -> Iterator[tuple[str, str, str]]:
    """What is filtered by: which group, the name of the chosen one, and this page without it."""
    for name, value in wanted.only.items():
        column, named = GROUPS[name]
        # Any row: the first one would be looked for by id, through all that others have.
        names = wanted.of(rows).order_by().values_list(named, flat=True)[:1] if named != column else [value]
        left = {each: said for each, said in wanted.query.items() if each != name}
        yield name, str(next(iter(names), "") or value), "?" + urlencode(left)


def _requests(wanted: Asked) -> str:
    """The list of requests of the same days and groups."""
    span = {"from": f"{wanted.first}T00:00", "until": f"{wanted.last + timedelta(days=1)}T00:00"}
    return reverse("admin:accounts_requestentry_changelist") + "?" + urlencode({**span, **wanted.only})


def _closer(wanted: Asked, group: Used) -> str:
    """This page with one group alone, by what it has not been filtered by yet."""
    left = [name for name in GROUPS if name != wanted.by and name not in wanted.only]
    if not group.value:
        return ""
    return _address(wanted, **{wanted.by: group.value, "by": left[0] if left else wanted.by})


def _cards(total: Used) -> list[tuple[str, str]]:
    sums = total.sums
    failed = f" ({sums['errors'] / sums['requests']:.1%})" if sums["requests"] else ""
    return [
        ("Cost", about(sums["cost"]) + (f" and {sums['unpriced']} unknown" if sums["unpriced"] else "")),
        ("Tokens in", f"{sums['input_tokens']:,}"),
        ("Tokens out", f"{sums['output_tokens']:,}"),
        ("Requests", f"{sums['requests']:,}"),
        ("Errors", f"{sums['errors']:,}{failed}"),
        ("Half took at most", took(total.p50)),
        ("95 % took at most", took(total.p95)),
        ("Answered from the cache", f"{sums['cache_hits']:,}"),
        ("Saved by that", about(sums["saved"])),
    ]


def _charts(found: Usage) -> list[Chart]:
    days = found.days
    labels = [day.name for day in days]

    def of(name: str) -> list[int]:
        return [day.sums[name] for day in days]

    well = [day.sums["requests"] - day.sums["errors"] - day.sums["gone"] for day in days]
    return [
        columns("Cost a day", labels, [Series("cost", "one", of("cost"))], about),
        columns(
            "Tokens a day",
            labels,
            [Series("input", "one", of("input_tokens")), Series("output", "two", of("output_tokens"))],
            whole,
        ),
        columns(
            "Requests a day",
            labels,
            [
                Series("well", "one", well),
                Series("client left", "two", of("gone")),
                Series("errors", "bad", of("errors")),
            ],
            whole,
        ),
        curves(
            "Time that requests took",
            labels,
            [
                Series("half at most", "one", [day.p50 for day in days]),
                Series("95 % at most", "two", [day.p95 for day in days]),
            ],
            took,
        ),
        columns("Saved by the cache a day", labels, [Series("saved", "one", of("saved"))], about),
        columns("Answers from the cache a day", labels, [Series("answers", "one", of("cache_hits"))], whole),
    ]


def _grouped(wanted: Asked, found: Usage) -> Chart:
    rows = [*found.groups, *filter(None, [found.rest])]
    values = [row.measured(wanted.measure) for row in rows]
    show = about if wanted.measure in ("cost", "saved") else whole
    title = f"{_TITLES[wanted.measure]} by {wanted.by}"
    return bars(title, [row.name for row in rows], Series(wanted.measure, "one", values), show)


def _line(row: Used) -> tuple[str, ...]:
    """A row of the table of groups."""
    sums = row.sums
    return (
        row.name,
        f"{sums['requests']:,}",
        f"{sums['errors']:,}",
        f"{sums['input_tokens']:,}",
        f"{sums['output_tokens']:,}",
        f"{sums['cache_read']:,}",
        about(sums["cost"]) + (f" and {sums['unpriced']} unknown" if sums["unpriced"] else ""),
        took(row.p50),
        took(row.p95),
        f"{sums['cache_hits']:,}",
        about(sums["saved"]),
    )


def about(nano: float) -> str:
    """Dollars as one reads them: cents, and parts of them where there is no more."""
    amount = nano / 1e9
    if not nano or abs(amount) >= 0.01:
        return f"${amount:,.2f}"
    return f"${amount:.6f}" if abs(amount) >= 1e-6 else "under $0.000001"


def whole(number: float) -> str:
    """A number of something."""
    return f"{number:,.0f}"


def took(milliseconds: float | None) -> str:
    """A time as one reads it."""
    if milliseconds is None:
        return "–"  # noqa: RUF001 - a dash, as tables have it
    if milliseconds == float("inf"):
        return f"over {BOUNDS[-1] // 1000} s"
    return f"{milliseconds:.0f} ms" if milliseconds < 1000 else f"{milliseconds / 1000:.1f} s"
