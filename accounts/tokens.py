"""Management tokens: how a program stands for a member of staff at the management API. They are no gateway
keys, and of no use for calls."""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.models import Group, User
from django.db import models
from django.utils import timezone

from accounts.keys import KeyHasher

# Told from gateway keys at a glance, by people and by scanners of source.
MARK = "gwm-"
_PUBLIC = 8
# A use is written down once in so long.
_USE = timedelta(minutes=1)


class ManagementToken(models.Model):
    """A token that may what its user may. It is shown once and stored as a keyed hash."""

    user = models.ForeignKey(
        User,
        models.CASCADE,
        related_name="management_tokens",
        help_text="Whose rights it has.",
    )
    label = models.CharField(max_length=100, blank=True, help_text="What it is for.")
    # A token whose role or team is taken away must not become one that may more.
    role = models.ForeignKey(
        Group, models.CASCADE, null=True, blank=True, help_text="It may what this role may, and its user too."
    )
    team = models.ForeignKey(
        "accounts.Team", models.CASCADE, null=True, blank=True, help_text="It is for this team alone."
    )
    prefix = models.CharField(max_length=16, editable=False)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    created = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField(
        null=True, blank=True, help_text="From then on it is refused. Empty: never."
    )
    used_at = models.DateTimeField(null=True, blank=True, editable=False)
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        verbose_name = "management token"
        ordering = ("-created", "-id")

    def __str__(self) -> str:
        return f"{self.prefix}…" + (f" ({self.label})" if self.label else "")

    @property
    def usable(self) -> bool:
        """Neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or self.expires_at > timezone.now())


def new_token(
    user: User, hasher: KeyHasher, label: str = "", expires_at: datetime | None = None, **narrow: Any
) -> tuple[ManagementToken, str]:
    """A saved row and the token itself, which is kept nowhere. `narrow`: its `role` and `team`. Raises
    ValidationError."""
    token = MARK + secrets.token_urlsafe(32)
    row = ManagementToken(
        user=user,
        label=label,
        prefix=token[: len(MARK) + _PUBLIC],
        digest=_digests(token, hasher)[0],
        expires_at=expires_at,
        **narrow,
    )
    row.full_clean()
    row.save()
    return row, token


def find_token(token: str, hasher: KeyHasher) -> ManagementToken | None:
    """The usable token of an active member of staff; None: there is none."""
    if not token.startswith(MARK) or len(token) > 200:
        return None
    row = ManagementToken.objects.select_related("user").filter(digest__in=_digests(token, hasher)).first()
    if row is None or not row.usable or not row.user.is_active or not row.user.is_staff:
        return None
    now = timezone.now()
    if row.used_at is None or now - row.used_at > _USE:
        ManagementToken.objects.filter(pk=row.pk).update(used_at=now)
    return row


def _digests(token: str, hasher: KeyHasher) -> list[str]:
    # In a space of their own: no gateway key has the digest of a token.
    return [digest.hex() for digest in hasher.digests(f"management\n{token}")]
