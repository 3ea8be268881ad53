"""Looks over a whole configuration for what will go wrong, by the functions that route."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import datetime

from routing.findings import SEVERITIES, Finding, Where
from routing.lint_access import lint_budgets, lint_keys, lint_providers
from routing.lint_routes import lint_routes
from routing.snapshot import Snapshot


def lint(snapshot: Snapshot, now: datetime, own: Collection[tuple[str, int]] = ()) -> list[Finding]:
    """All findings, the worst first. `own`: hosts and ports at which this gateway is reached."""
    found = [
        *_unread(snapshot),
        *lint_routes(snapshot),
        *lint_keys(snapshot, now),
        *lint_budgets(snapshot),
        *lint_providers(snapshot, own),
    ]
    return sorted(
        found,
        key=lambda each: (SEVERITIES.index(each.severity), each.where.table, each.where.name, each.check),
    )


def _unread(snapshot: Snapshot) -> Iterator[Finding]:
    if snapshot.left_out:
        yield Finding(
            "unreadable-rows",
            "error",
            Where("configuration", 0, "configuration"),
            f"{snapshot.left_out} rows cannot be used and are left out.",
            "The log names each of them when a process starts or a revision comes into force.",
        )
