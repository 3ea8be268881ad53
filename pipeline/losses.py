"""Gathers what was lost in translation, by route, provider, surface, model and field, within hard bounds."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from datetime import UTC, date, datetime

from pipeline.call import Record
from routing.losses import Loss, Tally

# Clients make up fields, and models where a route takes any: so many of them a day are told apart for each
# route, far more than an application has, and what comes beyond counts as "other".
MAX_PER_ROUTE = 500
# While the database is away they are kept, at some hundred bytes each.
MAX_KEPT = 20_000
OTHER = "other"
# As long as the table's columns.
MAX_MODEL = 200
MAX_FIELD = 64


class LossBook:
    """A book of the pipeline, emptied by a writer in another thread."""

    def __init__(self) -> None:
        # Held for the time of a few dictionary look-ups, on either side.
        self._lock = threading.Lock()
        self._kept: dict[Loss, Tally] = {}
        self._day = date.min
        self._told_apart: dict[str, set[Loss]] = {}

    def opened(self, record: Record) -> None:
        """What is lost is known when the call is over."""

    def closed(self, record: Record) -> None:
        # What is said again was lost when it was said first.
        if not record.dropped or record.cache == "hit":
            return
        now = datetime.now(UTC)
        model = "".join(c if c.isprintable() else "?" for c in record.upstream_model[:MAX_MODEL])
        with self._lock:
            for field in record.dropped:
                loss = Loss(
                    day=now.date(),
                    route=record.route,
                    provider=record.provider,
                    surface=record.surface,
                    model=model,
                    field=field[:MAX_FIELD],
                    refused=record.losses == "strict",
                )
                self._add(self._bounded(loss), Tally(1, now))

    def take(self) -> dict[Loss, Tally]:
        """All that was gathered; from now on it is the caller's."""
        with self._lock:
            taken, self._kept = self._kept, {}
        return taken

    def give_back(self, losses: Mapping[Loss, Tally]) -> None:
        """What could not be written."""
        with self._lock:
            for loss, tally in losses.items():
                self._add(loss, tally)

    def _bounded(self, loss: Loss) -> Loss:
        """The loss, or "other" where its route has too many different ones today."""
        if loss.day != self._day:
            self._day = loss.day
            self._told_apart.clear()
        known = self._told_apart.setdefault(loss.route, set())
        if loss not in known:
            if len(known) >= MAX_PER_ROUTE:
                return loss._replace(model=OTHER, field=OTHER)
            known.add(loss)
        return loss

    def _add(self, loss: Loss, tally: Tally) -> None:
        kept = self._kept.get(loss)
        if kept is not None:
            kept.count += tally.count
            kept.last_seen = max(kept.last_seen, tally.last_seen)
        elif len(self._kept) < MAX_KEPT:
            self._kept[loss] = tally
