"""Reads rows of which some may hold what their columns do not allow: those are left out and named, the
others serve."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

from django.db.models import QuerySet

logger = logging.getLogger(__name__)

# What a converter raises for a value that the column's type does not allow (SQLite checks none of them).
UNREADABLE = (ValueError, TypeError, ArithmeticError)


def readable(query: QuerySet[Any, Any], lost: list[int] | None = None) -> list[Any]:
    """All rows that can be read; where one cannot, halving finds it without giving up the others, and its key
    is added to `lost`."""
    try:
        return list(query)
    except UNREADABLE:
        return list(_halves(query, list(query.values_list("pk", flat=True)), [] if lost is None else lost))


def _halves(query: QuerySet[Any, Any], pks: list[int], lost: list[int]) -> Iterator[Any]:
    try:
        yield from list(query.filter(pk__in=pks))
    except UNREADABLE as error:
        if len(pks) == 1:
            lost.append(pks[0])
            left_out(str(query.model._meta.verbose_name), pks[0], type(error).__name__)
            return
        middle = len(pks) // 2
        yield from _halves(query, pks[:middle], lost)
        yield from _halves(query, pks[middle:], lost)


def left_out(what: str, pk: object, why: str) -> None:
    """Say in the log that a row cannot be used. `why` never quotes its values."""
    logger.error("%s %s cannot be used and is left out: %s", what, pk, why)
