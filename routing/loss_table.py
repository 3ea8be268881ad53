"""Translation losses in the database: counts that several processes add to."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

from django.db import connections, transaction
from django.db.models import F
from django.db.models.functions import Greatest

from routing.losses import Loss, Tally
from routing.models import TranslationLoss

# A deletion of this many rows is over before anybody waits for it.
BATCH = 1000


class LossTable:
    """The store of the writer. Safe with any number of replicas."""

    def add(self, losses: Mapping[Loss, Tally]) -> None:
        """Add the counts to those that are there, in one transaction. Blocks. Raises DatabaseError."""
        # In one order everywhere, so that two processes never wait for each other.
        ordered = sorted(losses)
        rows = [TranslationLoss(**loss._asdict(), last_seen=losses[loss].last_seen) for loss in ordered]
        with transaction.atomic():
            TranslationLoss.objects.bulk_create(rows, ignore_conflicts=True)
            for loss in ordered:
                tally = losses[loss]
                TranslationLoss.objects.filter(**loss._asdict()).update(
                    count=F("count") + tally.count, last_seen=Greatest("last_seen", tally.last_seen)
                )

    def forget(self, before: date) -> None:
        """Delete the days before this one, a batch at a time. Blocks. Raises DatabaseError."""
        old = TranslationLoss.objects.filter(day__lt=before).order_by("pk").values_list("pk", flat=True)
        while pks := list(old[:BATCH]):
            TranslationLoss.objects.filter(pk__in=pks).delete()

    def release(self) -> None:
        """Close the calling thread's database connections."""
        connections.close_all()
