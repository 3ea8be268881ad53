"""A minimal HTTP/1.1 server connection: reads whole requests, writes exactly the bytes it is told to, knows
when the client left."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import struct
import time
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

from typing_extensions import override

_HEAD_LIMIT = 256 * 1024  # far over what a gateway may send; only guards the test machine's memory
_SLICE = 64 * 1024  # how finely `sent` is counted while a client does not read
_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


class BadRequestError(Exception):
    """The bytes received are no HTTP/1.1 request."""


@dataclass(eq=False, slots=True)
class Received:
    """One request as it arrived, and what became of it.

    `connection` counts the connections from 1, `turn` the requests on this connection from 1. `headers`
    keeps order and spelling. `at`, `closed_at` are `time.monotonic()` seconds; `closed_at` is when the
    client closed the connection (None while it has not). `sent` counts body and head bytes that left this
    process. `finished`: the answer, or its script, came to its end. `refusal` is the provider's message if
    a rule refused it; `ignored` names fields that the provider would silently ignore.
    """

    number: int
    connection: int
    turn: int
    method: str
    target: str
    version: str
    headers: list[tuple[str, str]]
    body: bytes
    at: float
    json: Any = None
    status: int | None = None
    sent: int = 0
    finished: bool = False
    closed_at: float | None = None
    refusal: str | None = None
    ignored: list[str] = field(default_factory=list)

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.target).query, keep_blank_values=True)

    @property
    def model(self) -> str:
        """The model that the body names, "" where it names none."""
        name = self.json.get("model") if isinstance(self.json, dict) else None
        return name if isinstance(name, str) else ""

    @property
    def aborted(self) -> bool:
        """The client closed the connection before it had the whole answer."""
        return self.closed_at is not None and not self.finished

    def values(self, name: str) -> list[str]:
        """All values of a header, in order."""
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def header(self, name: str) -> str | None:
        """The first value of a header."""
        return next(iter(self.values(name)), None)

    def keeps_alive(self) -> bool:
        return self.version == "HTTP/1.1" and "close" not in (self.header("connection") or "").lower()


Handler = Callable[["Connection", Received], Awaitable[bool]]
"""Answers one request; True when the connection may serve another one."""


class Connection(asyncio.Protocol):
    """One client connection. `_serve` runs as a task that is cancelled as soon as the client is gone; a
    client that closes only its sending half counts as gone."""

    def __init__(self, number: int, handler: Handler, forget: Callable[[Connection], None]) -> None:
        self.number = number
        self.requests: list[Received] = []
        self.closed_at: float | None = None
        self.failed: str | None = None  # the traceback of a fault of the fake itself
        self._handler = handler
        self._forget = forget
        self._buffer = bytearray()
        self._more = asyncio.Event()
        self._writable = asyncio.Event()
        self._transport: asyncio.Transport | None = None
        self._task: asyncio.Task[None] | None = None
        self._ended = False

    # -- what asyncio calls

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        # So that "written" means "handed to the kernel"; not 0, at which asyncio's TLS pauses when empty.
        self._transport.set_write_buffer_limits(high=1, low=0)
        self._writable.set()
        self._task = asyncio.get_running_loop().create_task(self._serve())

    @override
    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._more.set()

    @override
    def eof_received(self) -> bool:
        self._client_left()
        return False

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._client_left()
        self._forget(self)

    @override
    def pause_writing(self) -> None:
        self._writable.clear()

    @override
    def resume_writing(self) -> None:
        self._writable.set()

    def _client_left(self) -> None:
        if not self._ended:
            self._ended = True
            self.closed_at = time.monotonic()
            for request in self.requests:
                request.closed_at = self.closed_at
        if self._task is not None:
            self._task.cancel()

    # -- writing

    async def write(self, data: bytes, request: Received) -> None:
        """Write and wait until the kernel has taken it all; a client that does not read makes this wait."""
        for at in range(0, len(data), _SLICE):
            if self._transport is None or self._ended:
                raise ConnectionError("the connection is closed")
            self._transport.write(data[at : at + _SLICE])
            await self._writable.wait()
            request.sent += len(data[at : at + _SLICE])

    def close(self) -> None:
        """End with a FIN, after what was written."""
        self._ended = True
        if self._transport is not None:
            self._transport.close()

    def reset(self) -> None:
        """End with a RST; bytes that the client has not read yet may be lost with it."""
        self._ended = True
        if self._transport is not None:
            sock: socket.socket = self._transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()

    @property
    def busy(self) -> bool:
        """An answer is under way."""
        return bool(self.requests) and not self.requests[-1].finished

    # -- reading

    async def _serve(self) -> None:
        try:
            while True:
                request = await self._read_request()
                self.requests.append(request)
                if not await self._handler(self, request):
                    break
        except BadRequestError as bad:
            text = str(bad).encode()
            if self._transport is not None:
                self._transport.write(
                    b"HTTP/1.1 400 Bad Request\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b"
                    % (len(text), text)
                )
        except (ConnectionError, asyncio.CancelledError):
            return
        except Exception:  # noqa: BLE001 - the door of this server: a fault of the fake must not look like a stall
            self.failed = traceback.format_exc()
            self.reset()
        if not self._ended:
            self.close()

    async def _until(self, mark: bytes, limit: int) -> bytes:
        while (at := self._buffer.find(mark)) < 0:
            if len(self._buffer) > limit:
                raise BadRequestError("too long")
            await self._wait_more()
        data = bytes(self._buffer[:at])
        del self._buffer[: at + len(mark)]
        return data

    async def _exactly(self, count: int) -> bytes:
        while len(self._buffer) < count:
            await self._wait_more()
        data = bytes(self._buffer[:count])
        del self._buffer[:count]
        return data

    async def _wait_more(self) -> None:
        self._more.clear()
        await self._more.wait()

    async def _read_request(self) -> Received:
        head = await self._until(b"\r\n\r\n", _HEAD_LIMIT)
        first, *lines = head.split(b"\r\n")
        words = first.split(b" ")
        if len(words) != 3 or words[2] not in (b"HTTP/1.1", b"HTTP/1.0"):
            raise BadRequestError("bad request line")
        request = Received(
            number=0,
            connection=self.number,
            turn=len(self.requests) + 1,
            method=words[0].decode("latin-1"),
            target=words[1].decode("latin-1"),
            version=words[2].decode(),
            headers=[_header(line) for line in lines],
            body=b"",
            at=time.monotonic(),
        )
        request.body = await self._read_body(request)
        request.json = parsed(request.body)
        return request

    async def _read_body(self, request: Received) -> bytes:
        lengths, codings = request.values("content-length"), request.values("transfer-encoding")
        if len(request.values("host")) != 1 or len(lengths) > 1 or (lengths and codings):
            raise BadRequestError("ambiguous head")
        if (request.header("expect") or "").lower() == "100-continue" and self._transport is not None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if codings:
            if codings != ["chunked"]:
                raise BadRequestError("unknown transfer coding")
            return await self._read_chunks()
        if not lengths:
            return b""
        if not lengths[0].isdecimal():
            raise BadRequestError("bad content-length")
        return await self._exactly(int(lengths[0]))

    async def _read_chunks(self) -> bytes:
        body = bytearray()
        while True:
            size = (await self._until(b"\r\n", 64)).split(b";")[0].strip()
            if not re.fullmatch(rb"[0-9a-fA-F]{1,8}", size):
                raise BadRequestError("bad chunk size")
            if int(size, 16) == 0:
                while await self._until(b"\r\n", _HEAD_LIMIT):
                    pass  # trailers
                return bytes(body)
            body += await self._exactly(int(size, 16))
            if await self._exactly(2) != b"\r\n":
                raise BadRequestError("bad chunk end")


def parsed(body: bytes) -> Any:
    """The JSON of a body as strictly as the providers read it; None: it is none."""
    try:
        value = json.loads(body.decode(), parse_constant=float)
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()  # a lone surrogate is no text
    except (ValueError, RecursionError):
        return None
    return value


def _header(line: bytes) -> tuple[str, str]:
    name, colon, value = line.partition(b":")
    if not colon or not _TOKEN.fullmatch(name):
        raise BadRequestError("bad header")
    return name.decode(), value.strip().decode("latin-1")
