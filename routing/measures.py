"""Measures of an incident: begun, ended and run out, each as a revision, so that every replica has it within
a second and the audit log tells it."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from providers.models import Provider
from routing.approval_gate import Leave
from routing.models_measures import Measure
from routing.revisions import hold, publish

MeasureKind = Literal["drain", "shed", "freeze"]

# A measure is for an incident. What shall stay so is an edit.
MOST_MINUTES = 7 * 24 * 60
_TIME = "the clock"


def standing() -> QuerySet[Measure]:
    """Those that hold, the newest first."""
    return Measure.objects.filter(ended=None, until__gt=timezone.now()).select_related("provider")


def begin(measure: Measure, minutes: int, author: str) -> Measure:
    """Let it hold from now on, for so long; one that does the same already ends. Raises ValidationError."""
    with transaction.atomic():
        hold()
        now = timezone.now()
        measure.author, measure.started = author[:150], now
        measure.until = now + timedelta(minutes=minutes)
        measure.full_clean()
        same = Measure.objects.filter(kind=measure.kind, provider=measure.provider, ended=None)
        same.update(ended=now, ended_by=author[:150])
        measure.save()
        fields = {"until": f"{measure.until:%Y-%m-%d %H:%M} UTC", "reason": measure.reason}
        _publish(measure, author, "begun", fields)
    return measure


def end(measure: Measure, author: str) -> int | None:
    """Let it hold no longer. The revision; None: it had ended."""
    with transaction.atomic():
        hold()
        measure.refresh_from_db()
        if measure.ended is not None:
            return None
        return _ended(measure, author)


def end_overdue() -> None:
    """End those whose time is over. Any process may; the first one does. Blocks. Raises DatabaseError."""
    with transaction.atomic():
        hold()
        for measure in Measure.objects.filter(ended=None, until__lte=timezone.now()).order_by("id"):
            _ended(measure, _TIME)


def provider_named(name: str) -> Provider | None:
    """The provider that a drain names."""
    return Provider.objects.filter(name=name).first()


def _ended(measure: Measure, author: str) -> int:
    measure.ended, measure.ended_by = timezone.now(), author[:150]
    measure.save(update_fields=["ended", "ended_by"])
    return _publish(measure, author, "ended", {})


def _publish(measure: Measure, author: str, what: str, fields: dict[str, str]) -> int:
    change = {"object": str(measure), "action": what, "fields": fields}
    return publish(author, f"{measure} {what}", [change], edit=False, leave=Leave())
