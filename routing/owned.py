"""Files and batches that providers keep for teams: the rows that say whose each of them is."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils import timezone

from accounts.models import ApiKey, Team
from providers.models import Credential, Provider

OBJECT_KINDS = (("file", "file"), ("batch", "batch"))


class OwnedObject(models.Model):
    """A file or batch at a provider. Written by calls, never by hand: who has no row is told that there is
    nothing."""

    kind = models.CharField(max_length=5, choices=OBJECT_KINDS)
    upstream_id = models.CharField("id at the provider", max_length=128)
    provider = models.ForeignKey(Provider, models.CASCADE, related_name="owned_objects")
    # Only the account that made it can see it. A secret that is replaced on its row stays that account's.
    credential = models.ForeignKey(Credential, models.SET_NULL, null=True, related_name="+")
    team = models.ForeignKey(Team, models.PROTECT, related_name="owned_objects")
    key = models.ForeignKey(ApiKey, models.SET_NULL, null=True, related_name="+")
    created = models.DateTimeField(default=timezone.now, editable=False)
    expires = models.BigIntegerField(null=True, help_text="Seconds since the epoch.")
    # As the provider last showed it: names, sizes and states, and nothing of what is in it.
    shown = models.JSONField(default=dict)

    class Meta:
        ordering = ("-id",)
        indexes = (
            models.Index(fields=("team", "kind", "-id"), name="owned_by_team"),
            models.Index(fields=("expires",), condition=Q(expires__isnull=False), name="owned_until"),
        )
        constraints = (
            # So that an id that a provider gives twice stays with whom it was given first.
            models.UniqueConstraint(fields=("provider", "kind", "upstream_id"), name="owned_object_once"),
            models.CheckConstraint(
                condition=Q(kind__in=[word for word, _ in OBJECT_KINDS]) & ~Q(upstream_id=""),
                name="owned_object_is_named",
            ),
        )

    def __str__(self) -> str:
        return f"{self.kind} {self.upstream_id}"
