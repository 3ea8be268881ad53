"""What the pipeline and a transport say to each other: request, response, and how sending can fail."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, runtime_checkable

from msgspec import Struct

Reason = Literal[
    "refused",  # nothing listens there
    "dns",  # the name does not resolve
    "tls",  # the certificate or handshake is bad
    "forbidden",  # the address is private or a metadata service, and the provider may not use such
    "connect_timeout",
    "first_byte_timeout",
    "idle_timeout",
    "reset",  # the connection broke before or within the answer
    "truncated",  # the body ended before its declared or framed end
    "too_large",  # headers or body over the cap
    "invalid",  # not HTTP, or headers that cannot be parsed
]


class UpstreamError(Exception):
    """Sending failed below HTTP. `sent`: the whole request may have reached the provider (it may bill).

    Its text is for logs: a library's words, without credentials.
    """

    def __init__(self, reason: Reason, message: str, *, sent: bool) -> None:
        super().__init__(message)
        self.reason: Reason = reason
        self.sent = sent


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds. Connecting is quick or hopeless (5, TLS included); a model may think for minutes before a
    whole answer (600) but begins a stream soon (60); a silent stream is dead after 60; nothing runs over
    `total` (900). `client_stall` (30) is the client's: so long it may take nothing of what it is sent."""

    connect: float = 5.0
    first_byte: float = 600.0
    first_byte_stream: float = 60.0
    idle: float = 60.0
    total: float = 900.0
    client_stall: float = 30.0


USUAL_TIMEOUTS = Timeouts()


class Upload(Protocol):
    """A request's body that is passed on as it comes, once. What its iteration raises goes to the sender."""

    @property
    def length(self) -> int | None:
        """Bytes in all; None: not known before its end."""
        ...

    @property
    def begun(self) -> bool:
        """A part of it was taken, and will not come again."""
        ...

    def __aiter__(self) -> AsyncIterator[bytes]: ...


class UpstreamRequest(Struct, frozen=True):
    """One HTTP request to a provider. Header names are lower case; `first_byte` and the rest in seconds; of
    an upload `first_byte` is counted from its last piece. `fresh`: on a connection of its own, because a kept
    one may be stale, and this must not be sent twice to find out."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes | Upload
    connect: float
    first_byte: float
    idle: float
    allow_private: bool = False
    fresh: bool = False


class UpstreamResponse(Protocol):
    """An answer whose status line and headers are here; the body is read once, by `chunks` or `read`."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]:
        """Lower-case names; a repeated header keeps its first value."""
        ...

    def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives, decoded; an empty piece only after a nudge. Raises UpstreamError."""
        ...

    def nudge(self) -> None:
        """Let who waits for the next of `chunks` go on with an empty piece, at once and without losing any.
        Without effect where nobody waits."""
        ...

    def at_hand(self, limit: int) -> bytes | None:
        """The whole body where it is here already and has at most `limit` bytes; None: `read` it."""
        ...

    async def read(self, limit: int) -> bytes:
        """The whole body, at most `limit` bytes (more: UpstreamError "too_large")."""
        ...

    async def aclose(self) -> None:
        """Give the connection back if the body was read to its end, close it otherwise. Idempotent."""
        ...


class Closed(NamedTuple):
    """How a provider ended a WebSocket: 1006 where it did not say."""

    code: int
    reason: str


@runtime_checkable
class UpstreamSocket(Protocol):
    """An open WebSocket to a provider. `request_id`: what the provider calls it, if it says so."""

    request_id: str | None

    async def receive(self) -> str | bytes | Closed:
        """The next message, or how it was ended."""
        ...

    async def send(self, message: str | bytes) -> bool:
        """Send it, as fast as the provider takes it. False: the WebSocket is closed."""
        ...

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Say goodbye, and wait a little for the answer. Idempotent."""
        ...


class SocketTransport(Protocol):
    """Opens WebSockets; a handshake that is answered with a status gives that answer. Raises
    UpstreamError."""

    async def open(self, request: UpstreamRequest) -> UpstreamSocket | UpstreamResponse: ...


class Transport(Protocol):
    """Sends a request; returns when status and headers of the answer are here. Raises UpstreamError."""

    async def send(self, request: UpstreamRequest) -> UpstreamResponse: ...

    async def aclose(self) -> None: ...
