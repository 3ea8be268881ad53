"""What the semantic cache does and costs: hits, would-be hits, the nearest neighbours, and time."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram

# Where thresholds are.
_SIMILARITY_BUCKETS = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.925, 0.95, 0.975, 0.99, 1.0)
# The embedded model takes tenths of a millisecond, a provider's tenths of a second.
_SECONDS_BUCKETS = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)


class SemanticMetrics:
    """Labels are routes by their patterns, and words of ours."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "gateway_semantic_requests",
            "Calls on routes that look for like questions: hit, shadow_hit (would have been one), miss, "
            "ineligible (its last turn is not one short text), skipped (a model is being loaded, or what "
            "failed is left alone), failed.",
            ("route", "result"),
            registry=registry,
        )
        self._similarity = Histogram(
            "gateway_semantic_similarity",
            "The cosine of the nearest question in the partition, whether it was enough or not.",
            ("route",),
            buckets=_SIMILARITY_BUCKETS,
            registry=registry,
        )
        self._seconds = Histogram(
            "gateway_semantic_seconds",
            "Vector and search together.",
            ("route",),
            buckets=_SECONDS_BUCKETS,
            registry=registry,
        )

    def asked(self, route: str, result: str) -> None:
        self._requests.labels(route, result).inc()

    def nearest(self, route: str, similarity: float) -> None:
        self._similarity.labels(route).observe(similarity)

    def took(self, route: str, seconds: float) -> None:
        self._seconds.labels(route).observe(seconds)
