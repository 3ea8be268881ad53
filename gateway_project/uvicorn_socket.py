"""A WebSocket's connection on uvicorn: the library's, made to wait for no client for ever, and without its
lines in the log, which quote addresses with their queries, and a query may hold a key."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import structlog
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame

from gateway_project.limits import STALL_SECONDS

_SILENT = logging.getLogger("gateway.websockets")
_SILENT.setLevel(logging.CRITICAL + 1)


class _Faults(logging.LoggerAdapter[logging.Logger]):
    """What the library logs through: of all that it says only that an application failed."""

    level = logging.CRITICAL + 1

    def exception(self, *_words: object, **_more: Any) -> None:
        """Where it was is not told either: a trace may quote what was said."""
        structlog.get_logger("gateway").error("websocket_failed")


class Socket(WebSocketsSansIOProtocol):
    """As uvicorn makes them."""

    _stall: asyncio.TimerHandle | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.logger = _Faults(_SILENT, {})  # type: ignore[assignment]  # as good as a logger
        self.conn.logger = _SILENT
        # A message in pieces, as far as it is here.
        self._grown = bytearray()

    def handle_cont(self, event: Frame) -> None:
        """Pieces grow into one: the library lists them, and a list of tiny or empty ones has no bound."""
        if self.frames:
            self._grown = bytearray(self.frames.pop())
        self._grown += event.data
        if event.fin:
            self.frames, self._grown = [bytes(self._grown)], bytearray()
            self.send_receive_event_to_app()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_reader(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        self._leave_reader()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave_reader()
        super().connection_lost(exc)

    def keepalive_timeout(self) -> None:
        # The library's own closes in order: that waits for a reader that has just been found missing.
        self.transport.abort()

    async def send(self, message: Any) -> None:
        """Who broke the protocol, and was closed for it, has gone."""
        await self.writable.wait()
        if self.close_sent and self.handshake_complete:
            raise ClientDisconnected
        await super().send(message)

    async def run_asgi(self) -> None:
        await super().run_asgi()
        if not self.disconnected:
            # It is closed when its client has taken what it was sent: not for ever.
            self._leave_reader()
            self._stall = self.loop.call_later(STALL_SECONDS, self.transport.abort)

    def _watch_reader(self, waiting: int) -> None:
        self._stall = self.loop.call_later(STALL_SECONDS, self._look_at_reader, waiting)

    def _look_at_reader(self, before: int) -> None:
        waiting = self.transport.get_write_buffer_size()
        if waiting < before:
            self._watch_reader(waiting)
        else:
            self.transport.abort()

    def _leave_reader(self) -> None:
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None
