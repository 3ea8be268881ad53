"""Secrets of drafts under the current key: what is sealed in them, and the marks by which they know secrets
that are published."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from providers.crypto import VaultError
from routing.drafts import touch
from routing.history import mark
from routing.models_drafts import OPEN, DraftRow
from routing.standing import MARK

Reseal = Callable[[str, int], str]


def seal_drafts_anew(reseal: Reseal, moved: Mapping[str, str]) -> tuple[int, list[str]]:
    """Within the caller's transaction, which holds. `moved`: of published secrets that were sealed anew their
    marks before and after, so that none is taken for somebody's change. How many secrets were sealed anew,
    and what cannot be opened, in words. An approval that was asked for is void by it: it is bound to the
    marks."""
    done, unreadable = 0, []
    rows = DraftRow.objects.filter(draft__state=OPEN, table="credential").select_related("draft")
    for row in rows.order_by("id"):
        before = row.base, row.values, row.sealed
        try:
            row.sealed = _sealed(row, reseal)
        except VaultError:
            unreadable.append(f"{(row.values or {}).get('label')} in the draft {row.draft}")
        done += row.sealed != before[2]
        row.base, row.values = _marked(row.base, moved), _marked(row.values, moved)
        if row.sealed and row.values is not None:
            row.values = row.values | {MARK: mark(row.sealed)}
        if (row.base, row.values, row.sealed) != before:
            row.save()
            touch(row.draft)
    return done, unreadable


def _sealed(row: DraftRow, reseal: Reseal) -> str:
    """Raises VaultError."""
    return reseal(row.sealed, row.values["provider_id"]) if row.sealed and row.values else row.sealed


def _marked(columns: Any, moved: Mapping[str, str]) -> Any:
    if columns is None or columns.get(MARK) not in moved:
        return columns
    return columns | {MARK: moved[columns[MARK]]}
