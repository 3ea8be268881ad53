"""What operators see of the ledger in Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge


class LedgerMetrics:
    """How far the database is behind, and what was written, dropped and orphaned."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._lag = Gauge(
            "gateway_ledger_lag_seconds",
            "For how long the oldest line of the journal has waited for the database, at most.",
            multiprocess_mode="livemax",
            registry=registry,
        )
        self._depth = Gauge(
            "gateway_ledger_journal_bytes",
            "Lines of the journal that wait for the database.",
            multiprocess_mode="livesum",
            registry=registry,
        )
        self._written = Counter(
            "gateway_ledger_requests_written", "Requests whose end is in the database.", registry=registry
        )
        self._dropped = Counter(
            "gateway_ledger_dropped",
            "Lines that are lost: the journal was full, or neither disk nor memory took them (disk), they "
            "could not be read (unreadable), or belong to days that were deleted (stale).",
            ("reason",),
            registry=registry,
        )
        self._orphaned = Counter(
            "gateway_ledger_orphaned",
            "Requests that were charged as reserved because their process died.",
            registry=registry,
        )

    def waiting(self, lag: float, depth: int) -> None:
        """How far behind the database is: seconds and bytes."""
        self._lag.set(lag)
        self._depth.set(depth)

    def written(self, count: int) -> None:
        """So many requests have ended in the database."""
        self._written.inc(count)

    def dropped(self, reason: str, count: int = 1) -> None:
        """So many lines are lost."""
        if count:
            self._dropped.labels(reason).inc(count)

    def orphaned(self, count: int) -> None:
        """So many requests were orphaned."""
        if count:
            self._orphaned.inc(count)
