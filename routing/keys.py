"""Gateway keys issued, revoked and rotated: each in one transaction, which publishes a revision."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

from django.db import transaction
from django.utils import timezone

from accounts.issuing import Wish, make, succeed
from accounts.models import ApiKey, Team
from routing.approval_gate import Leave, NeedsApprovalError, Shown
from routing.revisions import Change, hold, publish


@dataclass(frozen=True, slots=True)
class Issued:
    """A new key's row, the key itself, which is kept nowhere, and the revision."""

    row: ApiKey
    key: str
    revision: int


def issue_key(team: Team, wish: Wish, author: str) -> Issued:
    """A new key. Raises ValidationError, and NeedsApprovalError with the key."""
    with transaction.atomic():
        hold()
        row, key = make(team, wish)
        with _shown_once(row, key):
            words = f"key {row.prefix} issued to {team}"
            number = publish(author, words, [_change(row, "added")], edit=False)
    return Issued(row, key, number)


def revoke_key(row: ApiKey, author: str) -> int | None:
    """Refuse a key from now on. The revision; None: it was revoked already."""
    with transaction.atomic():
        hold()
        row.refresh_from_db()
        if row.revoked_at is not None:
            return None
        row.revoked_at = timezone.now()
        row.save(update_fields=["revoked_at"])
        return publish(
            author, f"key {row.prefix} revoked", [_change(row, "revoked")], edit=False, leave=Leave()
        )


def rotate_key(row: ApiKey, overlap: timedelta, author: str) -> Issued:
    """A successor with all that the key may; the key itself is refused when `overlap` is over. Raises
    KeyStateError for one that is not in use, and NeedsApprovalError with the key."""
    with transaction.atomic():
        hold()
        row.refresh_from_db()
        successor, key = succeed(row, overlap)
        changes = [
            _change(successor, "added"),
            _change(row, "changed", until=f"{row.expires_at:%Y-%m-%d %H:%M} UTC"),
        ]
        with _shown_once(successor, key):
            words = f"key {row.prefix} rotated to {successor.prefix}"
            number = publish(author, words, changes, edit=False)
    return Issued(successor, key, number)


@contextmanager
def _shown_once(row: ApiKey, key: str) -> Iterator[None]:
    """A key that is held back is shown all the same, now or never."""
    try:
        yield
    except NeedsApprovalError as error:
        error.shown = Shown(row, key)
        raise


def _change(row: ApiKey, action: str, **fields: str) -> Change:
    return {"object": f"API key {row}", "action": action, "fields": {"team": row.team.name, **fields}}
