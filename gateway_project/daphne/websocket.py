"""A WebSocket's connection: Daphne's, kept from failing loudly over what any client can send."""

from __future__ import annotations

from typing import Any

import structlog
from daphne.ws_protocol import WebSocketFactory, WebSocketProtocol
from twisted.python.failure import Failure
from typing_extensions import override


class WebSocket(WebSocketProtocol):
    """autobahn and Daphne raise when a client breaks the protocol twice, or leaves before its handshake is
    done; each would be an error in the log that anybody can write."""

    @override
    def dataReceived(self, data: bytes) -> None:
        try:
            super().dataReceived(data)
        except Exception as error:  # noqa: BLE001 - the door: its connection ends, whatever it was
            structlog.get_logger("gateway").debug("websocket_broken", error=type(error).__name__)
            self.transport.abortConnection()

    # Its handshake was answered well.
    accepted = False

    @override
    def onOpen(self) -> None:
        self.accepted = True
        super().onOpen()

    @override
    def onMessageFrame(self, payload: Any) -> None:
        # autobahn lists all frames of a message: of tiny and empty ones a list has no bound.
        if not self.message_data:
            super().onMessageFrame(payload)
        elif not self.failedByMe:
            if not isinstance(self.message_data[0], bytearray):
                self.message_data = [bytearray(b"".join(self.message_data))]
            for piece in payload:
                self.message_data[0] += piece

    @override
    def onClose(self, wasClean: bool, code: Any, reason: Any) -> None:
        # Before the handshake Daphne's own does not know its server yet.
        if hasattr(self, "server"):
            super().onClose(wasClean, code, reason)

    @override
    def connectionLost(self, reason: Failure | None = None) -> None:
        try:
            super().connectionLost(reason)
        except Exception as error:  # noqa: BLE001 - as above
            structlog.get_logger("gateway").debug("websocket_broken", error=type(error).__name__)


class Factory(WebSocketFactory):
    """Makes such a connection of a request that asks for one."""

    protocol = WebSocket
