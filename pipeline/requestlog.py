"""One structured log line for each closed call: numbers and names, never a prompt or a secret."""

from __future__ import annotations

from typing import Any, Protocol

from pipeline.call import Record, Refusal
from pipeline.tracing import Trace

# A line stays short whatever a client makes up for names.
_MAX_TEXT = 200
_MAX_DROPPED = 20
_NOT_TRACED: dict[str, str] = {}


class Log(Protocol):
    """The part of a structured logger that is used here."""

    def info(self, event: str, **fields: Any) -> Any: ...

    def warning(self, event: str, **fields: Any) -> Any: ...


class RequestLog:
    """A book of the pipeline. Failed calls are warnings, the rest info."""

    def __init__(self, log: Log) -> None:
        self._log = log

    def opened(self, record: Record) -> None:
        """Nothing is logged until it is known how the call ended."""

    def closed(self, record: Record) -> None:
        write = self._log.info if record.outcome == "ok" else self._log.warning
        usage = record.usage
        write(
            "request",
            request_id=record.request_id,
            surface=record.surface,
            team=record.team,
            key=record.key_prefix,
            model=record.model[:_MAX_TEXT],
            route=record.route,
            provider=record.provider,
            upstream_model=record.upstream_model[:_MAX_TEXT],
            revision=record.revision,
            stream=record.stream,
            status=record.status,
            outcome=record.outcome,
            code=record.code or None,
            ms=_ms(record.ended - record.started),
            upstream_ms=_ms(record.upstream_seconds),
            queue_ms=_ms(record.queue_seconds) if record.queue_seconds else None,
            first_byte_ms=_ms(record.first_byte - record.started) if record.first_byte else None,
            first_token_ms=_ms(record.first_content - record.started) if record.first_content else None,
            input_tokens=usage.input_tokens if usage else None,
            output_tokens=usage.output_tokens if usage else None,
            cache_read_tokens=usage.cache_read if usage else None,
            usage_source=usage.source if usage else None,
            cache=record.cache or None,
            saved_nano_usd=record.saved,
            semantic=record.semantic or None,
            similarity=None if record.similarity is None else round(record.similarity, 4),
            attempts=[f"{a.provider}:{a.outcome}" for a in record.attempts],
            losses=record.losses if record.dropped else None,
            dropped=[name[:_MAX_TEXT] for name in record.dropped[:_MAX_DROPPED]] or None,
            **(_NOT_TRACED if record.trace is None else _ids(record.trace)),
        )

    def refused(self, refusal: Refusal) -> None:
        """A request that never became a call: one short line, because anybody can cause it."""
        self._log.info(
            "refused",
            request_id=refusal.request_id,
            surface=refusal.surface,
            status=refusal.status,
            code=refusal.code,
            key=refusal.key_prefix or None,
            team=refusal.team or None,
            **(_NOT_TRACED if refusal.trace is None else _ids(refusal.trace)),
        )


def _ids(trace: Trace) -> dict[str, str]:
    """By which a line is found beside its trace."""
    return {"trace_id": trace.trace_id, "span_id": trace.span_id}


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 2)
