"""Rows of captures: sealed, each of one request of one team; and since when a team's are forgotten."""

from __future__ import annotations

from django.db import models


class Capture(models.Model):
    """What one request said and what it was answered: `sealed`, and openable only as what this row is. A
    team's id is not a reference: a team that is gone keeps nobody from writing, and its rows are pruned."""

    request_id = models.CharField(max_length=64, unique=True)
    team_id = models.BigIntegerField()
    at = models.DateTimeField()
    surface = models.CharField(max_length=32)
    status = models.PositiveSmallIntegerField()
    cached = models.BooleanField(default=False)
    cut = models.BooleanField(default=False)
    sealed = models.TextField()

    class Meta:
        verbose_name = "captured prompt and answer"
        verbose_name_plural = "captured prompts and answers"
        # Seen by a right of its own, forgotten by another, never added or changed by anybody.
        default_permissions = ("view", "delete")
        indexes = (models.Index(fields=("team_id", "at"), name="capture_team_at"),)

    def __str__(self) -> str:
        return self.request_id

    @property
    def owner(self) -> str:
        """For whom it is sealed: no other row, and no credential, can be put in its place."""
        return owner(self.team_id, self.request_id)


class CaptureCut(models.Model):
    """What began up to this moment is forgotten, also where a process has not yet written it."""

    team_id = models.BigIntegerField(unique=True)
    before = models.DateTimeField()

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"team {self.team_id}"


def owner(team_id: int, request_id: str) -> str:
    """The name that a capture is sealed for."""
    return f"capture {team_id} {request_id}"
