"""The audit log: who changed what, when, by which way and why, with what was before and after, and no
secrets.

What steers traffic is written with its revision (routing.audit); users, roles, tokens and logins by
audit_access.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import models
from django.utils import timezone

from accounts.acting import acting

WAYS = (
    ("admin", "The admin"),
    ("api", "The management API"),
    ("process", "A command, or the start"),
)
# What a value is shown as that must not be read here.
REPLACED = "replaced"
_MOST_TEXT = 500


class AuditEntry(models.Model):
    """Something that was done to one object. `changes`: of each field what was and what is, or `replaced` of
    a secret. `revision`: of which it is a part; null: it steers no traffic."""

    at = models.DateTimeField("time", default=timezone.now, db_index=True)
    author = models.CharField(max_length=150, db_index=True)
    via = models.CharField("by", max_length=8, choices=WAYS)
    token = models.CharField("management token", max_length=16, blank=True)
    address = models.GenericIPAddressField(null=True, blank=True)
    action = models.CharField(max_length=32, db_index=True)
    object = models.CharField(max_length=_MOST_TEXT)
    reason = models.CharField(max_length=_MOST_TEXT, blank=True)
    changes = models.JSONField(default=dict, blank=True)
    revision = models.BigIntegerField(null=True, blank=True)

    class Meta:
        verbose_name = "audit entry"
        verbose_name_plural = "audit log"
        ordering = ("-at", "-id")

    def __str__(self) -> str:
        return f"{self.author}: {self.object} {self.action}"


def entry(what: str, action: str, changes: Mapping[str, Any] | None = None, author: str = "") -> AuditEntry:
    """An entry of now, not saved. `author`: where the request at hand does not say."""
    now = acting()
    return AuditEntry(
        author=((now.author if now else "") or author or "system")[:150],
        via=now.via if now else "process",
        token=now.token if now else "",
        address=now.address if now else None,
        action=action[:32],
        object=what[:_MOST_TEXT],
        reason=now.reason if now else "",
        changes=dict(changes or {}),
    )


def differences(
    before: Mapping[str, Any] | None, after: Mapping[str, Any] | None, hidden: frozenset[str]
) -> dict[str, Any]:
    """Of each column that differs what was and what is; of a row that was not there, or is not any more, what
    is not empty."""
    was, now = before or {}, after or {}
    changed = {key: [was.get(key), now.get(key)] for key in {**was, **now} if was.get(key) != now.get(key)}
    if before is None or after is None:
        changed = {
            key: pair for key, pair in changed.items() if any(each not in (None, "", [], {}) for each in pair)
        }
    return {key: REPLACED if key in hidden else pair for key, pair in changed.items()}
