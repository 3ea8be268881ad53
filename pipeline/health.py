"""What became of the last attempt at each provider: the short answer to "does it work?"."""

from __future__ import annotations

import time
from typing import Any

from pipeline.call import Record


class ProviderHealth:
    """A book of the pipeline. Bounded by the number of providers."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[str, float]] = {}

    def opened(self, record: Record) -> None:
        """An attempt says something only when it has ended."""

    def closed(self, record: Record) -> None:
        for attempt in record.attempts:
            self._last[attempt.provider] = (attempt.outcome, record.ended)

    def report(self, provider: str) -> dict[str, Any]:
        """`last_outcome` ("ok", an error code, or None before the first call) and its age in seconds."""
        outcome, at = self._last.get(provider, (None, 0.0))
        age = None if outcome is None else round(time.monotonic() - at, 1)
        return {"last_outcome": outcome, "seconds_ago": age}
