"""Rows of drafts: changes that are gathered and steer nothing until they are published together."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.models import Q
from django.utils import timezone

OPEN, PUBLISHED, DROPPED = "open", "published", "dropped"
STATES = (
    (OPEN, "open"),
    (PUBLISHED, "published"),
    (DROPPED, "dropped"),
)


class Draft(models.Model):
    """Changes to several objects under a name. `base`: the revision that it began from; `revision`: the one
    that it became. Who put what in is in the audit log."""

    name = models.CharField(max_length=100, help_text="What it is about, for whoever opens the list.")
    note = models.CharField(max_length=300, blank=True, help_text="What for.")
    author = models.CharField(max_length=150, editable=False)
    state = models.CharField(max_length=10, choices=STATES, default=OPEN, editable=False)
    created = models.DateTimeField(default=timezone.now, editable=False)
    changed = models.DateTimeField("last change", default=timezone.now, editable=False)
    base = models.BigIntegerField("begun from revision", default=0, editable=False)
    revision = models.BigIntegerField("published as revision", null=True, editable=False)
    # Ids of the users who put something in; null: nobody who is known.
    editors: Any = models.JSONField(null=True, editable=False)

    class Meta:
        ordering = ("-changed", "-id")
        constraints = (
            models.CheckConstraint(condition=~Q(name=""), name="draft_has_a_name"),
            models.CheckConstraint(
                condition=Q(state__in=[word for word, _ in STATES]), name="draft_state_is_known"
            ),
            models.UniqueConstraint(
                fields=("name",),
                condition=Q(state=OPEN),
                name="draft_name_once",
                violation_error_message="There is a draft of this name.",
            ),
        )

    def __str__(self) -> str:
        return self.name

    @property
    def standing(self) -> bool:
        """Whether it can still be edited, published and dropped."""
        return self.state == OPEN


class DraftRow(models.Model):
    """How one row was when it came into a draft, and how it is to be; null: not there. A secret is in
    neither: `sealed` is the new one of a credential, entered for `destination`; it is forgotten with the
    draft."""

    draft = models.ForeignKey(Draft, models.CASCADE, related_name="rows")
    table = models.CharField(max_length=16)
    row = models.BigIntegerField()
    base: Any = models.JSONField(null=True)
    values: Any = models.JSONField(null=True)
    sealed = models.TextField(blank=True)
    destination = models.CharField(max_length=600, blank=True)

    class Meta:
        ordering = ("id",)
        constraints = (
            models.UniqueConstraint(fields=("draft", "table", "row"), name="draftrow_once_a_draft"),
        )

    def __str__(self) -> str:
        return f"{self.table} {self.row} in a draft"
