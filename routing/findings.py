"""What a look over the configuration finds, and what its checks have in common."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from routing.snapshot import Route, Target

# error: calls fail because of it, or money is not counted. warning: they will when something else fails, or
# somebody has meant something else. info: worth a look.
Severity = Literal["error", "warning", "info"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")
Table = Literal["route", "provider", "key", "team", "limit", "budget", "configuration"]


class Where(Struct, frozen=True):
    """A row, and its name for people."""

    table: Table
    id: int
    name: str


class Finding(Struct, frozen=True):
    """One thing that is not as it should be. `check`: its name for machines; `words`: what is the matter;
    `mend`: what to do about it; `others`: rows that have part in it."""

    check: str
    severity: Severity
    where: Where
    words: str
    mend: str
    others: tuple[Where, ...] = ()

    def concerns(self, table: str, row: int) -> bool:
        """Whether a row is at fault or has part in it."""
        return any(each.table == table and each.id == row for each in (self.where, *self.others))


def at_route(route: Route) -> Where:
    return Where("route", route.id, route.name)


def at_provider(target: Target) -> Where:
    return Where("provider", target.provider.id, target.provider.name)


def overlap(one: str, other: str) -> bool:
    """Whether some model name fits both, each a name or `prefix*`."""
    if one.endswith("*") and other.endswith("*"):
        return one[:-1].startswith(other[:-1]) or other[:-1].startswith(one[:-1])
    if one.endswith("*"):
        return other.startswith(one[:-1])
    return one.startswith(other[:-1]) if other.endswith("*") else one == other


def model_at(route: Route, target: Target) -> str | None:
    """The model that the target is asked for; None: whatever fits the route's prefix."""
    return target.upstream_model or (None if route.is_prefix else route.pattern)


def said(route: Route, target: Target) -> str:
    """A target for people."""
    return f"{target.provider.name}/{model_at(route, target) or route.pattern}"
