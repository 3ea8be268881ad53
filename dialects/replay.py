"""An answer that is said again: a stream taken apart into what goes to every client and what only to some,
and put together for the one who asks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dialects.as_stream import AS_STREAM
from dialects.as_whole import as_whole
from dialects.errors import UPSTREAM_BAD, GatewayError
from dialects.sse import frame_json
from dialects.types import Dialect, Event, JsonObject, StreamTap, Usage

# The dialects whose usage is a chunk of its own, for those who ask for it, before the terminator.
_USAGE_CHUNKS = frozenset({"chat", "completions"})
_DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True)
class Told:
    """A complete stream. `events`: without signs of life, usage chunk and terminator; `usage`: the usage
    chunk, b"" where there is none; `answer`: the whole that it tells, None where that is not known."""

    events: bytes
    usage: bytes
    answer: JsonObject | None


def taken_apart(dialect: Dialect, raw: bytes, usage: Usage | None = None) -> Told | None:
    """What a stream in the client's dialect has told; None where it has not come to its end. `usage`: what
    its provider counted, for a stream that does not say it."""
    tap = dialect.tap(strip_usage=True)
    kept: list[Event] = []
    chunk = b""
    try:
        for event in _events(dialect, raw):
            tap.see(event)
            if event.data == b"[DONE]":
                continue
            if tap.keep(event):
                kept.append(event)
            else:
                chunk = event.raw
    except GatewayError:
        return None
    if not (tap.finished and kept):
        return None
    if dialect.name in _USAGE_CHUNKS and not chunk and usage is not None and usage.source == "provider":
        chunk = _usage_chunk(kept[-1], usage)
    events = b"".join(event.raw for event in kept)
    return Told(events, chunk, whole_of(dialect, events + chunk))


def whole_of(dialect: Dialect, events: bytes) -> JsonObject | None:
    """The whole answer that a stream's events tell, usage chunk included; None where that is not known."""
    return as_whole(dialect.name, list(_events(dialect, events)))


def put_together(dialect: Dialect, events: bytes, usage: bytes, *, include_usage: bool) -> bytes:
    """The stream as this client is to have it."""
    if dialect.name not in _USAGE_CHUNKS:
        return events
    return events + (usage if include_usage else b"") + _DONE


def stream_of(dialect: Dialect, answer: JsonObject, *, include_usage: bool) -> bytes | None:
    """A whole answer as a stream; None where it cannot be one."""
    try:
        raw = AS_STREAM[dialect.name](answer)
        tap = dialect.tap(strip_usage=not include_usage)
        return b"".join(event.raw for event in _events(dialect, raw) if _kept(tap, event))
    except (KeyError, TypeError, AttributeError, GatewayError):
        return None


def _kept(tap: StreamTap, event: Event) -> bool:
    tap.see(event)
    return tap.keep(event)


def _events(dialect: Dialect, raw: bytes) -> Sequence[Event]:
    """The events that say something."""
    framer = dialect.framer()
    events = framer.feed(raw)
    if framer.pending():
        raise _half()
    return [event for event in events if event.data and event.name != "ping"]


def _half() -> GatewayError:
    return GatewayError(UPSTREAM_BAD, "A kept stream ends within an event.")


def _usage_chunk(last: Event, usage: Usage) -> bytes:
    head = {name: value for name, value in last.json().items() if name not in ("obfuscation", "usage")}
    counted = {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cache_read},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }
    return frame_json({**head, "choices": [], "usage": counted})
