"""Rows of single sign-on: who at an identity provider is which user, and which sign-ins were completed."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.db import models
from django.utils import timezone


class Identity(models.Model):
    """Somebody at an identity provider, as it promises never to call anybody else."""

    user = models.ForeignKey(User, models.CASCADE, related_name="identities")
    issuer = models.CharField(max_length=255, help_text="The identity provider's issuer, to the letter.")
    subject = models.CharField(
        max_length=255, help_text="Its `sub` of this user. Whoever has it is this user."
    )
    created = models.DateTimeField(default=timezone.now, editable=False)
    used_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        verbose_name = "identity"
        verbose_name_plural = "identities"
        ordering = ("issuer", "subject")
        constraints = (models.UniqueConstraint(fields=("issuer", "subject"), name="identity_once"),)

    def __str__(self) -> str:
        return f"{self.subject} at {self.issuer}"


class SpentSignIn(models.Model):
    """A sign-in that was completed, so that nobody completes it again; kept as long as one could try."""

    digest = models.CharField(max_length=64, unique=True)
    at = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return self.digest
