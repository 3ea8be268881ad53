"""The metrics that OpenTelemetry's conventions for GenAI name, for boards that know no other names.

Labels are bounded: the provider is called as in the configuration, and the route stands for the model.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from pipeline.call import Record
from pipeline.children import Children, SearchedHistogram
from pipeline.spans import operation

# The conventions' own.
_TOKENS = tuple(float(4**power) for power in range(14))
_FIRST = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
_NEXT = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
_LABELS = ("gen_ai_operation_name", "gen_ai_provider_name", "gateway_route")


class GenAiMetrics:
    """Counts closed calls."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._tokens = Children(
            SearchedHistogram(
                "gen_ai_client_token_usage",
                "Tokens of a request as its provider counted them, by type: input or output.",
                (*_LABELS, "gen_ai_token_type"),
                buckets=_TOKENS,
                registry=registry,
            )
        )
        self._first = Children(
            SearchedHistogram(
                "gen_ai_server_time_to_first_token_seconds",
                "From the request's arrival to the first content of a stream.",
                _LABELS,
                buckets=_FIRST,
                registry=registry,
            )
        )
        self._next = Children(
            SearchedHistogram(
                "gen_ai_server_time_per_output_token_seconds",
                "Of a whole stream: from its first content to its end, for each token after the first.",
                _LABELS,
                buckets=_NEXT,
                registry=registry,
            )
        )

    def closed(self, record: Record) -> None:
        """A call is over. What is estimated is counted in no histogram, nor is what a cache has answered."""
        if not record.attempts:
            return
        place = (operation(record.surface), record.provider, record.route)
        begun, usage = record.first_content, record.usage
        if begun:
            self._first.labels(*place).observe(begun - record.started)
        if usage is None or usage.source != "provider":
            return
        self._tokens.labels(*place, "input").observe(usage.input_tokens)
        self._tokens.labels(*place, "output").observe(usage.output_tokens)
        if begun and usage.output_tokens > 1 and record.outcome == "ok":
            self._next.labels(*place).observe((record.ended - begun) / (usage.output_tokens - 1))
