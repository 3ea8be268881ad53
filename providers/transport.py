"""The upstream HTTP client: our Transport in front, httpx's transport interface within, our pool behind it.

`HttpTransport` drives an `httpx.AsyncBaseTransport` without an `httpx.AsyncClient`, so there are no
redirects, cookies, proxies from the environment or authentication flows to switch off. Why
`PooledTransport` stands behind that interface, and what it was measured against:
docs/decisions/0001-upstream-transport.md.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from functools import lru_cache

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
        self, inner: httpx.AsyncBaseTransport | None = None, *, user_agent: str = USER_AGENT
    ) -> None:
        self._inner = inner if inner is not None else PooledTransport()
        self._user_agent = ("user-agent", user_agent)

    async def send(self, request: UpstreamRequest) -> UpstreamResponse:
        """Returns when status and headers are here. Raises UpstreamError. Cancelled, nothing stays open."""
        outgoing = self._outgoing(request)
        try:
            response = await self._inner.handle_async_request(outgoing)
        except httpx.TransportError as error:
            raise _translated(error, "first_byte_timeout") from error
        return HttpResponse(response)

    async def aclose(self) -> None:
        """Close every connection."""
        await self._inner.aclose()

    def _outgoing(self, request: UpstreamRequest) -> httpx.Request:
        url, host = _address(request.url)
        given, body = request.headers, request.body
        pairs = [("host", host), *_framing(request)]
        if "user-agent" not in given:
            pairs.append(self._user_agent)
        pairs += [pair for pair in given.items() if pair[0] not in _OWN_HEADERS]
        try:
            headers = [(name.encode("ascii"), value.encode("latin-1")) for name, value in pairs]
        except UnicodeEncodeError as error:
            raise UpstreamError("invalid", "a header of the request is not latin-1", sent=False) from error
        return httpx.Request(
            request.method,
            url,
            headers=headers,
            stream=httpx.ByteStream(body) if isinstance(body, bytes) else _Outgoing(body),
            extensions={
                "timeout": {
                    "connect": request.connect,
                    "read": request.idle,
                    "write": request.first_byte,
                    "pool": request.connect,
                },
                "first_byte": request.first_byte,
                "allow_private": request.allow_private,
                "fresh": request.fresh,
            },
        )


class HttpResponse:
    """An answer whose body is still on its way: UpstreamResponse over an httpx.Response."""

    __slots__ = ("_nudge", "_stream", "headers", "status")

    def __init__(self, response: httpx.Response) -> None:
        assert isinstance(response.stream, httpx.AsyncByteStream)  # noqa: S101 - httpx's interface says so
        self._stream: httpx.AsyncByteStream = response.stream
        self._nudge: Callable[[], None] = response.extensions.get("nudge", _nothing)
        self.status: int = response.status_code
        headers: dict[str, str] = {}
        for name, value in response.headers.raw:
            headers.setdefault(name.decode("latin-1").lower(), value.decode("latin-1"))
        self.headers: Mapping[str, str] = headers

    def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives, decoded; pieces that arrived together are one. Raises UpstreamError."""
        pieces = _Pieces(self._stream)
        encoding = self.headers.get("content-encoding")
        return pieces if encoding is None else _decoded(pieces, encoding)

    def nudge(self) -> None:
        """End the wait for the next piece, with an empty one."""
        self._nudge()

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
        await self._stream.aclose()


class _Outgoing(httpx.AsyncByteStream):
    """An upload as httpx hands it on."""

    def __init__(self, upload: Upload) -> None:
        self._upload = upload

    def __aiter__(self) -> AsyncIterator[bytes]:
        return aiter(self._upload)


def _framing(request: UpstreamRequest) -> list[tuple[str, str]]:
    """The header that says where the body ends."""
    body = request.body
    length = len(body) if isinstance(body, bytes) else body.length
    if length is None:
        return [("transfer-encoding", "chunked")]
    return [("content-length", str(length))] if length or request.method == "POST" else []


def _nothing() -> None:
    """The nudge of an `inner` that knows none."""


class _Pieces:
    """A body's pieces, with httpx's errors as ours. Not a generator: one of these a call, one step a chunk,
    and nothing to clean up when a client leaves in the middle."""

    __slots__ = ("_next",)

    def __init__(self, stream: httpx.AsyncByteStream) -> None:
        self._next = stream.__aiter__().__anext__

    def __aiter__(self) -> _Pieces:
        return self

    async def __anext__(self) -> bytes:
        try:
            return await self._next()
        except httpx.TransportError as error:
            raise _translated(error, "idle_timeout") from error


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


class PooledTransport(httpx.AsyncBaseTransport):
    """httpx's transport interface over our pool of llhttp connections.

    Of a request's extensions it reads "timeout" (connect; read: between two pieces of the body),
    "first_byte" (seconds until an answer begins), "allow_private" and "fresh" (not on a kept connection). It
    raises UpstreamError, which says more than httpx's exceptions: whether the request may have been sent. Of
    its responses, the extension "nudge" ends the wait for a piece of the body with an empty one.
    """

    def __init__(self, *, tls: ssl.SSLContext | None = None, resolver: Resolver | None = None) -> None:
        self.pool = Pool(tls if tls is not None else default_tls(), resolver or Resolver())

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send it. Raises UpstreamError."""
        url, extensions = request.url, request.extensions
        timeouts: Mapping[str, float] = extensions["timeout"]
        tls = url.scheme == "https"
        key = Key(tls, url.raw_host.decode(), url.port or (443 if tls else 80), extensions["allow_private"])
        limits = (extensions["first_byte"], timeouts["read"])
        if isinstance(request.stream, httpx.ByteStream):
            parts = (_head(request), b"".join(request.stream), limits)
            exchange = None if extensions.get("fresh") else await self._reuse(key, parts)
            if exchange is None:
                connection = await self.pool.connect(key, timeouts["connect"])
                exchange = connection.send(*parts)
                await exchange.head()
        else:
            # Never on a connection that may be stale: it could not be sent once more.
            connection = await self.pool.connect(key, timeouts["connect"])
            exchange = await _upload(connection, request, limits)
        return httpx.Response(
            exchange.status,
            headers=exchange.headers,
            stream=_Body(exchange),
            extensions={"nudge": exchange.nudge},
        )

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


class _Body(httpx.AsyncByteStream):
    """The body of one exchange, as httpx hands it on."""

    __slots__ = ("_exchange",)

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        piece = await self._exchange.receive()
        if piece is None:
            raise StopAsyncIteration
        return piece

    async def aclose(self) -> None:
        self._exchange.close()


def default_tls() -> ssl.SSLContext:
    """One context for all requests, always verifying, so that no request can weaken it. The authorities are
    httpx's choice: certifi's, or those of SSL_CERT_FILE or SSL_CERT_DIR."""
    context = httpx.create_ssl_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


@lru_cache(maxsize=_URLS)
def _address(text: str) -> tuple[httpx.URL, str]:
    """A URL parsed, and its Host header. Raises UpstreamError "forbidden" for what is not plain HTTP(S)."""
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL as error:
        raise UpstreamError("forbidden", f"not a URL: {error}", sent=False) from error
    odd_host = not url.host or "%" in url.host
    odd_port = url.port is not None and not 0 < url.port < 65536
    if url.scheme not in ("http", "https") or odd_host or odd_port or url.userinfo or url.fragment:
        message = "a provider's URL is http(s)://host[:port]/path, without user or fragment"
        raise UpstreamError("forbidden", message, sent=False)
    return url, url.netloc.decode("ascii")


def _head(request: httpx.Request) -> bytes:
    """The request line and headers as they go out. Raises UpstreamError where a header would break out."""
    if request.method in ("HEAD", "CONNECT"):
        # Their answers end otherwise than the parser expects, and no provider needs them.
        raise UpstreamError("invalid", f"{request.method} is not supported", sent=False)
    pairs = request.headers.raw
    first = b"%b %b HTTP/1.1\r\n" % (request.method.encode("ascii"), request.url.raw_path)
    head = first + b"\r\n".join([b": ".join(pair) for pair in pairs])
    if head.count(b"\n") != len(pairs) or head.count(b"\r") != len(pairs) or b"\0" in head:
        raise UpstreamError("invalid", "a header of the request holds a line break", sent=False)
    return head + b"\r\n\r\n"


async def _upload(connection: Connection, request: httpx.Request, limits: Limits) -> Exchange:
    """Send a request whose body comes piece by piece, the next when the network has taken the last. A
    provider that answers before the end is sent no more."""
    assert isinstance(request.stream, httpx.AsyncByteStream)  # noqa: S101 - what is no bytes is a stream
    chunked = "transfer-encoding" in request.headers
    exchange = connection.begin(_head(request), limits)
    try:
        async for piece in request.stream:
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
