"""The log of single requests: JSON lines like all others, made with less work and written in batches.

A request waits for no line: a thread writes what has gathered. When whoever reads the log falls so far
behind that LINES wait, further ones are dropped and counted.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import orjson

from gateway_project.logs import LEVELS, clean

# Some seconds of the busiest process, in a few megabytes.
LINES = 10_000
# How long lines gather. Nobody reads a log sooner, and a crash loses no more than this.
_GATHER_SECONDS = 0.05
# A line that is still unwritten when the process ends gets so long.
_LAST_SECONDS = 2.0
# Ours alone, and made of our own letters: nothing in them can be a secret.
_PLAIN = frozenset({"request_id", "surface", "outcome", "usage_source", "losses"})
# Names of models, routes and providers repeat from line to line.
_known = lru_cache(maxsize=2048)(clean)


class LineLog:
    """A logger for one kind of line, thread-safe. `lost` is told how many lines were dropped."""

    def __init__(self, level: str, lost: Callable[[int], None], fd: int = 2) -> None:
        self._least = LEVELS[level]
        self._lost = lost
        self._fd = fd
        self._lines: deque[bytes] = deque()
        self._some = threading.Event()
        self._over = False
        self._thread: threading.Thread | None = None

    def info(self, event: str, **fields: Any) -> None:
        """Keep a line of level info."""
        if self._least <= logging.INFO:
            self._keep("info", event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        """Keep a line of level warning."""
        if self._least <= logging.WARNING:
            self._keep("warning", event, fields)

    def close(self) -> None:
        """Write what is left, as far as its reader takes it. What is logged from now on is lost."""
        self._over = True
        thread, self._thread = self._thread, None
        if thread is not None:
            self._some.set()
            thread.join(_LAST_SECONDS)

    def _keep(self, level: str, event: str, fields: dict[str, Any]) -> None:
        if len(self._lines) >= LINES or self._over:
            self._lost(1)
            return
        for name, value in fields.items():
            if type(value) is str:
                # Most texts are names and codes, shorter than any key.
                if len(value) > 12 and name not in _PLAIN:
                    fields[name] = _known(value)
            elif type(value) is list:
                fields[name] = [_known(item) if type(item) is str else item for item in value]
        fields["event"] = event
        fields["level"] = level
        fields["timestamp"] = datetime.now(UTC)
        self._lines.append(orjson.dumps(fields, default=str, option=_AS_ELSEWHERE))
        if not self._some.is_set():
            self._some.set()
            if self._thread is None:
                self._begin()

    def _begin(self) -> None:
        # A daemon: a reader that takes nothing must not keep the process from ending.
        self._thread = threading.Thread(target=self._write_on, name="request-log", daemon=True)
        self._thread.start()

    def _write_on(self) -> None:
        while not self._over:
            self._some.wait()
            if not self._over:
                time.sleep(_GATHER_SECONDS)
            self._some.clear()
            self._write()
        self._write()

    def _write(self) -> None:
        lines = self._lines
        text = memoryview(b"".join([lines.popleft() for _ in range(len(lines))]))
        # Whoever reads it may have gone: then nobody misses it.
        with contextlib.suppress(OSError):
            while text:
                text = text[os.write(self._fd, text) :]


# The time as structlog writes it, and a line's end.
_AS_ELSEWHERE = orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE
