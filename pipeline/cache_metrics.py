"""What the cache is worth: its hits and misses, their age, what they saved, and how its store is."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

# Answers are repeated within seconds, by retries and several at once, or within the hours that they are kept.
_AGE_BUCKETS = (1, 10, 60, 300, 900, 3600, 14_400, 86_400, 604_800)
_NANO = 1e9


class CacheMetrics:
    """Labels are routes by their patterns, and words of ours."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "gateway_cache_requests",
            "Calls on routes with a cache: hit, miss, or bypass where it was not asked.",
            ("route", "result"),
            registry=registry,
        )
        self._items = Counter(
            "gateway_cache_items",
            "Inputs of embeddings requests: hit or miss.",
            ("route", "result"),
            registry=registry,
        )
        self._shared = Counter(
            "gateway_cache_shared",
            "Hits that had the answer of the same request while it was under way.",
            ("route",),
            registry=registry,
        )
        self._saved = Counter(
            "gateway_cache_saved_usd",
            "What hits would have cost, in US dollars, as far as prices are known.",
            ("route",),
            registry=registry,
        )
        self._age = Histogram(
            "gateway_cache_age_seconds",
            "How old the answers of hits were.",
            ("route",),
            buckets=_AGE_BUCKETS,
            registry=registry,
        )
        self._errors = Counter(
            "gateway_cache_errors",
            "Requests to the store of the cache that failed or took too long, and were done without.",
            ("reason",),
            registry=registry,
        )
        self._refused = Counter(
            "gateway_cache_refused",
            "Answers that were not kept although they were fit to be: too large, or no room.",
            ("reason",),
            registry=registry,
        )
        self._up = Gauge(
            "gateway_cache_up",
            "1 while the store of the cache answers, 0 while it is bypassed.",
            multiprocess_mode="livemin",
            registry=registry,
        )
        self._bytes = Gauge(
            "gateway_cache_bytes",
            "Bytes that the cache holds in this process's memory.",
            multiprocess_mode="livesum",
            registry=registry,
        )
        self._up.set(1)

    def asked(self, route: str, result: str) -> None:
        """A call was not answered from the cache: miss or bypass."""
        self._requests.labels(route, result).inc()

    def hit(self, route: str, age: float, saved: int | None) -> None:
        self._requests.labels(route, "hit").inc()
        self._age.labels(route).observe(age)
        if saved:
            self._saved.labels(route).inc(saved / _NANO)

    def shared(self, route: str) -> None:
        self._shared.labels(route).inc()

    def saved(self, route: str, nano: int | None) -> None:
        """What a hit saved, where that became known only later."""
        if nano:
            self._saved.labels(route).inc(nano / _NANO)

    def items(self, route: str, hits: int, misses: int) -> None:
        self._items.labels(route, "hit").inc(hits)
        self._items.labels(route, "miss").inc(misses)

    def failed(self, reason: str) -> None:
        self._errors.labels(reason).inc()

    def refused(self, reason: str) -> None:
        self._refused.labels(reason).inc()

    def up(self, *, up: bool) -> None:
        self._up.set(1 if up else 0)

    def size(self, size: int) -> None:
        self._bytes.set(size)
