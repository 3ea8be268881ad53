"""Rows of what operators did at once in an incident, for a time: drains, shedding and freezes."""

from __future__ import annotations

from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from providers.models import Provider

# As routing.measures.MeasureKind names them.
MEASURES = (
    ("drain", "Drain a provider: no new calls go there"),
    ("shed", "Shed low priority: such calls are refused"),
    ("freeze", "Freeze edits: nothing that steers traffic is changed"),
)


class Measure(models.Model):
    """Something that holds on every replica from `started` until `until`, or until somebody ends it. Written
    once; only its end is added."""

    kind = models.CharField(max_length=8, choices=MEASURES)
    provider = models.ForeignKey(Provider, models.CASCADE, null=True, blank=True, related_name="measures")
    reason = models.CharField(max_length=300, help_text="Why, for whoever comes next.")
    author = models.CharField(max_length=150, editable=False)
    started = models.DateTimeField(default=timezone.now, editable=False)
    until = models.DateTimeField()
    ended = models.DateTimeField(null=True, editable=False)
    ended_by = models.CharField(max_length=150, blank=True, editable=False)

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.CheckConstraint(
                condition=Q(kind="drain", provider__isnull=False)
                | Q(kind__in=("shed", "freeze"), provider__isnull=True),
                name="measure_of_a_provider",
            ),
            models.CheckConstraint(condition=Q(until__gt=F("started")), name="measure_has_a_span"),
        )
        indexes = (models.Index(fields=("until",), condition=Q(ended__isnull=True), name="measure_standing"),)

    def __str__(self) -> str:
        if self.kind == "drain":
            return f"drain of {self.provider}"
        return "shedding of low priority" if self.kind == "shed" else "freeze of edits"

    def clean(self) -> None:
        if (self.kind == "drain") != (self.provider_id is not None):
            raise ValidationError({"provider": "A drain is of one provider, and nothing else is."})
