"""The connections to all upstreams: opened within limits of time and address, kept a while when idle.

There is no cap on their number: how many calls a provider may serve at once is decided before a call gets
here, and a second queue would only be a place to jam.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from providers.connection import SCRATCH_SIZE, Connection
from providers.egress import Resolver, check_address
from providers.wire import UpstreamError

# Providers and their load balancers keep an idle connection for 60 seconds or more; closing first avoids
# sending a request into one that is just being closed.
IDLE_SECONDS = 55.0
# How often idle connections are looked through.
_SWEEP_SECONDS = 5.0

Attached = TypeVar("Attached", bound=asyncio.BaseProtocol)


class Key(NamedTuple):
    """Connections are shared between requests that agree in all of this. `allow_private` is part of it, so
    that a request which may not reach private addresses never gets a connection to one."""

    tls: bool
    host: str
    port: int
    allow_private: bool


class Pool:
    """Opens connections and keeps the idle ones. Belongs to the event loop of its first use."""

    def __init__(self, tls: ssl.SSLContext, resolver: Resolver) -> None:
        # Every read of every connection goes through this one buffer, and leaves it before the next.
        self.scratch = memoryview(bytearray(SCRATCH_SIZE))
        self._tls = tls
        self._resolver = resolver
        self._idle: dict[Key, dict[Connection, None]] = {}
        self._open: set[Connection] = set()
        self._sweeper: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def size(self) -> int:
        """Open connections, idle ones included."""
        return len(self._open)

    @property
    def idle(self) -> int:
        """Connections that wait for a request."""
        return sum(map(len, self._idle.values()))

    def take(self, key: Key) -> Connection | None:
        """An idle connection, the latest used first, so that the others age and go."""
        idle = self._idle.get(key)
        while idle:
            connection = idle.popitem()[0]
            if connection.usable:
                return connection
        return None

    async def connect(self, key: Key, seconds: float) -> Connection:
        """A new connection, TLS included, within `seconds`. Raises UpstreamError."""
        try:
            async with asyncio.timeout(seconds):
                return await self._connect(key, seconds)
        except TimeoutError:
            raise UpstreamError("connect_timeout", f"{key.host} did not accept in time", sent=False) from None

    def release(self, connection: Connection) -> None:
        key = connection.key
        if self._closed or not isinstance(key, Key):
            connection.abandon()
            return
        loop = asyncio.get_running_loop()
        connection.idle_since = loop.time()
        self._idle.setdefault(key, {})[connection] = None
        if self._sweeper is None:
            self._sweeper = loop.call_later(_SWEEP_SECONDS, self._sweep)

    def forget(self, connection: Connection) -> None:
        self._open.discard(connection)
        if isinstance(connection.key, Key):
            self._idle.get(connection.key, {}).pop(connection, None)

    async def aclose(self) -> None:
        """Close every connection at once, busy ones too."""
        self._closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        for connection in list(self._open):
            connection.abandon()
        self._resolver.close()
        await asyncio.sleep(0)  # the sockets are closed in the loop's next round

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        oldest = loop.time() - IDLE_SECONDS
        for key, idle in list(self._idle.items()):
            for connection in list(idle):
                if connection.idle_since > oldest:
                    break  # they are in the order of their last use
                del idle[connection]
                connection.abandon()
            if not idle:
                del self._idle[key]
        self._sweeper = loop.call_later(_SWEEP_SECONDS, self._sweep) if self._idle else None

    async def attach(self, key: Key, seconds: float, make: Callable[[], Attached]) -> Attached:
        """A new connection that another protocol speaks on, and the pool does not know. Raises
        UpstreamError."""
        try:
            async with asyncio.timeout(seconds):
                return await self._attach(key, seconds, make)
        except TimeoutError:
            raise UpstreamError("connect_timeout", f"{key.host} did not accept in time", sent=False) from None

    async def _attach(self, key: Key, seconds: float, make: Callable[[], Attached]) -> Attached:
        loop = asyncio.get_running_loop()
        sock = await self._dial(key, seconds)
        try:
            _, attached = await loop.create_connection(
                make,
                sock=sock,
                ssl=self._tls if key.tls else None,
                server_hostname=key.host if key.tls else None,
            )
        except (ssl.SSLError, OSError) as error:
            sock.close()
            if isinstance(error, TimeoutError):
                raise
            raise UpstreamError("tls", f"{key.host}: {_tls_words(error)}", sent=False) from error
        except BaseException:
            sock.close()
            raise
        return attached

    async def _connect(self, key: Key, seconds: float) -> Connection:
        connection = await self._attach(key, seconds, lambda: Connection(self, key))
        self._open.add(connection)
        if self._closed:
            connection.abandon()  # the pool was closed meanwhile, and does not look again
            raise UpstreamError("refused", "the transport is closed", sent=False)
        return connection

    async def _dial(self, key: Key, seconds: float) -> socket.socket:
        """A socket to the first address that accepts; each is judged right before it is tried, and gets its
        share of the time that is left, so that one that never answers does not keep the next from being
        tried."""
        end = asyncio.get_running_loop().time() + seconds
        addresses = await self._resolver.addresses(key.host)
        failure: OSError | None = None
        for tried, address in enumerate(addresses):
            check_address(address, allow_private=key.allow_private)
            left = end - asyncio.get_running_loop().time()
            try:
                async with asyncio.timeout(left / (len(addresses) - tried)):
                    return await _open_socket(address, key.port)
            except OSError as error:
                failure = error
        self._resolver.forget(key.host)
        if isinstance(failure, TimeoutError):
            raise failure
        raise UpstreamError("refused", f"{key.host}:{key.port}: {failure}", sent=False) from failure


async def _open_socket(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.settimeout(0)  # non-blocking, as the loop wants it
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # A model may think for minutes without a byte; this keeps routers from forgetting the connection.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        with contextlib.suppress(AttributeError):  # not every system names it
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 45)
        await asyncio.get_running_loop().sock_connect(sock, (address, port))
    except BaseException:
        sock.close()
        raise
    return sock


def _tls_words(error: Exception) -> str:
    """What is wrong with the certificate or handshake, in a few words and without the certificate."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate refused: {error.verify_message}"
    if isinstance(error, ssl.SSLError) and error.reason:
        return f"handshake failed: {error.reason}"
    return f"handshake failed: {type(error).__name__}"
