"""The steps of a script: what the fake writes, byte for byte, and when it waits, stalls, resets or closes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Literal, Protocol

from tests.support.upstream.wire import Connection, Received

Headers = Mapping[str, str] | Sequence[tuple[str, str]]
Framing = Literal["chunked", "none"]


class Flag(Protocol):
    """What `WaitFor` waits on: a `threading.Event`, an `asyncio.Event`, or anything that `is_set()`."""

    def is_set(self) -> bool: ...


class EndOfScriptError(Exception):
    """The connection was ended by a step; nothing after it runs."""


@dataclass(slots=True)
class Reply:
    """The default answer: one JSON document, or the frames of a stream, each a whole event or line."""

    status: int = 200
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    frames: list[bytes] | None = None


class Stage:
    """One exchange under way: where the steps write to. It knows the framing that the head has announced."""

    def __init__(self, connection: Connection, request: Received, default: Callable[[], Reply]) -> None:
        self.connection = connection
        self.request = request
        self.default = default
        self._chunked = False
        self._left: int | None = (
            None  # body bytes that content-length still promises; None: no length was given
        )
        self._headed = False

    async def raw(self, data: bytes) -> None:
        await self.connection.write(data, self.request)

    def frame(self, data: bytes) -> bytes:
        """The data as it travels in the framing of the head."""
        if self._left is not None:
            self._left -= len(data)
        return b"%x\r\n%b\r\n" % (len(data), data) if self._chunked and data else data

    async def head(self, head: SendHead) -> None:
        pairs = _pairs(head.headers)
        lengths = [value for name, value in pairs if name.lower() == "content-length"]
        self._headed = True
        self._chunked = head.framing == "chunked"
        self._left = int(lengths[0]) if len(lengths) == 1 and lengths[0].isdecimal() else None
        if self._chunked:
            pairs.append(("transfer-encoding", "chunked"))
        reason = head.reason if head.reason is not None else _reason(head.status)
        lines = [
            f"HTTP/{head.version} {head.status} {reason}",
            *(f"{name}: {value}" for name, value in pairs),
        ]
        self.request.status = head.status
        await self.raw("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n")

    async def finish(self) -> bool:
        """End the body as its framing asks; True when the connection can serve another request."""
        if self._chunked:
            await self.raw(b"0\r\n\r\n")
        self.request.finished = self._headed
        return self._headed and (self._chunked or self._left == 0) and self.request.keeps_alive()


class Step(Protocol):
    """One step of a script."""

    async def run(self, stage: Stage) -> None: ...


@dataclass(frozen=True, slots=True)
class SendHead:
    """A status line and headers. framing "chunked": adds transfer-encoding, and each later Send is one
    chunk; "none": adds nothing, so give a content-length, or the body ends with the connection. Values go
    out unchecked."""

    status: int = 200
    headers: Headers = ()
    framing: Framing = "chunked"
    version: str = "1.1"
    reason: str | None = None

    async def run(self, stage: Stage) -> None:
        await stage.head(self)


@dataclass(frozen=True, slots=True)
class Send:
    """Body bytes, in the framing of the head; without a head they go out as they are."""

    data: bytes

    async def run(self, stage: Stage) -> None:
        await stage.raw(stage.frame(self.data))


@dataclass(frozen=True, slots=True)
class Raw:
    """Bytes as they are, whatever the framing: bad heads, bad chunks, two answers."""

    data: bytes

    async def run(self, stage: Stage) -> None:
        await stage.raw(self.data)


@dataclass(frozen=True, slots=True)
class OneByteSegments:
    """Body bytes of which each travels in a TCP segment of its own, chunk headers included."""

    data: bytes

    async def run(self, stage: Stage) -> None:
        for byte in stage.frame(self.data):
            await stage.raw(bytes((byte,)))
            await asyncio.sleep(0)


@dataclass(frozen=True, slots=True)
class Wait:
    """A pause, in seconds."""

    seconds: float

    async def run(self, stage: Stage) -> None:
        await asyncio.sleep(self.seconds)


@dataclass(frozen=True, slots=True)
class WaitFor:
    """A pause until a flag is set, from whatever thread."""

    event: Flag

    async def run(self, stage: Stage) -> None:
        while not self.event.is_set():  # noqa: ASYNC110 - the flag may belong to another thread or loop
            await asyncio.sleep(0.002)


@dataclass(frozen=True, slots=True)
class Stall:
    """Silence until the client leaves."""

    async def run(self, stage: Stage) -> None:
        await asyncio.Event().wait()


@dataclass(frozen=True, slots=True)
class Reset:
    """A RST at once."""

    async def run(self, stage: Stage) -> None:
        stage.connection.reset()
        raise EndOfScriptError


@dataclass(frozen=True, slots=True)
class Close:
    """A FIN after what was written, without the end that the framing asks for."""

    async def run(self, stage: Stage) -> None:
        stage.connection.close()
        raise EndOfScriptError


@dataclass(frozen=True, slots=True)
class Json:
    """A whole answer with a content-length. `body`: bytes and text go out as they are, all else as JSON."""

    status: int = 200
    body: Any = None
    headers: Headers = ()

    async def run(self, stage: Stage) -> None:
        data = encoded(self.body)
        pairs = _defaulted(self.headers, "content-type", "application/json")
        await stage.head(SendHead(self.status, [*pairs, ("content-length", str(len(data)))], "none"))
        await stage.raw(stage.frame(data))


@dataclass(frozen=True, slots=True)
class Sse:
    """A stream of server-sent events, one chunk each, `pause` seconds apart, in an answer that stays open
    for the next steps. An event is a payload (bytes, text, or a JSON value), or a pair of its name and its
    payload."""

    events: Sequence[Any]
    pause: float = 0.0
    headers: Headers = ()
    status: int = 200

    async def run(self, stage: Stage) -> None:
        pairs = _defaulted(self.headers, "content-type", "text/event-stream; charset=utf-8")
        await stage.head(SendHead(self.status, pairs))
        async for frame in _paced([sse(event) for event in self.events], self.pause):
            await stage.raw(stage.frame(frame))


@dataclass(frozen=True, slots=True)
class Ndjson:
    """A stream of JSON lines; otherwise as Sse."""

    lines: Sequence[Any]
    pause: float = 0.0
    headers: Headers = ()
    status: int = 200

    async def run(self, stage: Stage) -> None:
        pairs = _defaulted(self.headers, "content-type", "application/x-ndjson")
        await stage.head(SendHead(self.status, pairs))
        async for frame in _paced([encoded(line) + b"\n" for line in self.lines], self.pause):
            await stage.raw(stage.frame(frame))


@dataclass(frozen=True, slots=True)
class Answer:
    """What the provider would have answered. Of a stream only the first `events`, if given, `pause` seconds
    apart; the answer then stays open for the next steps. `headers` are added to the provider's own."""

    events: int | None = None
    pause: float = 0.0
    headers: Headers = ()

    async def run(self, stage: Stage) -> None:
        reply = stage.default()
        pairs = [*reply.headers, *_pairs(self.headers)]
        if reply.frames is None:
            await Json(reply.status, reply.body, pairs).run(stage)
            return
        await stage.head(SendHead(reply.status, pairs))
        async for frame in _paced(reply.frames[: self.events], self.pause):
            await stage.raw(stage.frame(frame))


def sse(event: Any) -> bytes:
    """One server-sent event: `event` is a payload, or (name, payload)."""
    name, payload = event if isinstance(event, tuple) else ("", event)
    return (f"event: {name}\n".encode() if name else b"") + b"data: " + encoded(payload) + b"\n\n"


def encoded(value: Any) -> bytes:
    """Bytes and text as they are, anything else as compact JSON."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode()
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


async def _paced(frames: Iterable[bytes], pause: float) -> AsyncIterator[bytes]:
    for index, frame in enumerate(frames):
        if pause and index:
            await asyncio.sleep(pause)
        yield frame


def _pairs(headers: Headers) -> list[tuple[str, str]]:
    return list(headers.items()) if isinstance(headers, Mapping) else list(headers)


def _defaulted(headers: Headers, name: str, value: str) -> list[tuple[str, str]]:
    pairs = _pairs(headers)
    return pairs if any(key.lower() == name for key, _ in pairs) else [(name, value), *pairs]


def _reason(status: int) -> str:
    return HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else "Unknown"
