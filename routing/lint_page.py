"""A page of findings: of ten thousand keys there may be as many, and one of them may have thousands of rows
that have part in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from msgspec import Struct

from routing.findings import SEVERITIES, Finding, Severity

# As many as one reads.
MOST = 100
# Of a finding's other rows so many are told.
_MOST_OTHERS = 20


class Kind(Struct, frozen=True):
    """How many findings a check has at a severity."""

    check: str
    severity: Severity
    count: int


class Listed(Finding, frozen=True):
    """A finding of which `others` are the first few, and of how many: `others_in_all`."""

    others_in_all: int = 0


class Page(Struct, frozen=True):
    """`kinds`: of all findings, the worst first; `total`: how many are chosen; `findings`: of these a page;
    `next`: what to skip for the page after it, None where it is the last."""

    kinds: list[Kind]
    total: int
    findings: list[Listed]
    next: int | None


def page_of(
    found: Sequence[Finding], check: str = "", severity: str = "", skip: int = 0, limit: int = MOST
) -> Page:
    """Those of a check, of a severity, of both, or all of them."""
    counted = Counter((each.check, each.severity) for each in found)
    chosen = [each for each in found if check in ("", each.check) and severity in ("", each.severity)]
    end = skip + limit
    return Page(
        sorted(
            (Kind(*named, count) for named, count in counted.items()),
            key=lambda kind: (SEVERITIES.index(kind.severity), kind.check),
        ),
        len(chosen),
        [_listed(each) for each in chosen[skip:end]],
        end if end < len(chosen) else None,
    )


def _listed(found: Finding) -> Listed:
    return Listed(
        found.check,
        found.severity,
        found.where,
        found.words,
        found.mend,
        found.others[:_MOST_OTHERS],
        len(found.others),
    )
