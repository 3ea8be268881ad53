"""The gateway's own Prometheus metrics, kept from the record of each closed call.

Labels are bounded: a route is named by its pattern, never by the model that a client typed.
"""

from __future__ import annotations

from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from dialects import errors
from dialects.codes import OWN_CODES
from dialects.errors import INTERNAL
from pipeline.call import Record, Refusal
from pipeline.children import Children, SearchedHistogram
from pipeline.ends import attempt_end, may_be_billed_twice
from pipeline.genai_metrics import GenAiMetrics
from providers.wire import Reason

# A model answers in tens of milliseconds to minutes.
_CALL_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 640)
# What the gateway adds is counted in fractions of a millisecond.
_OVERHEAD_BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5)
# A line is waited in for milliseconds, or up to its limit of some seconds.
_QUEUE_BUCKETS = (0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
# The outcome of an attempt may be what happened below HTTP, or these words, instead of a code.
_NAMED = OWN_CODES | frozenset(get_args(Reason)) | {"ok", "given_up", INTERNAL.name}
# Beside them whatever a provider makes up.
_MAX_STRANGE_CODES = 60


# Errors within a stream that are not the provider's.
_OURS = frozenset({"draining", "internal_error", "insufficient_quota", "revoked_api_key"})
OK = 200
# A client that was cut off because it took nothing of its stream.
STALLED = "client_stall"


class Metrics:
    """A book of the pipeline (`opened`, `closed`) and of the door (`refused`)."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._strange: set[str] = set()
        self._genai = GenAiMetrics(registry)
        self._requests = Children(
            Counter(
                "gateway_requests",
                "Requests by how they ended; code is ok or the error code.",
                ("surface", "route", "status", "code"),
                registry=registry,
            )
        )
        self._attempts = Children(
            Counter(
                "gateway_attempts",
                "Tries at providers by outcome.",
                ("provider", "outcome"),
                registry=registry,
            )
        )
        self._tokens = Children(
            Counter(
                "gateway_tokens",
                "Tokens by direction: input, output, cache_read, cache_write, reasoning "
                "(parts of the former).",
                ("direction", "route", "provider", "source"),
                registry=registry,
            )
        )
        self._seconds = Children(
            SearchedHistogram(
                "gateway_request_seconds",
                "From the request's arrival to the last byte of its reply.",
                ("surface", "provider"),
                buckets=_CALL_BUCKETS,
                registry=registry,
            )
        )
        self._first_token = Children(
            SearchedHistogram(
                "gateway_time_to_first_token_seconds",
                "From the request's arrival to the first content of a stream.",
                ("surface", "provider"),
                buckets=_CALL_BUCKETS,
                registry=registry,
            )
        )
        self._overhead = Children(
            SearchedHistogram(
                "gateway_overhead_seconds",
                "The gateway's own time before the first byte of a reply: all of it less waiting for a "
                "provider.",
                ("surface",),
                buckets=_OVERHEAD_BUCKETS,
                registry=registry,
            )
        )
        self._in_flight = Children(
            Gauge(
                "gateway_in_flight",
                "Calls that are open now.",
                ("surface",),
                multiprocess_mode="livesum",
                registry=registry,
            )
        )
        self._dropped = Counter(
            "gateway_dropped_fields",
            "Request fields that could not travel to the provider's dialect; losses is what the route does "
            "with them: strict refused the call.",
            ("surface", "route", "provider", "losses"),
            registry=registry,
        )

        self._slow = Counter(
            "gateway_slow_clients",
            "Requests whose head or body did not arrive in time.",
            registry=registry,
        )
        self._bad_http = Counter(
            "gateway_bad_http",
            "Requests that the server refused before any address was looked at, by the error's code.",
            ("code",),
            registry=registry,
        )
        self._retries = Counter(
            "gateway_retries",
            "Attempts after the first, by why they were made.",
            ("provider", "reason"),
            registry=registry,
        )
        self._twice = Counter(
            "gateway_possible_double_bills",
            "Calls with an attempt that brought nothing and that a provider may bill all the same.",
            ("route",),
            registry=registry,
        )
        self._budget_spent = Counter(
            "gateway_retry_budget_exhausted",
            "Calls that were not tried again because too many retries were under way.",
            ("route",),
            registry=registry,
        )
        self._gone = Counter(
            "gateway_client_gone",
            "Clients that left, by where their call was: in line, before the first byte, within the answer.",
            ("surface", "phase"),
            registry=registry,
        )
        self._aborts = Counter(
            "gateway_stream_aborts",
            "Streams that were broken off, by whose fault it was (upstream, gateway, client) and the code.",
            ("surface", "side", "reason"),
            registry=registry,
        )
        self._queued = Histogram(
            "gateway_queue_seconds",
            "How long calls waited for a place at a target; those that found one at once are not in it.",
            ("route",),
            buckets=_QUEUE_BUCKETS,
            registry=registry,
        )

    def opened(self, record: Record) -> None:
        self._in_flight.labels(record.surface).inc()

    def closed(self, record: Record) -> None:
        surface, provider = record.surface, record.provider
        self._in_flight.labels(surface).dec()
        self._requests.labels(surface, record.route, str(record.status), self._code(record.code)).inc()
        self._seconds.labels(surface, provider).observe(record.ended - record.started)
        if record.first_content:
            self._first_token.labels(surface, provider).observe(record.first_content - record.started)
        if record.first_byte:
            own = record.first_byte - record.started - record.upstream_seconds
            self._overhead.labels(surface).observe(max(0.0, own))
        for attempt in record.attempts:
            self._attempts.labels(attempt.provider, self._code(attempt.outcome)).inc()
            if attempt.reason != "first":
                self._retries.labels(attempt.provider, attempt.reason).inc()
        ends = [attempt_end(record, number) for number in range(len(record.attempts))]
        if may_be_billed_twice(record, ends):
            self._twice.labels(record.route).inc()
        self._count_traffic(record)
        if record.dropped and record.cache != "hit":
            place = (surface, record.route, provider, record.losses)
            self._dropped.labels(*place).inc(len(record.dropped))
        self._count_tokens(record)
        self._genai.closed(record)

    def refused(self, refusal: Refusal) -> None:
        """A request that was refused at the door, or by the server before it, and never became a call."""
        self._requests.labels(refusal.surface, "", str(refusal.status), self._code(refusal.code)).inc()
        if refusal.code == errors.SLOW_REQUEST.openai_code:
            self._slow.inc()
        elif refusal.surface == "http":
            self._bad_http.labels(self._code(refusal.code)).inc()

    def _code(self, code: str) -> str:
        """The label for a code: itself, or "other" where there are too many of them already."""
        if code in _NAMED or code in self._strange:
            return code
        if not code:
            return "ok"
        if len(self._strange) >= _MAX_STRANGE_CODES:
            return "other"
        self._strange.add(code)
        return code

    def _count_traffic(self, record: Record) -> None:
        if record.budget_spent:
            self._budget_spent.labels(record.route).inc()
        if record.code == STALLED:
            self._aborts.labels(record.surface, "client", STALLED).inc()
        elif record.outcome == "client_gone":
            self._gone.labels(record.surface, _phase(record)).inc()
        elif record.outcome == "error" and record.status == OK:
            side = "gateway" if record.code in _OURS else "upstream"
            self._aborts.labels(record.surface, side, self._code(record.code)).inc()
        if record.queue_seconds:
            self._queued.labels(record.route).observe(record.queue_seconds)

    def _count_tokens(self, record: Record) -> None:
        usage = record.usage
        if usage is None:
            return
        for direction, count in (
            ("input", usage.input_tokens),
            ("output", usage.output_tokens),
            ("cache_read", usage.cache_read),
            ("cache_write", usage.cache_write),
            ("reasoning", usage.reasoning),
        ):
            if count:
                self._tokens.labels(direction, record.route, record.provider, usage.source).inc(count)


def _phase(record: Record) -> str:
    """Where a call was when its client left."""
    if record.first_byte:
        return "answer"
    return "waiting" if record.attempts else "queue"
