"""Gateway keys issued, revoked and rotated: each in one transaction, which publishes a revision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.utils import timezone

from accounts.apps import hasher
from accounts.keys import display_prefix, issue
from accounts.models import ApiKey, Team
from routing.revisions import Change, hold, publish


class KeyStateError(Exception):
    """The key cannot be treated so as it is; the text says why."""


@dataclass(frozen=True, slots=True)
class Issued:
    """A new key's row, the key itself, which is kept nowhere, and the revision."""

    row: ApiKey
    key: str
    revision: int


@dataclass(frozen=True, slots=True)
class Wish:
    """What a key is to be. `priority`: "" for its team's."""

    label: str = ""
    expires_at: datetime | None = None
    models: Sequence[str] = ()
    priority: str = ""


def issue_key(team: Team, wish: Wish, author: str) -> Issued:
    """A new key. Raises ValidationError."""
    with transaction.atomic():
        hold()
        row, key = _made(team, wish)
        number = publish(author, f"key {row.prefix} issued to {team}", [_change(row, "added")], edit=False)
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
        return publish(author, f"key {row.prefix} revoked", [_change(row, "revoked")], edit=False)


def rotate_key(row: ApiKey, overlap: timedelta, author: str) -> Issued:
    """A successor with all that the key may; the key itself is refused when `overlap` is over. Raises
    KeyStateError for one that is not in use."""
    with transaction.atomic():
        hold()
        row.refresh_from_db()
        if row.state != "active":
            raise KeyStateError(f"The key is {row.state}: there is nothing to take its place of.")
        wish = Wish(row.label, row.expires_at, row.allowed_models, row.priority)
        successor, key = _made(row.team, wish)
        ends = timezone.now() + overlap
        if row.expires_at is None or row.expires_at > ends:
            row.expires_at = ends
            row.save(update_fields=["expires_at"])
        for allowance in (*row.limits.all(), *row.budgets.all()):
            allowance.pk = None
            allowance._state.adding = True
            allowance.key = successor
            allowance.save()
        changes = [
            _change(successor, "added"),
            _change(row, "changed", until=f"{row.expires_at:%Y-%m-%d %H:%M} UTC"),
        ]
        number = publish(author, f"key {row.prefix} rotated to {successor.prefix}", changes, edit=False)
    return Issued(successor, key, number)


def _made(team: Team, wish: Wish) -> tuple[ApiKey, str]:
    key = issue()
    row = ApiKey(
        team=team,
        label=wish.label,
        prefix=display_prefix(key),
        digest=hasher().digest(key).hex(),
        expires_at=wish.expires_at,
        allowed_models=list(wish.models),
        priority=wish.priority,
    )
    row.full_clean()
    row.save()
    return row, key


def _change(row: ApiKey, action: str, **fields: str) -> Change:
    return {"object": f"API key {row}", "action": action, "fields": {"team": row.team.name, **fields}}
