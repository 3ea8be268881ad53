"""Framing of streams on bytes: SSE and NDJSON read however they were cut, SSE written for every reader.

Only CR, LF and CRLF end a line. Text decoders and `splitlines` also split on U+2028, U+2029 and U+0085,
which are legal inside JSON strings; nothing here decodes before it has framed.
"""

from __future__ import annotations

import re
from typing import Any

import orjson

from dialects.errors import UPSTREAM_BAD, Detail, GatewayError
from dialects.types import Event

# The largest event that is held: a tool call's whole arguments fit many times over.
EVENT_LIMIT = 1 << 20

# A sign of life that every reader skips.
COMMENT = b": ping\n\n"

_BOM = b"\xef\xbb\xbf"
# The end of a line and an empty line after it. A CR that an LF follows is half of one line end.
_BLANK = re.compile(rb"(?:\r\n|\n|\r(?!\n))(?:\r\n|\n|\r)")


class SseFramer:
    """Cuts a byte stream into SSE events.

    The events' `raw` joined are the stream's own bytes (a byte order mark apart). A block without data, such
    as a comment, is an event with empty data, so that it can go on to the client.
    """

    def __init__(self, limit: int = EVENT_LIMIT) -> None:
        self._limit = limit
        self._held = bytearray()
        self._started = False
        self._carriage = False

    def feed(self, data: bytes) -> list[Event]:
        """The events complete after `data`. GatewayError when one exceeds the limit; those before it in the
        same read come out first."""
        held = self._held
        if not self._started:
            data = self._start(data)
        if not self._carriage and b"\r" in data:
            self._carriage = True
        start = 0
        if held:
            if len(held) > self._limit:
                raise _too_large()
            # The end of an event may have been cut anywhere in its up to four bytes.
            start = max(0, len(held) - 3)
            held += data
            if self._last_end(held, start) == 0:
                return self._checked([])
            data = bytes(held)
            held.clear()
        blocks, rest = self._mixed(data) if self._carriage else _plain(data)
        events: list[Event] = []
        for index, raw in enumerate(blocks):
            if len(raw) > self._limit:
                held += b"".join(blocks[index:])
                break
            events.append(_event(raw))
        held += rest
        return self._checked(events)

    def pending(self) -> bool:
        """True when an unfinished event is held; left-over line ends are none."""
        return bool(self._held.strip(b"\r\n"))

    def _start(self, data: bytes) -> bytes:
        """Skip a byte order mark at the very beginning, which may itself arrive in pieces."""
        data = bytes(self._held) + data
        self._held.clear()
        if len(data) < len(_BOM) and _BOM.startswith(data):
            self._held += data
            return b""
        self._started = True
        return data[3:] if data.startswith(_BOM) else data

    def _last_end(self, held: bytearray, start: int) -> int:
        if self._carriage:
            found = _BLANK.search(held, start)
            return found.end() if found else 0
        return held.find(b"\n\n", start) + 1

    def _mixed(self, data: bytes) -> tuple[list[bytes], bytes]:
        blocks = []
        at = 0
        for found in _BLANK.finditer(data):
            blocks.append(data[at : found.end()])
            at = found.end()
        return blocks, data[at:]

    def _checked(self, events: list[Event]) -> list[Event]:
        if not events and len(self._held) > self._limit:
            raise _too_large()
        return events


class NdjsonFramer:
    """Cuts a byte stream into one event a line. A blank line is an event with empty data."""

    def __init__(self, limit: int = EVENT_LIMIT) -> None:
        self._limit = limit
        self._held = bytearray()

    def feed(self, data: bytes) -> list[Event]:
        """The lines complete after `data`. GatewayError when one exceeds the limit."""
        held = self._held
        if len(held) > self._limit:
            raise _too_large()
        end = data.rfind(b"\n") + 1
        if end == 0:
            held += data
            if len(held) > self._limit:
                raise _too_large()
            return []
        whole = bytes(held) + data[:end]
        held.clear()
        held += data[end:]
        events = []
        for line in whole.split(b"\n")[:-1]:
            if len(line) > self._limit:
                raise _too_large()
            events.append(Event("", line.removeprefix(_BOM).strip(), line + b"\n"))
        return events

    def pending(self) -> bool:
        """True when an unfinished line is held."""
        return bool(self._held.strip())


def escape(data: bytes) -> bytes:
    """JSON with the line separators escaped that some readers split on."""
    if b"\xe2\x80" in data:
        data = data.replace(b"\xe2\x80\xa8", b"\\u2028").replace(b"\xe2\x80\xa9", b"\\u2029")
    if b"\xc2\x85" in data:
        data = data.replace(b"\xc2\x85", b"\\u0085")
    return data


def frame(data: bytes, name: str = "") -> bytes:
    """One SSE event around JSON on one line."""
    data = escape(data)
    if name:
        return b"event: %b\ndata: %b\n\n" % (name.encode(), data)
    return b"data: %b\n\n" % data


def frame_json(value: Any, name: str = "") -> bytes:
    """One SSE event around a value."""
    return frame(orjson.dumps(value), name)


def _plain(data: bytes) -> tuple[list[bytes], bytes]:
    """The blocks of a read without carriage returns, and what is left after the last."""
    *blocks, rest = data.split(b"\n\n")
    return [block + b"\n\n" for block in blocks], rest


def _event(raw: bytes) -> Event:
    # The two shapes that nearly every event has: one data line, or a name and one data line.
    start = 0
    name = ""
    if raw.startswith(b"event: "):
        start = raw.find(b"\n") + 1
        name = raw[7 : start - 1].decode("utf-8", "replace")
    end = len(raw) - 2
    if raw.startswith(b"data: ", start) and raw.find(b"\n", start) == end and raw.find(b"\r") < 0:
        return Event(name, raw[start + 6 : end], raw)
    return _any_event(raw)


def _any_event(raw: bytes) -> Event:
    name = b""
    data: list[bytes] = []
    for line in raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n"):
        field, _, value = line.partition(b":")
        if value.startswith(b" "):
            value = value[1:]
        if field == b"data":
            data.append(value)
        elif field == b"event":
            name = value
    return Event(name.decode("utf-8", "replace"), b"\n".join(data), raw)


def _too_large() -> GatewayError:
    return GatewayError(
        UPSTREAM_BAD,
        "The provider sent a single event larger than this gateway takes.",
        Detail(code="upstream_event_too_large"),
    )
