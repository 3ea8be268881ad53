"""Rows as CSV that no spreadsheet runs: a list of many comes as a stream, a page of rows at a time."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

from asgiref.sync import sync_to_async
from django.db.models import Q, QuerySet
from django.http import StreamingHttpResponse

# A spreadsheet takes a cell that begins so for a formula, in full width too, and behind spaces.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%", "＝", "＋", "－", "＠")  # noqa: RUF001 - the letters are meant
# One that separates cells by semicolons or tabs begins a cell behind these, and a row at the end of a line.
_INNER = re.compile(r"([;\t\r\n][ \"]*)(?=[=+\-@|%＝＋－＠])")  # noqa: RUF001 - as above
# A page is some hundred kilobytes and some tens of milliseconds.
_PAGE = 1_000
# What a spreadsheet still opens with ease. Who needs more takes it by days, or from the database.
MOST_ROWS = 100_000


def inert(value: object) -> str:
    """A cell that no spreadsheet takes for a formula."""
    text = "" if value is None else str(value)
    if isinstance(value, (int, float)):
        return text
    text = _INNER.sub(r"\1'", text)
    return "'" + text if text.lstrip(" ").startswith(_FORMULA) else text


def lines(rows: Iterable[Iterable[object]]) -> str:
    """Rows as lines of CSV."""
    text = io.StringIO()
    csv.writer(text).writerows([inert(cell) for cell in row] for row in rows)
    return text.getvalue()


def streamed(name: str, rows: QuerySet[Any], columns: Sequence[str], moment: str) -> StreamingHttpResponse:
    """The newest of `rows`, by `moment` and id, at most MOST_ROWS, as a file `name`.csv that says in its name
    when there were more."""
    newest = rows.order_by(f"-{moment}", "-id")
    cut = newest.values("id")[MOST_ROWS : MOST_ROWS + 1].exists()
    file = f"{name}-newest-{MOST_ROWS}-only.csv" if cut else f"{name}.csv"
    return StreamingHttpResponse(
        _asynchronous(_texts(newest, columns, moment)),
        content_type="text/csv; charset=utf-8",
        headers={
            "Content-Disposition": f'attachment; filename="{file}"',
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
        },
    )


def _texts(newest: QuerySet[Any], columns: Sequence[str], moment: str) -> Iterator[str]:
    """No cursor is held between pages: each begins behind the last row of the one before."""
    yield lines([columns])
    left, page = MOST_ROWS, newest
    while left > 0 and (rows := list(page.values_list(moment, "id", *columns)[: min(_PAGE, left)])):
        yield lines(row[2:] for row in rows)
        left -= len(rows)
        at, pk = rows[-1][:2]
        # The first condition is for the index, which the second alone would not be looked up in.
        older = Q(**{f"{moment}__lt": at}) | Q(**{moment: at, "id__lt": pk})
        page = newest.filter(older, **{f"{moment}__lte": at})


async def _asynchronous(texts: Iterator[str]) -> AsyncIterator[str]:
    """The server awaits what it sends; of a plain iterator it would first collect everything."""
    following = sync_to_async(partial(next, texts, None))
    while (text := await following()) is not None:
        yield text
