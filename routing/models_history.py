"""Rows of the history: how each row that steers traffic stood, and from when until when."""

from __future__ import annotations

from django.db import models
from django.db.models import Q


class RowVersion(models.Model):
    """How a row that steers traffic stood from one revision until another one changed it.

    `values`: its columns as JSON, without secrets; null: it was deleted. `until`: the revision that came
    after this version; null: it stands. `mark`: tells a credential's sealed secret from another one and says
    nothing of it; "" for what has none, null: from before marks were written.
    """

    table = models.CharField(max_length=16)
    row = models.BigIntegerField()
    since = models.BigIntegerField()
    until = models.BigIntegerField(null=True)
    values = models.JSONField(null=True)
    mark = models.CharField(max_length=16, null=True)  # noqa: DJ001 - unknown is not none

    class Meta:
        ordering = ("since", "id")
        constraints = (
            models.UniqueConstraint(fields=("table", "row", "since"), name="rowversion_once_a_revision"),
            models.UniqueConstraint(
                fields=("table", "row"), condition=Q(until__isnull=True), name="rowversion_stands_once"
            ),
            models.CheckConstraint(
                condition=Q(until__isnull=True) | Q(until__gt=models.F("since")), name="rowversion_has_a_span"
            ),
        )
        indexes = (models.Index(fields=("since",)), models.Index(fields=("until",)))

    def __str__(self) -> str:
        return f"{self.table} {self.row} as of revision {self.since}"
