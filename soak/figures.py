"""What a case found, and how it is told."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table. `right` is whether things are as they must be on any machine; None: a figure of
    speed or size, which is `good` or not on this one."""

    case: str
    what: str
    bar: str
    seen: str
    right: bool | None = None
    good: bool | None = None

    @property
    def verdict(self) -> str:
        if self.right is not None:
            return "right" if self.right else "**WRONG**"
        return {None: "", True: "held", False: "missed"}[self.good]


def must(case: str, what: str, bar: str, seen: object, *, holds: bool) -> Figure:
    """Something that is right or wrong."""
    return Figure(case, what, bar, str(seen), right=holds)


def speed(case: str, what: str, bar: str, seen: str, *, holds: bool | None = None) -> Figure:
    """Something that depends on the machine."""
    return Figure(case, what, bar, seen, good=holds)


def markdown(figures: Iterable[Figure]) -> str:
    """The table, under what machine it was."""
    head = (
        f"Taken {datetime.now(UTC):%Y-%m-%d %H:%M} UTC on {os.cpu_count()} cores"
        f" ({platform.machine()}, Python {platform.python_version()}),"
        f" load average {os.getloadavg()[0]:.1f} at the end."
    )
    lines = ["| case | what | bar | seen | |", "|---|---|---|---|---|"]
    lines += [f"| {f.case} | {f.what} | {f.bar} | {f.seen} | {f.verdict} |" for f in figures]
    return "\n".join([head, "", *lines])
