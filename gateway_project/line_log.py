"""The log of single requests: JSON lines like all others, made with less work."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import orjson

from gateway_project.logs import LEVELS, clean

# Ours alone, and made of our own letters: nothing in them can be a secret.
_PLAIN = frozenset({"request_id", "surface", "outcome", "usage_source", "losses", "trace_id", "span_id"})
# Names of models, routes and providers repeat from line to line.
_known = lru_cache(maxsize=2048)(clean)


class LineLog:
    """A logger for one kind of line. `put` takes each, encoded, and holds up nobody."""

    def __init__(self, level: str, put: Callable[[bytes], None]) -> None:
        self._least = LEVELS[level]
        self._put = put

    def info(self, event: str, **fields: Any) -> None:
        """Keep a line of level info."""
        if self._least <= logging.INFO:
            self._keep("info", event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        """Keep a line of level warning."""
        if self._least <= logging.WARNING:
            self._keep("warning", event, fields)

    def _keep(self, level: str, event: str, fields: dict[str, Any]) -> None:
        for name, value in fields.items():
            if type(value) is str:
                # Most texts are names and codes, shorter than any key, and plain.
                if (len(value) > 12 or not value.isascii()) and name not in _PLAIN:
                    fields[name] = _known(value)
            elif type(value) is list:
                fields[name] = [_known(item) if type(item) is str else item for item in value]
        fields["event"] = event
        fields["level"] = level
        fields["timestamp"] = datetime.now(UTC)
        self._put(orjson.dumps(fields, default=str, option=_AS_ELSEWHERE))


# The time as structlog writes it, and a line's end.
_AS_ELSEWHERE = orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE
