"""Writes to the audit log what a revision changed: each row with what was before and after."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from accounts.audit import REPLACED, AuditEntry, differences, entry
from routing.history import SECRET, Recorded, State
from routing.row_names import name, named

# Addresses of webhooks are secrets of whoever listens there.
HIDDEN = frozenset({"digest", "webhook_url"}).union(*SECRET.values())
# A price list has thousands of rows. Beyond this the revision tells them, and the log how many there were.
_MOST = 200


def audit(number: int, why: tuple[str, str], recorded: Recorded, summary: Sequence[dict[str, Any]]) -> None:
    """Write down what revision `number` changed; `why`: its author and reason. What the history cannot tell
    (the first revision; what is no row of it) is told as whoever published says."""
    author, reason = why
    # Secrets that were only sealed anew are told as whoever did so says.
    told = recorded.known and any(before != after for before, after in recorded.changed.values())
    rows = list(_of_rows(recorded) if told else _of_summary(summary))
    if len(rows) > _MOST:
        rows = [entry(f"{len(rows)} rows", "changed")]
    for row in rows:
        row.author, row.reason, row.revision = author[:150], reason[:500], number
    AuditEntry.objects.bulk_create(rows)


def _of_rows(recorded: Recorded) -> Iterable[AuditEntry]:
    for place, (before, after) in sorted(recorded.changed.items()):
        action = "added" if before is None else "deleted" if after is None else "changed"
        if place.table == "key" and before and after and not before["revoked_at"] and after["revoked_at"]:
            action = "revoked"
        states = [{place: after or before or {}}, recorded.now]
        changes = differences(before, after, HIDDEN)
        if place in recorded.replaced:
            changes["secret"] = REPLACED
        # Else only the columns are others: a newer version has added one.
        if changes or action != "changed":
            yield entry(name(place, *states), action, named(changes, recorded.now, _before(recorded)))


def _before(recorded: Recorded) -> State:
    return {place: was for place, (was, _) in recorded.changed.items() if was is not None}


def _of_summary(summary: Sequence[dict[str, Any]]) -> Iterable[AuditEntry]:
    for change in summary:
        yield entry(change["object"], change["action"], change["fields"])
