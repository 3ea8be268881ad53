"""Traces on their way out: which requests are sampled, and their spans as the official exporter takes them.

Imported only where an endpoint is configured, because the SDK costs memory and time.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module

from msgspec import Struct
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    Decision,
    ParentBased,
    Sampler,
    TraceIdRatioBased,
)
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags, TraceState, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.trace.status import Status, StatusCode
from prometheus_client import CollectorRegistry

from gateway_project.logs import clean
from gateway_project.otel_env import TraceSettings
from gateway_project.span_queue import Bounds, SpanCounts, SpanQueue
from pipeline.call import Record, Refusal
from pipeline.spans import Attributes, Span, of_answer, of_call, of_refusal
from pipeline.tracing import Trace, new_span_id

# By the recommendation of W3C; a longer one need not be passed on.
_MAX_STATE = 512
_EXPORTERS = {
    "http/protobuf": "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "grpc": "opentelemetry.exporter.otlp.proto.grpc.trace_exporter",
}
_COMPRESSIONS = {"none": "NoCompression", "gzip": "Gzip", "deflate": "Deflate"}
_KINDS = {"server": SpanKind.SERVER, "client": SpanKind.CLIENT, "internal": SpanKind.INTERNAL}
_UNSET = Status(StatusCode.UNSET)
_SCOPE = InstrumentationScope("llm-gateway")
_PROPAGATOR = TraceContextTextMapPropagator()


class Answered(Struct, frozen=True):
    """A request that never became a call, or was refused; `end` on the monotonic clock."""

    end: float
    trace: Trace
    refusal: Refusal | None = None
    surface: str = ""
    status: int = 0


class Traces:
    """A book of the pipeline (`opened`, `closed`) and of the door (`refused`), and the door's Tracing."""

    def __init__(self, settings: TraceSettings, registry: CollectorRegistry) -> None:
        self._sampler = _sampler(settings)
        self._exporter = _exporter(settings)
        self._resource = _resource(settings)
        self._queue: SpanQueue[Record | Answered] = SpanQueue(
            self._export,
            _weight,
            self._exporter.shutdown,
            SpanCounts(registry),
            Bounds(settings.queue, settings.batch, settings.gather),
        )

    def start(self) -> None:
        """Begin to export."""
        self._queue.start()

    def stop(self) -> None:
        """Export what is left, within some seconds. Blocks."""
        self._queue.stop()

    # --- Tracing

    def begin(self, headers: Mapping[str, str], method: str, address: str) -> Trace:
        """See Tracing. A traceparent that is not valid is none."""
        wall, began = time.time_ns(), time.monotonic()
        context = None
        parent = SpanContext(0, 0, is_remote=True)
        if "traceparent" in headers:
            given = {"traceparent": headers["traceparent"]}
            state = headers.get("tracestate", "")
            if len(state) <= _MAX_STATE:
                given["tracestate"] = state
            context = _PROPAGATOR.extract(given)
            parent = get_current_span(context).get_span_context()
        trace_id = f"{parent.trace_id:032x}" if parent.is_valid else os.urandom(16).hex()
        decided = self._sampler.should_sample(context, int(trace_id, 16), address, SpanKind.SERVER)
        state = decided.trace_state.to_header() if decided.trace_state else ""
        return Trace(
            trace_id=trace_id,
            span_id=new_span_id(),
            parent_id=f"{parent.span_id:016x}" if parent.is_valid else "",
            sampled=decided.decision is Decision.RECORD_AND_SAMPLE,
            state=state,
            wall=wall,
            began=began,
            method=method,
            address=address,
        )

    def answered(self, trace: Trace, surface: str, status: int) -> None:
        """See Tracing."""
        if trace.sampled:
            self._queue.put(Answered(time.monotonic(), trace, None, surface, status))

    # --- Books

    def opened(self, record: Record) -> None:
        """A span is made when all is known."""

    def closed(self, record: Record) -> None:
        if record.trace is not None and record.trace.sampled:
            self._queue.put(record)

    def refused(self, refusal: Refusal) -> None:
        """A request that was refused at the door. One that the server refused has no span: it came too
        broken, or too late, to be part of a trace."""
        if refusal.trace is not None and refusal.trace.sampled:
            self._queue.put(Answered(time.monotonic(), refusal.trace, refusal))

    # --- In the queue's thread

    def _export(self, batch: Sequence[Record | Answered]) -> bool:
        made = [self._made(span) for item in batch for span in _spans(item)]
        return self._exporter.export(made) is SpanExportResult.SUCCESS

    def _made(self, span: Span) -> ReadableSpan:
        parent = _context(span, span.parent_id, remote=span.remote) if span.parent_id else None
        return ReadableSpan(
            name=_text(span.name),
            context=_context(span, span.span_id, remote=False),
            parent=parent,
            resource=self._resource,
            attributes=_cleaned(span.attributes),
            kind=_KINDS[span.kind],
            status=Status(StatusCode.UNSET)
            if span.error is None
            else Status(StatusCode.ERROR, _text(span.error)),
            start_time=span.start,
            end_time=max(span.start, span.end),
            instrumentation_scope=_SCOPE,
        )


def _weight(item: Record | Answered) -> int:
    return 1 if isinstance(item, Answered) else 1 + len(item.attempts)


def _spans(item: Record | Answered) -> Iterable[Span]:
    if isinstance(item, Record):
        return of_call(item)
    if item.refusal is not None:
        return of_refusal(item.refusal, item.end)
    return [of_answer(item.trace, item.surface, item.status, item.end)]


def _context(span: Span, span_id: str, *, remote: bool) -> SpanContext:
    trace = span.trace
    state = TraceState.from_header([trace.state]) if trace.state else None
    return SpanContext(
        int(trace.trace_id, 16), int(span_id, 16), remote, TraceFlags(TraceFlags.SAMPLED), state
    )


def _cleaned(attributes: Attributes) -> dict[str, str | int | float | bool | list[str]]:
    """Without what looks like a key: models and codes are words of clients and providers."""
    return {
        name: _text(value)
        if isinstance(value, str)
        else [_text(each) for each in value]
        if isinstance(value, list)
        else value
        for name, value in attributes.items()
    }


def _text(text: str) -> str:
    # Half a surrogate pair is no Unicode, and would take a whole batch with it.
    return clean(text.encode("utf-8", "replace").decode())


def _exporter(settings: TraceSettings) -> SpanExporter:
    exporters = import_module(_EXPORTERS[settings.protocol])
    # Read by itself, the one of gRPC takes the standard's "none" for an error.
    compression = getattr(exporters.Compression, _COMPRESSIONS[settings.compression])
    made: SpanExporter = exporters.OTLPSpanExporter(endpoint=settings.endpoint, compression=compression)
    return made


def _sampler(settings: TraceSettings) -> Sampler:
    named = settings.sampler.removeprefix("parentbased_")
    roots: Mapping[str, Sampler] = {
        "always_on": ALWAYS_ON,
        "always_off": ALWAYS_OFF,
        "traceidratio": TraceIdRatioBased(settings.ratio),
    }
    return roots[named] if named == settings.sampler else ParentBased(roots[named])


def _resource(settings: TraceSettings) -> Resource:
    ours: dict[str, str | int] = {
        "host.name": socket.gethostname(),
        "process.pid": os.getpid(),
        # Each worker is an instance of its own.
        "service.instance.id": os.urandom(8).hex(),
    }
    return Resource.create({**ours, **settings.resource, "service.name": settings.service})
