"""uvicorn as a server of the gateway: the limits and the drain that it does not have by itself."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Generator
from typing import Any

import uvicorn
import uvloop
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway_project.asgi import Application
from gateway_project.drain import DRAIN_SECONDS, LAST_SECONDS, NOTICE_SECONDS

# What Envoy and nginx allow, nearly; the SDKs send a fifth of it.
_MAX_HEAD = 16 * 1024
# A head is one packet: whoever needs longer is broken or means harm.
_HEAD_SECONDS = 15.0
# Longer than load balancers and SDKs keep a connection, so that they close it first.
_KEEP_ALIVE = 75


class Protocol(HttpToolsProtocol):
    """A connection whose heads are bounded in size and in time."""

    _head = 0
    # What comes next belongs to a head; a body may come in packets of its own and takes the time it needs.
    _awaits_head = True
    _timer: asyncio.TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        if self._timer is None and self._awaits_head:
            self._timer = self.loop.call_later(_HEAD_SECONDS, self._too_slow)
        super().data_received(data)

    def on_message_begin(self) -> None:
        self._head = 1
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        if self._grow(len(url)):
            super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._grow(len(name) + len(value) + 4):
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._done()
        self._awaits_head = False
        if not self.transport.is_closing():
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._awaits_head = True
        super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._done()
        super().connection_lost(exc)

    def _grow(self, size: int) -> bool:
        self._head += size
        if self._head <= _MAX_HEAD:
            return True
        if not self.transport.is_closing():
            self.transport.write(
                b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
                b"content-length: 0\r\nconnection: close\r\n\r\n"
            )
            self.transport.close()
        return False

    def _too_slow(self) -> None:
        self._timer = None
        if not self.transport.is_closing():
            self.transport.write(
                b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            )
            self.transport.close()

    def _done(self) -> None:
        self._head = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Server(uvicorn.Server):
    """Drains on the first signal and ends at once on the second."""

    def __init__(self, config: uvicorn.Config, application: Application) -> None:
        super().__init__(config)
        self._gateway = application.gateway

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._asked_to_end)
        yield

    def _asked_to_end(self) -> None:
        if self._gateway.draining:
            self.should_exit = self.force_exit = True
            return
        self._gateway.draining = True
        # Load balancers that ask /ready hear it before the listener closes.
        asyncio.get_running_loop().call_later(NOTICE_SECONDS, self._close)

    def _close(self) -> None:
        self.should_exit = True
        asyncio.get_running_loop().call_later(DRAIN_SECONDS, self._gateway.cut)


def serve_uvicorn(application: Application, sockets: list[socket.socket]) -> None:
    """Serve until told to end and drained. `sockets` are bound."""
    settings: dict[str, Any] = {
        "http": Protocol,
        "ws": "none",
        "lifespan": "on",
        "log_config": None,
        "access_log": False,
        "server_header": False,
        # A client's word for its own address, scheme or path is not taken.
        "proxy_headers": False,
        "timeout_keep_alive": _KEEP_ALIVE,
        "timeout_graceful_shutdown": int(DRAIN_SECONDS + LAST_SECONDS),
        "backlog": 1024,
    }
    server = Server(uvicorn.Config(application, **settings), application)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(server.serve(sockets=sockets))
