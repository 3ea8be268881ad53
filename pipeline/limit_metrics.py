"""What operators see of limits and budgets in Prometheus. Labels are bounded by the rows that they make."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from routing.allowances import Budget, Scope

# Up to what a limit may let a call wait.
_WAITS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 600)


class LimitMetrics:
    """Refusals, the state of the store, and how much of budgets is spent."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._refusals = Counter(
            "gateway_limit_refusals",
            "Calls that a limit or budget refused; kind is requests, tokens, concurrency or budget.",
            ("kind", "scope"),
            registry=registry,
        )
        self._queue = Gauge(
            "gateway_limit_queue_depth",
            "Calls that wait for a place under a limit of requests at the same time.",
            ("scope",),
            multiprocess_mode="livesum",
            registry=registry,
        )
        self._queued = Histogram(
            "gateway_limit_queue_seconds",
            "How long calls waited for a place under such a limit, those that got none too.",
            ("scope",),
            buckets=_WAITS,
            registry=registry,
        )
        self._degraded = Gauge(
            "gateway_redis_degraded",
            "1 while Redis is away and each process counts limits by itself.",
            multiprocess_mode="livemax",
            registry=registry,
        )
        self._rebuilds = Counter(
            "gateway_counter_rebuilds",
            "Counters of budgets that Redis had lost and that were begun anew from the ledger.",
            registry=registry,
        )
        self._waiting = Gauge(
            "gateway_settlements_waiting",
            "Settlements of calls that wait for Redis.",
            multiprocess_mode="livesum",
            registry=registry,
        )
        self._lost = Counter(
            "gateway_settlements_lost",
            "Settlements that were given up because too many waited: the reservation stays charged.",
            registry=registry,
        )
        self._unpriced = Counter(
            "gateway_unpriced_calls",
            "Calls under a budget in money whose model has no known price: they count as nothing.",
            registry=registry,
        )
        self._spent = Gauge(
            "gateway_budget_spent_ratio",
            "How much of a budget is spent in its current period: 1 is all of it.",
            ("budget", "scope", "owner"),
            multiprocess_mode="mostrecent",
            registry=registry,
        )
        self._notices = Counter(
            "gateway_budget_notices",
            "Webhooks about budgets by how they ended.",
            ("outcome",),
            registry=registry,
        )

    def refused(self, kind: str, scope: Scope | str) -> None:
        """A limit or budget of this scope refused a call."""
        self._refusals.labels(kind, scope).inc()

    def queued(self, scope: str, change: int) -> None:
        """One more call, or one less, waits for a limit of this scope."""
        self._queue.labels(scope).inc(change)

    def waited(self, scope: str, seconds: float) -> None:
        """A call's wait is over, however it ended."""
        self._queued.labels(scope).observe(seconds)

    def degraded(self, away: bool) -> None:  # noqa: FBT001 - told by a store, whose report has one value
        """Redis went, or is there."""
        self._degraded.set(int(away))

    def rebuilt(self) -> None:
        """A counter was begun anew."""
        self._rebuilds.inc()

    def waiting(self, count: int) -> None:
        """So many settlements wait."""
        self._waiting.set(count)

    def lost(self) -> None:
        """A settlement was given up."""
        self._lost.inc()

    def unpriced(self) -> None:
        """A call had no known price."""
        self._unpriced.inc()

    def spent(self, budget: Budget, used: int) -> None:
        """A budget stands at so much."""
        name = f"{budget.unit} {budget.period} {budget.id}"
        self._spent.labels(name, budget.scope, budget.owner).set(used / max(1, budget.amount))

    def notice(self, outcome: str) -> None:
        """A webhook was called: "sent" or "failed"."""
        self._notices.labels(outcome).inc()
