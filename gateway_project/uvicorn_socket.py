"""A WebSocket's connection on uvicorn: the library's, without its lines in the log, which quote addresses
with their queries, and a query may hold a key."""

from __future__ import annotations

import logging
from typing import Any

import structlog
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

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

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.logger = _Faults(_SILENT, {})  # type: ignore[assignment]  # as good as a logger
        self.conn.logger = _SILENT
