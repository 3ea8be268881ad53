"""Prometheus metrics as calls need them: children are asked for once, histograms search for a bucket."""

from __future__ import annotations

from bisect import bisect_left
from typing import Generic, TypeVar

from prometheus_client import Counter, Gauge, Histogram
from typing_extensions import override

_Metric = TypeVar("_Metric", Counter, Gauge, Histogram)


class SearchedHistogram(Histogram):
    """A histogram that finds the bucket by halves, where the library's own compares with each. Its labels
    must be given, and no exemplars are kept."""

    @override
    def observe(self, amount: float, exemplar: dict[str, str] | None = None) -> None:
        self._sum.inc(amount)
        self._buckets[bisect_left(self._upper_bounds, amount)].inc(1)


class Children(Generic[_Metric]):
    """A metric's children by the values of their labels, each asked for once: looking one up is most of what
    it costs to count a call. `labels` are as a metric takes them."""

    def __init__(self, metric: _Metric) -> None:
        self._metric: _Metric = metric
        self._known: dict[tuple[str, ...], _Metric] = {}

    def labels(self, *values: str) -> _Metric:
        """The metric's child of these values."""
        known = self._known.get(values)
        if known is None:
            known = self._known[values] = self._metric.labels(*values)
        return known
