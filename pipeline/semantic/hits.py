"""What is written down of hits, for those who judge them: gathered here, taken by a writer in a thread."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from routing.semantic_hits import Event

# While the database is away so many are kept; what comes beyond is counted by the metrics alone.
MAX_KEPT = 2000


class Hits:
    """Events in memory. May be called from any thread."""

    def __init__(self) -> None:
        # Held for the time of a few list operations, on either side.
        self._lock = threading.Lock()
        self._events: list[Event] = []

    def note(self, event: Event) -> None:
        """It must not wait."""
        with self._lock:
            if len(self._events) < MAX_KEPT:
                self._events.append(event)

    def take(self) -> list[Event]:
        """All that was gathered; from now on it is the caller's."""
        with self._lock:
            taken, self._events = self._events, []
        return taken

    def give_back(self, events: Sequence[Event]) -> None:
        """What could not be written."""
        with self._lock:
            self._events = [*events, *self._events][:MAX_KEPT]
