"""The upstream HTTP client: our Transport in front, and behind it our pool, or whatever has httpx's
transport interface.

There is no `httpx.AsyncClient`, so there are no redirects, cookies, proxies from the environment or
authentication flows to switch off. Why our pool stands behind, what it was measured against, and why it is
driven without httpx's objects: docs/decisions/0001-upstream-transport.md.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import httpx

from providers.connection import Connection
from providers.decoding import DECODED_LIMIT, decoder
from providers.egress import Resolver
from providers.exchange import Exchange, Limits
from providers.pool import Key, Pool
from providers.wire import Reason, Upload, UpstreamError, UpstreamRequest, UpstreamResponse

# What providers see of us; without it a library's name and version would go out.
USER_AGENT = "llm-gateway"
# The transport writes these itself; a second one would make the request's end ambiguous.
_OWN_HEADERS = frozenset({"host", "content-length", "transfer-encoding", "connection"})
# Distinct URLs are one or two per provider and dialect.
_URLS = 1024


class HttpTransport:
    """Sends requests over HTTP/1.1. May be built before the event loop runs; belongs to the loop of its
    first use.

    `inner`: what sends. Only PooledTransport judges addresses, so nothing else may face a network on which
    private addresses exist.
    """

    def __init__(
        self, inner: PooledTransport | httpx.AsyncBaseTransport | None = None, *, user_agent: str = USER_AGENT
    ) -> None:
        self._inner = inner if inner is not None else PooledTransport()
        self._user_agent = user_agent

    async def send(self, request: UpstreamRequest) -> UpstreamResponse:
        """Returns when status and headers are here. Raises UpstreamError. Cancelled, nothing stays open."""
        address = _address(request.url)
        headers = self._headers(request, address)
        if isinstance(self._inner, PooledTransport):
            return await self._inner.send(request, address, headers)
        try:
            response = await self._inner.handle_async_request(_outgoing(request, address, headers))
        except httpx.TransportError as error:
            raise _translated(error, "first_byte_timeout") from error
        return HttpResponse(response.status_code, response.headers.raw, _Foreign(response))

    async def aclose(self) -> None:
        """Close every connection."""
        await self._inner.aclose()

    def _headers(self, request: UpstreamRequest, address: Address) -> list[tuple[str, str]]:
        given = request.headers
        pairs = [("host", address.host), *_framing(request)]
        if "user-agent" not in given:
            pairs.append(("user-agent", self._user_agent))
        pairs += [pair for pair in given.items() if pair[0] not in _OWN_HEADERS]
        return pairs


class PooledTransport:
    """Our pool of llhttp connections. Its errors say more than httpx's: whether the request may have been
    sent."""

    def __init__(self, *, tls: ssl.SSLContext | None = None, resolver: Resolver | None = None) -> None:
        self.pool = Pool(tls if tls is not None else default_tls(), resolver or Resolver())

    async def send(
        self, request: UpstreamRequest, address: Address, headers: list[tuple[str, str]]
    ) -> HttpResponse:
        """Send it. Raises UpstreamError."""
        key = Key(address.tls, address.name, address.port, request.allow_private)
        head, body = _head(request.method, address.path, headers), request.body
        limits = (request.first_byte, request.idle)
        if isinstance(body, bytes):
            parts = (head, body, limits)
            exchange = None if request.fresh else await self._reuse(key, parts)
            if exchange is None:
                connection = await self.pool.connect(key, request.connect)
                exchange = connection.send(*parts)
                await exchange.head()
        else:
            # Never on a connection that may be stale: it could not be sent once more.
            connection = await self.pool.connect(key, request.connect)
            exchange = await _upload(connection, head, body, limits)
        return HttpResponse(exchange.status, exchange.headers, _Own(exchange))

    async def aclose(self) -> None:
        """Close every connection."""
        await self.pool.aclose()

    async def _reuse(self, key: Key, parts: tuple[bytes, bytes, Limits]) -> Exchange | None:
        """Try an idle connection. None: there is none, or the provider had closed it unseen; then, and only
        then, the request is sent once more."""
        connection = self.pool.take(key)
        if connection is None:
            return None
        exchange = connection.send(*parts)
        try:
            await exchange.head()
        except UpstreamError:
            if exchange.stale:
                return None
            raise
        return exchange


class _Body(Protocol):
    """A body on its way, from either client. Raises UpstreamError."""

    def __aiter__(self) -> _Body: ...

    async def __anext__(self) -> bytes: ...

    def at_hand(self) -> bytes | None:
        """All of it, where all of it is here and nothing was taken."""
        ...

    def nudge(self) -> None: ...

    async def aclose(self) -> None: ...


class HttpResponse:
    """An answer whose body is still on its way: UpstreamResponse over either client."""

    __slots__ = ("_body", "headers", "nudge", "status")

    def __init__(self, status: int, headers: Iterable[tuple[bytes, bytes]], body: _Body) -> None:
        self._body = body
        # End the wait for the next piece, with an empty one.
        self.nudge: Callable[[], None] = body.nudge
        self.status: int = status
        named: dict[str, str] = {}
        for name, value in headers:
            named.setdefault(name.decode("latin-1").lower(), value.decode("latin-1"))
        self.headers: Mapping[str, str] = named

    def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives, decoded; pieces that arrived together are one. Raises UpstreamError."""
        encoding = self.headers.get("content-encoding")
        return self._body if encoding is None else _decoded(self._body, encoding)

    def at_hand(self, limit: int) -> bytes | None:
        """The whole body if it needs no waiting and no decoding and has at most `limit` bytes."""
        if "content-encoding" in self.headers:
            return None
        body = self._body.at_hand()
        return body if body is not None and len(body) <= limit else None

    async def read(self, limit: int) -> bytes:
        """The whole body, decoded. UpstreamError "too_large" as soon as it exceeds `limit` bytes."""
        pieces: list[bytes] = []
        size = 0
        async for piece in self.chunks():
            size += len(piece)
            if size > limit:
                await self.aclose()
                raise UpstreamError("too_large", f"the answer is larger than {limit} bytes", sent=True)
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def aclose(self) -> None:
        """Close the connection unless the answer has come to its end. Idempotent."""
        await self._body.aclose()


class _Own:
    """The body of one exchange. Not a generator: one of these a call, one step a chunk, and nothing to clean
    up when a client leaves in the middle."""

    __slots__ = ("_exchange", "nudge")

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self.nudge = exchange.nudge

    def __aiter__(self) -> _Own:
        return self

    async def __anext__(self) -> bytes:
        piece = await self._exchange.receive()
        if piece is None:
            raise StopAsyncIteration
        return piece

    def at_hand(self) -> bytes | None:
        return self._exchange.at_hand()

    async def aclose(self) -> None:
        self._exchange.close()


class _Foreign:
    """The body of an httpx.Response, with httpx's errors as ours."""

    __slots__ = ("_next", "_stream")

    def __init__(self, response: httpx.Response) -> None:
        assert isinstance(response.stream, httpx.AsyncByteStream)  # noqa: S101 - httpx's interface says so
        self._stream: httpx.AsyncByteStream = response.stream
        self._next = response.stream.__aiter__().__anext__

    def __aiter__(self) -> _Foreign:
        return self

    async def __anext__(self) -> bytes:
        try:
            return await self._next()
        except httpx.TransportError as error:
            raise _translated(error, "idle_timeout") from error

    def at_hand(self) -> bytes | None:
        return None

    def nudge(self) -> None:
        """Httpx knows none."""

    async def aclose(self) -> None:
        await self._stream.aclose()


async def _decoded(pieces: AsyncIterator[bytes], encoding: str) -> AsyncIterator[bytes]:
    undo = decoder(encoding)
    size = 0
    async for piece in pieces:
        if undo is None or not piece:
            yield piece
        else:
            for part in undo.feed(piece):
                size += len(part)
                if size > DECODED_LIMIT:
                    raise UpstreamError("too_large", "the answer unpacks to too much", sent=True)
                yield part
    if undo is not None:
        undo.finish()


def default_tls() -> ssl.SSLContext:
    """One context for all requests, always verifying, so that no request can weaken it. The authorities are
    httpx's choice: certifi's, or those of SSL_CERT_FILE or SSL_CERT_DIR."""
    context = httpx.create_ssl_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


@dataclass(frozen=True, slots=True)
class Address:
    """A URL, parsed: as httpx knows it, its Host header, whom to connect to, and what to ask for there."""

    url: httpx.URL
    host: str
    tls: bool
    name: str
    port: int
    path: str


@lru_cache(maxsize=_URLS)
def _address(text: str) -> Address:
    """Raises UpstreamError "forbidden" for what is not plain HTTP(S)."""
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL as error:
        raise UpstreamError("forbidden", f"not a URL: {error}", sent=False) from error
    odd_host = not url.host or "%" in url.host
    odd_port = url.port is not None and not 0 < url.port < 65536
    if url.scheme not in ("http", "https") or odd_host or odd_port or url.userinfo or url.fragment:
        message = "a provider's URL is http(s)://host[:port]/path, without user or fragment"
        raise UpstreamError("forbidden", message, sent=False)
    tls = url.scheme == "https"
    return Address(
        url=url,
        host=url.netloc.decode("ascii"),
        tls=tls,
        name=url.raw_host.decode(),
        port=url.port or (443 if tls else 80),
        path=url.raw_path.decode("ascii"),
    )


def _head(method: str, path: str, pairs: list[tuple[str, str]]) -> bytes:
    """The request line and headers as they go out. Raises UpstreamError where a header would break out."""
    if method in ("HEAD", "CONNECT"):
        # Their answers end otherwise than the parser expects, and no provider needs them.
        raise UpstreamError("invalid", f"{method} is not supported", sent=False)
    lines = [f"{method} {path} HTTP/1.1", *[f"{name}: {value}" for name, value in pairs], "\r\n"]
    head = "\r\n".join(lines)
    breaks = len(pairs) + 2
    if head.count("\n") != breaks or head.count("\r") != breaks or "\0" in head:
        raise UpstreamError("invalid", "a header of the request holds a line break", sent=False)
    try:
        return head.encode("latin-1")
    except UnicodeEncodeError as error:
        raise _not_latin(error) from error


def _framing(request: UpstreamRequest) -> list[tuple[str, str]]:
    """The header that says where the body ends."""
    body = request.body
    length = len(body) if isinstance(body, bytes) else body.length
    if length is None:
        return [("transfer-encoding", "chunked")]
    return [("content-length", str(length))] if length or request.method == "POST" else []


async def _upload(connection: Connection, head: bytes, upload: Upload, limits: Limits) -> Exchange:
    """Send a request whose body comes piece by piece, the next when the network has taken the last. A
    provider that answers before the end is sent no more."""
    chunked = upload.length is None
    exchange = connection.begin(head, limits)
    try:
        async for piece in upload:
            data = b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece
            if piece and not await connection.put(data):
                break
        else:
            connection.complete(b"0\r\n\r\n" if chunked else b"")
        await exchange.head()
    except BaseException:
        exchange.close()
        raise
    return exchange


class _Outgoing(httpx.AsyncByteStream):
    """An upload as httpx hands it on."""

    def __init__(self, upload: Upload) -> None:
        self._upload = upload

    def __aiter__(self) -> AsyncIterator[bytes]:
        return aiter(self._upload)


def _outgoing(request: UpstreamRequest, address: Address, pairs: list[tuple[str, str]]) -> httpx.Request:
    body = request.body
    try:
        headers = [(name.encode("ascii"), value.encode("latin-1")) for name, value in pairs]
    except UnicodeEncodeError as error:
        raise _not_latin(error) from error
    return httpx.Request(
        request.method,
        address.url,
        headers=headers,
        stream=httpx.ByteStream(body) if isinstance(body, bytes) else _Outgoing(body),
        extensions={
            "timeout": {
                "connect": request.connect,
                "read": request.idle,
                "write": request.first_byte,
                "pool": request.connect,
            }
        },
    )


def _not_latin(error: UnicodeEncodeError) -> UpstreamError:
    return UpstreamError("invalid", f"a header of the request is not latin-1: {error.reason}", sent=False)


_REASONS: tuple[tuple[type[httpx.TransportError], Reason, bool], ...] = (
    (httpx.ConnectTimeout, "connect_timeout", False),
    (httpx.PoolTimeout, "connect_timeout", False),
    (httpx.UnsupportedProtocol, "forbidden", False),
    (httpx.ConnectError, "refused", False),
    (httpx.ProtocolError, "truncated", True),
)


def _translated(error: httpx.TransportError, late: Reason) -> UpstreamError:
    """An httpx error as ours, for an `inner` that raises them. `late`: what a timeout means at this point."""
    if isinstance(error, httpx.ReadTimeout | httpx.WriteTimeout):
        return UpstreamError(late, str(error), sent=True)
    for kind, reason, sent in _REASONS:
        if isinstance(error, kind):
            return UpstreamError(reason, str(error), sent=sent)
    return UpstreamError("reset", str(error), sent=True)


__all__ = ["USER_AGENT", "HttpResponse", "HttpTransport", "PooledTransport", "default_tls"]
