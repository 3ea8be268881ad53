"""Structured logs: JSON lines in production, readable ones in development, secrets cut out of both."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any

import orjson
import structlog

from gateway_project.log_sink import Sink

# What a key looks like: ours, the providers', and whatever follows Bearer. Nothing should bring one here;
# this is the net under that.
_SECRET = re.compile(
    r"(?i)\b(?:gw|sk|pk|xai|gsk|hf)[-_][a-z0-9_\-]{12,}|\bAIza[\w\-]{20,}|(?<=bearer )[\w\-.~+/]{8,}=*"
)
# What a terminal or an editor obeys or hides instead of showing it: control characters, line ends, and what
# turns the direction of writing. JSON escapes those of ASCII by itself.
_ASCII_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_OTHER_CONTROL = re.compile(r"[\x80-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR}
# Talk in tones that concern nobody at that level, or name what passes through them.
_QUIET = {
    "httpx": logging.WARNING,
    "daphne": logging.WARNING,
    "twisted": logging.WARNING,
    "axes": logging.WARNING,
    "urllib3": logging.WARNING,
    # Warns of a client's tracestate that is not valid, and quotes it.
    "opentelemetry.trace.span": logging.ERROR,
}
_STDERR = 2
# One line must not fill a disk: a text beyond this is cut.
_MAX_TEXT = 2000


def configure(level: str, *, as_json: bool) -> Sink:
    """Set up structlog and the standard library's logging, which goes the same way: to standard error, by a
    sink that holds up nobody."""
    sink = Sink(_STDERR)
    shared: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        redact,
    ]
    render: structlog.typing.Processor
    if as_json:
        render = structlog.processors.JSONRenderer(serializer=_dumps)
    else:
        shared.append(_visible)
        render = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    structlog.configure(
        processors=[*shared, render],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(sink),  # type: ignore[arg-type]  # it is written to, and that is all
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sink)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared, _flatten_traceback],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(LEVELS[level])
    for name, least in _QUIET.items():
        logging.getLogger(name).setLevel(max(least, LEVELS[level]))
    return sink


def redact(_: Any, __: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """Cut whatever looks like a key out of every text of a line, and cut the text to a bounded length."""
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = clean(value)
        elif isinstance(value, list):
            event[name] = [clean(item) if isinstance(item, str) else item for item in value]
    return event


def clean(text: str) -> str:
    """`text` without what looks like a key, not longer than a line may be, and with what JSON does not escape
    by itself made visible."""
    if len(text) > _MAX_TEXT:
        text = text[:_MAX_TEXT] + "…"
    if not text.isascii():
        text = _OTHER_CONTROL.sub(_escaped, text)
    # Most texts are names and codes, shorter than any key.
    return _SECRET.sub("[redacted]", text) if len(text) > 12 else text


def _visible(_: Any, __: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """For lines that are not JSON: one event is one line, and moves no cursor. What is not a text is shown by
    `repr`, which escapes too."""
    for name, value in event.items():
        if isinstance(value, str) and _ASCII_CONTROL.search(value):
            event[name] = _ASCII_CONTROL.sub(_escaped, value)
    return event


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()


def _flatten_traceback(_: Any, __: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """Of an exception its type and where it arose: its words may quote a prompt or a secret."""
    info = event.pop("exc_info", None)
    error = info[1] if isinstance(info, tuple) else info
    if isinstance(error, BaseException):
        event["error"] = type(error).__name__
        trace, where = error.__traceback__, []
        while trace is not None:
            where.append(f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}")
            trace = trace.tb_next
        event["where"] = where[-8:]
    return event


def _dumps(event: Any, **_: Any) -> str:
    return orjson.dumps(event, default=str).decode()
