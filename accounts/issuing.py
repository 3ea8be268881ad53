"""Makes gateway keys, and is the only place that does: one that is drawn, one that was chosen, a successor
of one in use. Nothing is published here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils import timezone

from accounts.apps import hasher
from accounts.keys import KeyHasher, display_prefix, issue
from accounts.models import ApiKey, Team


class KeyStateError(Exception):
    """The key cannot be treated so as it is; the text says why."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a key is to be. `priority`: "" for its team's."""

    label: str = ""
    expires_at: datetime | None = None
    models: Sequence[str] = ()
    priority: str = ""


def draw(row: ApiKey) -> str:
    """Give a row that is not saved yet a new key, and return it. It is kept nowhere."""
    key = issue()
    mark(row, key, hasher())
    return key


def mark(row: ApiKey, key: str, hasher: KeyHasher) -> ApiKey:
    """Have a row that is not saved yet stand for this key."""
    row.prefix, row.digest = display_prefix(key), hasher.digest(key).hex()
    return row


def known(key: str, hasher: KeyHasher) -> ApiKey | None:
    """The row of a key, whatever its state. Old peppers count, or a key that was revoked would come back with
    a new one."""
    return ApiKey.objects.filter(digest__in=[each.hex() for each in hasher.digests(key)]).first()


def make(team: Team, wish: Wish, replaces: ApiKey | None = None) -> tuple[ApiKey, str]:
    """A new row and its key. Raises ValidationError."""
    row = ApiKey(
        team=team,
        label=wish.label,
        expires_at=wish.expires_at,
        allowed_models=list(wish.models),
        priority=wish.priority,
        replaces=replaces,
    )
    key = draw(row)
    row.full_clean()
    row.save()
    return row, key


def succeed(row: ApiKey, overlap: timedelta) -> tuple[ApiKey, str]:
    """A successor with all that the key may, limits and budgets too, and the successor's key; the key itself
    ends when `overlap` is over. Raises KeyStateError for one that is not in use."""
    if row.state != "active":
        raise KeyStateError(f"The key is {row.state}: there is nothing to take its place of.")
    wish = Wish(row.label, row.expires_at, row.allowed_models, row.priority)
    successor, key = make(row.team, wish, row)
    ends = timezone.now() + overlap
    if row.expires_at is None or row.expires_at > ends:
        row.expires_at = ends
        row.save(update_fields=["expires_at"])
    for allowance in (*row.limits.all(), *row.budgets.all()):
        allowance.pk = None
        allowance._state.adding = True
        allowance.key = successor
        allowance.save()
    return successor, key
