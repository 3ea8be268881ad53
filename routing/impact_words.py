"""What a change would have done to recent requests, in words: for a terminal and for a page."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from accounts.ledger.charge import dollars
from routing.impact import KeyChange
from routing.rehearsal import Preview

# More lines of a kind are counted and not told.
_MOST = 20


class Section(Struct):
    """A heading and what stands below it."""

    title: str
    lines: list[str]


def sections(preview: Preview) -> list[Section]:
    """A preview in words, the worst first; what is empty is left out, but for the summary."""
    found = preview.impact
    told = [
        Section("Summary", list(_summary(preview))),
        Section("Keys that lose a model", _some([_change(each) for each in found.lost])),
        Section("Keys that gain a model", _some([_change(each) for each in found.gained])),
        Section(
            "Requests that go elsewhere first",
            _some([f"{each.source} -> {each.to}: {_number(each.requests)}" for each in found.moves]),
        ),
        Section(
            "Routes that none of these requests takes",
            _some(
                [
                    f"{each.name} ({each.pattern})" + (f": {each.before} take it now" if each.before else "")
                    for each in sorted(found.unmatched, key=lambda each: -each.before)
                ]
            ),
        ),
    ]
    if not found.requests:
        return told[:1]
    return [each for each in told if each.lines]


def _summary(preview: Preview) -> Iterator[str]:
    found = preview.impact
    if preview.since is None or preview.until is None:
        yield "There are no requests in the ledger to look at."
        return
    some = "all" if preview.all_of_it else "the newest"
    yield (
        f"{found.requests} requests were looked at, {some} of the ledger, "
        f"from {preview.since:%Y-%m-%d %H:%M} to {preview.until:%Y-%m-%d %H:%M} UTC."
    )
    yield (
        f"{_number(found.moved)} would go elsewhere first, {_number(found.other_provider)} of them to "
        "another provider."
    )
    yield (
        f"{_number(found.refused)} that are served now would be refused, {_number(found.no_target)} of them "
        "for want of a target."
    )
    if found.served:
        yield f"{_number(found.served)} that are refused now would be served."
    if found.refused_already:
        yield f"{_number(found.refused_already)} are refused now as then."
    difference = found.cost_then - found.cost_now
    sign = "-" if difference < 0 else "+"
    yield (
        f"Cost by the catalogue's prices: {dollars(found.cost_now)} now, {dollars(found.cost_then)} then "
        f"({sign}{dollars(abs(difference))}). They were charged {dollars(found.paid)}."
    )
    if found.unpriced:
        yield f"Of {_number(found.unpriced)} a price is unknown: they are in neither sum."


def _change(change: KeyChange) -> str:
    return f"{change.key} of {change.team}, {change.model}: {_number(change.requests)} ({change.why})"


def _number(requests: float) -> str:
    """About: a draw decides."""
    if 0 < requests < 0.5:
        return "less than one"
    return str(round(requests))


def _some(lines: list[str]) -> list[str]:
    return lines if len(lines) <= _MOST else [*lines[:_MOST], f"and {len(lines) - _MOST} more"]
