"""WebSockets to providers: opened by the pool's own dialling, which judges addresses, and read one message at
a time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping

from websockets.asyncio.client import ClientConnection
from websockets.client import ClientProtocol
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, WebSocketException
from websockets.http11 import Response
from websockets.uri import parse_uri

from providers.pool import Key, Pool
from providers.wire import Closed, UpstreamError, UpstreamRequest

# As the servers allow: a piece of audio has 15 MiB at the most.
MESSAGE_LIMIT = 16 * 1024 * 1024
# Messages that wait here for who reads them; then the provider waits. Each may be of the longest.
_QUEUE = 2
# A peer that does not answer a ping so long is gone, and without pings nobody would notice.
_PING_SECONDS = 20.0
_CLOSE_SECONDS = 2.0
# The library tells of handshakes and frames; what is worth telling is told by the pipeline.
_QUIET = logging.getLogger("providers.websockets")
_QUIET.setLevel(logging.CRITICAL)

# Of a handshake these are the library's own.
_OWN = frozenset({"host", "connection", "upgrade", "accept", "accept-encoding", "content-length"})


class ProviderSocket:
    """An open WebSocket."""

    def __init__(self, connection: ClientConnection, request_id: str | None) -> None:
        self._connection = connection
        self.request_id = request_id

    async def receive(self) -> str | bytes | Closed:
        """The next message, or how it was ended."""
        try:
            return await self._connection.recv()
        except ConnectionClosed as error:
            frame = error.rcvd
            return Closed(1006, "") if frame is None else Closed(frame.code, frame.reason)

    async def send(self, message: str | bytes) -> bool:
        """Send it, as fast as the provider takes it. False: the WebSocket is closed."""
        try:
            await self._connection.send(message)
        except ConnectionClosed:
            return False
        return True

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Say goodbye, and wait a little for the answer. Idempotent."""
        await self._connection.close(code, reason)


class Refused:
    """A handshake that was answered with a status: an UpstreamResponse whose body is here."""

    def __init__(self, response: Response) -> None:
        self.status = response.status_code
        self.headers: Mapping[str, str] = {
            name.lower(): value for name, value in response.headers.raw_items()
        }
        self._body = bytes(response.body or b"")

    async def chunks(self) -> AsyncIterator[bytes]:
        yield self._body

    def nudge(self) -> None:
        """Nobody waits."""

    def at_hand(self, limit: int) -> bytes | None:
        return self._body if len(self._body) <= limit else None

    async def read(self, limit: int) -> bytes:
        return self._body[:limit]

    async def aclose(self) -> None:
        """The connection is closed already."""


class PooledSockets:
    """Opens WebSockets. `pool` is the HTTP transport's: who may be dialled is one rule."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def open(self, request: UpstreamRequest) -> ProviderSocket | Refused:
        """Do the handshake. Raises UpstreamError."""
        uri = parse_uri("ws" + request.url.removeprefix("http"))
        key = Key(uri.secure, uri.host, uri.port, request.allow_private)
        connection = await self._pool.attach(key, request.connect, lambda: _connection(uri))
        try:
            async with asyncio.timeout(request.first_byte):
                headers = {name: value for name, value in request.headers.items() if name not in _OWN}
                await connection.handshake(headers, None)
        except InvalidStatus as error:
            connection.transport.abort()
            return Refused(error.response)
        except TimeoutError:
            connection.transport.abort()
            raise UpstreamError("first_byte_timeout", "no answer to the handshake", sent=True) from None
        except (InvalidHandshake, WebSocketException, OSError, EOFError) as error:
            connection.transport.abort()
            raise UpstreamError("invalid", f"handshake: {type(error).__name__}", sent=True) from error
        except BaseException:
            connection.transport.abort()
            raise
        connection.start_keepalive()
        response = connection.response
        found = None if response is None else response.headers.get("x-request-id")
        return ProviderSocket(connection, found[:128] if found else None)


def _connection(uri: object) -> ClientConnection:
    protocol = ClientProtocol(uri, max_size=MESSAGE_LIMIT, logger=_QUIET)  # type: ignore[arg-type]  # as parse_uri gave it
    return ClientConnection(
        protocol,
        ping_interval=_PING_SECONDS,
        ping_timeout=_PING_SECONDS,
        close_timeout=_CLOSE_SECONDS,
        max_queue=_QUEUE,
    )
