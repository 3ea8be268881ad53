"""Rows of approvals: who asked for which draft to be published, and what somebody else said to it."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.models import Q
from django.utils import timezone

from routing.models_drafts import Draft

ASKED, APPROVED, REJECTED, VOID, WITHDRAWN, FORCED = (
    "asked",
    "approved",
    "rejected",
    "void",
    "withdrawn",
    "forced",
)
ANSWERS = (
    (ASKED, "awaits approval"),
    (APPROVED, "approved"),
    (REJECTED, "rejected"),
    (VOID, "void"),
    (WITHDRAWN, "withdrawn"),
    (FORCED, "published by breaking the glass"),
)


class Approval(models.Model):
    """A request to publish a draft just as it was then. `print`: of all that it changes, with what was
    before; `asker`: the user's id, null for a command in nobody's name; `risks`: why it takes two."""

    draft = models.ForeignKey(Draft, models.CASCADE, related_name="approvals")
    print = models.CharField(max_length=64)
    risks: Any = models.JSONField(default=list)
    reason = models.CharField(max_length=500)
    asked_by = models.CharField(max_length=150)
    asker = models.BigIntegerField(null=True)
    asked = models.DateTimeField(default=timezone.now)
    state = models.CharField(max_length=10, choices=ANSWERS, default=ASKED)
    answered_by = models.CharField(max_length=150, blank=True)
    answered = models.DateTimeField(null=True)
    words = models.CharField(max_length=500, blank=True)

    class Meta:
        ordering = ("-id",)
        # Nobody edits one: it is asked for and answered.
        default_permissions = ()
        permissions = (("approve_changes", "Can approve and reject risky changes of others"),)
        constraints = (
            models.UniqueConstraint(
                fields=("draft",), condition=Q(state=ASKED), name="approval_asked_once_a_draft"
            ),
            models.CheckConstraint(
                condition=Q(state__in=[word for word, _ in ANSWERS]), name="approval_state_is_known"
            ),
        )

    def __str__(self) -> str:
        return f"approval of {self.draft}"
