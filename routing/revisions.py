"""Numbers for changes: written with the change itself, read by whoever watches, and told in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db import transaction
from django.db.models import Max

from accounts.acting import acting
from routing.approval_gate import Leave, hold_back
from routing.audit import audit
from routing.freeze import refuse_while_frozen
from routing.history import look, record
from routing.models import Revision

# One change for a revision's summary: {"object": ..., "action": ..., "fields": {...}}.
Change = dict[str, Any]


def publish(
    author: str,
    reason: str,
    summary: Sequence[Change] = (),
    *,
    edit: bool = True,
    leave: Leave | None = None,
) -> int:
    """Write the next revision, in the transaction of the change itself, and return its number.

    Publications stand in a line (`hold`), so numbers become visible in their order, and whoever has seen
    number N has seen every change up to it. `edit`: it changes how traffic is steered, which a freeze of
    edits does not let through; keys, purges and measures are none. `leave`: why nobody else is asked about
    it; without, a risky change is held back where the deployment wants two people. Raises FrozenError,
    NeedsApprovalError.
    """
    with transaction.atomic():
        hold()
        if edit:
            refuse_while_frozen()
        now = acting()
        by = leave.by if leave else ""
        if not by:
            # Whoever asks and says why knows better than what would be said of it.
            reason = (now.reason if now else "") or reason
        number = latest() + 1
        recorded = look(number)
        if leave is None:
            hold_back(recorded, (author, reason), number - 1)
        Revision.objects.create(
            number=number,
            author=author[:150],
            reason=reason[:500],
            summary=list(summary),
            approved_by=by[:150],
        )
        record(number, recorded)
        told = f"approved by {by}: {reason}" if by else reason
        audit(number, (author, told), recorded, summary)
    return number


def hold() -> None:
    """Keep others from publishing until the transaction ends. Called before the first change of a transaction
    that publishes, so that two of them never wait for each other. Revision 0, which stands for "nothing yet",
    is the row that is locked."""
    Revision.objects.select_for_update().get_or_create(
        number=0, defaults={"author": "system", "reason": "the beginning"}
    )


def latest() -> int:
    """The number of the last revision, 0 before the first. One look at an index."""
    found: int | None = Revision.objects.aggregate(number=Max("number"))["number"]
    return found or 0


def describe(change: Change) -> str:
    """One change as a line: `+` added, `~` changed, `-` removed."""
    mark = {"added": "+", "removed": "-", "deleted": "-"}.get(change["action"], "~")
    parts = []
    for name, value in change["fields"].items():
        if isinstance(value, list) and len(value) == 2:
            before, after = value
            parts.append(f"{name}={after!r}" if mark == "+" else f"{name}: {before!r} -> {after!r}")
        else:
            parts.append(f"{name}: {value}")
    return f"{mark} {change['object']}" + (f" ({'; '.join(parts)})" if parts else "")
