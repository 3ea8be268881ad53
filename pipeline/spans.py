"""The spans of a request that is over, made from its record: one of the server, one of each attempt.

Names are those of OpenTelemetry's conventions for HTTP and GenAI; what is the gateway's own begins with
`gateway.`. No content and no secret is in a record, so none can be in a span.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal
from urllib.parse import urlsplit

from msgspec import Struct

from pipeline.call import Attempt, Record, Refusal
from pipeline.tracing import Hop, Trace

Value = str | int | float | bool | list[str]
Attributes = dict[str, Value]

# Clients make up models, and providers codes: so much of them is kept.
_MAX_TEXT = 200
_MAX_DROPPED = 20
_SERVER_ERROR = 500
_NANO = 1e-9

# What the conventions have a word for; the rest is called as its surface.
_OPERATIONS: Mapping[str, str] = {
    "chat": "chat",
    "messages": "chat",
    "responses": "chat",
    "completions": "text_completion",
    "embeddings": "embeddings",
}
# Providers by their addresses: an OpenAI-compatible one says no more of itself.
_HOSTS: Mapping[str, str] = {
    "api.openai.com": "openai",
    "api.anthropic.com": "anthropic",
    "openai.azure.com": "azure.ai.openai",
    "services.ai.azure.com": "azure.ai.inference",
    "generativelanguage.googleapis.com": "gcp.gemini",
    "aiplatform.googleapis.com": "gcp.vertex_ai",
    "amazonaws.com": "aws.bedrock",
    "api.cohere.com": "cohere",
    "api.cohere.ai": "cohere",
    "api.deepseek.com": "deepseek",
    "api.groq.com": "groq",
    "api.mistral.ai": "mistral_ai",
    "api.perplexity.ai": "perplexity",
    "api.x.ai": "x_ai",
}
_KINDS: Mapping[str, str] = {"azure_openai": "azure.ai.openai", "mistral": "mistral_ai"}


class Span(Struct, frozen=True):
    """One span. `start` and `end` in nanoseconds since the epoch. `remote`: its parent is a client's.
    `error`: what the status says; None: it is left unset."""

    name: str
    kind: Literal["server", "client", "internal"]
    trace: Trace
    span_id: str
    parent_id: str
    remote: bool
    start: int
    end: int
    attributes: Attributes
    error: str | None = None


def of_call(record: Record) -> Iterator[Span]:
    """The spans of a call that is closed; none where it has no trace."""
    trace = record.trace
    if trace is None:
        return
    yield _server(trace, trace.at(record.ended), _of_record(record), _failure(record))
    carriers = [attempt for attempt in record.attempts if attempt.outcome == "ok" or _carries(attempt)]
    for number, attempt in enumerate(record.attempts):
        if attempt.hop is not None:
            # What several attempts have used together is no single one's.
            alone = len(carriers) == 1 and attempt is carriers[0]
            yield _client(record, trace, attempt, _Place(number, attempt.hop, alone))


def of_refusal(refusal: Refusal, end: float) -> Iterator[Span]:
    """The span of a request that was refused at the door; `end` on the monotonic clock."""
    trace = refusal.trace
    if trace is None:
        return
    about: Attributes = {
        "gateway.request_id": refusal.request_id,
        "gateway.surface": refusal.surface,
        "gateway.outcome": "error",
        "http.response.status_code": refusal.status,
        "error.type": refusal.code,
    }
    _put(about, {"gateway.team": refusal.team, "gateway.key": refusal.key_prefix})
    error = refusal.code if refusal.status >= _SERVER_ERROR else None
    yield _server(trace, trace.at(end), about, error)


def of_answer(trace: Trace, surface: str, status: int, end: float) -> Span:
    """The span of a request that was answered and never was a call."""
    about: Attributes = {"gateway.surface": surface, "http.response.status_code": status}
    return _server(trace, trace.at(end), about, None)


def provider_name(kind: str, base_url: str) -> str:
    """What the conventions call a provider; its kind where they have no name for it."""
    host = urlsplit(base_url).hostname or ""
    for known, name in _HOSTS.items():
        if host == known or host.endswith("." + known):
            return name
    return _KINDS.get(kind, kind)


def operation(surface: str) -> str:
    """What the conventions call the work of a surface."""
    return _OPERATIONS.get(surface, surface)


class _Place(Struct, frozen=True):
    """An attempt among the others. `alone`: what the call has used is its own."""

    number: int
    hop: Hop
    alone: bool


def _carries(attempt: Attempt) -> bool:
    return attempt.hop is not None and attempt.hop.carries


def _failure(record: Record) -> str | None:
    """The status of a request's span: an error of the client's is none of the server's."""
    if record.outcome != "error":
        return None
    # A stream that broke has said 200 long before.
    within = record.status < 400
    return record.code if within or record.status >= _SERVER_ERROR else None


def _server(trace: Trace, end: int, about: Attributes, error: str | None) -> Span:
    if trace.method:
        about["http.request.method"] = trace.method
        about["http.route"] = trace.address
    return Span(
        name=f"{trace.method} {trace.address}" if trace.method else str(about["gateway.surface"]),
        kind="server" if trace.method else "internal",
        trace=trace,
        span_id=trace.span_id,
        parent_id=trace.parent_id,
        remote=bool(trace.method),
        start=trace.wall,
        end=end,
        attributes=about,
        error=error,
    )


def _of_record(record: Record) -> Attributes:
    about: Attributes = {
        "gateway.request_id": record.request_id,
        "gateway.surface": record.surface,
        "gateway.outcome": record.outcome,
        "gateway.revision": record.revision,
        "gateway.attempts": len(record.attempts),
        "gen_ai.operation.name": operation(record.surface),
        "gen_ai.request.stream": record.stream,
    }
    _put(
        about,
        {
            "gateway.team": record.team,
            "gateway.key": record.key_prefix,
            "gateway.route": record.route,
            "gateway.provider": record.provider,
            "gateway.cache": record.cache,
            "gateway.semantic": record.semantic,
            "gen_ai.request.model": record.model,
            "error.type": record.code,
            "http.response.status_code": record.status,
        },
    )
    if record.charge is not None:
        about["gateway.key_id"] = record.charge.key_id
    if record.queue_seconds:
        about["gateway.queue_seconds"] = record.queue_seconds
    if record.dropped:
        about["gateway.dropped"] = [name[:_MAX_TEXT] for name in record.dropped[:_MAX_DROPPED]]
    if record.cost is not None:
        about["gateway.cost_usd"] = record.cost * _NANO
    if record.used is not None:
        about["gateway.usage.input_tokens"] = record.used.input_tokens
        about["gateway.usage.output_tokens"] = record.used.output_tokens
        about["gateway.usage.source"] = record.used.source
    if record.first_content:
        about["gen_ai.server.time_to_first_token"] = record.first_content - record.started
    return about


def _client(record: Record, trace: Trace, attempt: Attempt, place: _Place) -> Span:
    hop, pending = place.hop, attempt.outcome == "pending"
    over = record.ended if hop.carries or pending else attempt.started + attempt.seconds
    model = attempt.upstream_model[:_MAX_TEXT]
    about = _of_attempt(record, attempt, place)
    failed = attempt.outcome not in ("ok", "pending")
    if failed:
        about["error.type"] = attempt.outcome[:_MAX_TEXT]
    if place.alone:
        _of_answer(about, record, attempt)
    name = f"{operation(record.surface)} {model}" if model else operation(record.surface)
    return Span(
        name=name,
        kind="client",
        trace=trace,
        span_id=hop.span_id,
        parent_id=trace.span_id,
        remote=False,
        start=trace.at(attempt.started),
        end=trace.at(over),
        attributes=about,
        # Who was called off has not failed.
        error=attempt.outcome if failed and attempt.outcome not in ("client_gone", "given_up") else None,
    )


def _of_attempt(record: Record, attempt: Attempt, place: _Place) -> Attributes:
    hop = place.hop
    named = provider_name(hop.kind, hop.base_url)
    about: Attributes = {
        "gen_ai.operation.name": operation(record.surface),
        "gen_ai.provider.name": named,
        # Its older name, which some backends still look for.
        "gen_ai.system": named,
        "gateway.provider": attempt.provider,
        "gateway.attempt": place.number + 1,
        "gateway.attempt.reason": attempt.reason,
        "gateway.attempt.outcome": attempt.outcome[:_MAX_TEXT],
    }
    where = urlsplit(hop.base_url)
    if where.hostname:
        about["server.address"] = where.hostname
        about["server.port"] = where.port or (443 if where.scheme == "https" else 80)
    if place.number:
        about["http.request.resend_count"] = place.number
    if attempt.status is not None:
        about["http.response.status_code"] = attempt.status
    _put(
        about,
        {
            "gen_ai.request.model": attempt.upstream_model,
            "gen_ai.request.stream": record.stream,
            "gateway.route": record.route,
            "gateway.credential": attempt.credential,
            "gateway.fault": attempt.fault,
            "gateway.upstream_request_id": attempt.upstream_request_id or "",
        },
    )
    said = hop.said
    if said is not None:
        _put(about, {"gen_ai.response.model": said.model, "gen_ai.response.id": said.id})
        if said.ends:
            about["gen_ai.response.finish_reasons"] = [said.ends[number] for number in sorted(said.ends)]
    return about


def _of_answer(about: Attributes, record: Record, attempt: Attempt) -> None:
    """What was used, and when the answer began."""
    usage = record.usage
    if usage is not None:
        about["gen_ai.usage.input_tokens"] = usage.input_tokens
        about["gen_ai.usage.output_tokens"] = usage.output_tokens
        _put(
            about,
            {
                "gen_ai.usage.cache_read.input_tokens": usage.cache_read,
                "gen_ai.usage.cache_write.input_tokens": usage.cache_write,
                "gen_ai.usage.reasoning.output_tokens": usage.reasoning,
            },
        )
    if record.first_content > attempt.started:
        about["gen_ai.response.time_to_first_chunk"] = record.first_content - attempt.started


def _put(about: Attributes, found: Mapping[str, str | int]) -> None:
    """Add what is not empty."""
    for name, value in found.items():
        if value:
            about[name] = value[:_MAX_TEXT] if isinstance(value, str) else value
