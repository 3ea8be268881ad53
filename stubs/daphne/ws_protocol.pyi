"""Of Daphne, which has no types: what this project uses."""

from typing import Any

from twisted.python.failure import Failure

class WebSocketProtocol:
    transport: Any
    failedByMe: bool  # noqa: N815 - autobahn's
    message_data: list[Any]
    def dataReceived(self, data: bytes) -> None: ...  # noqa: N802 - Twisted's name
    def connectionLost(self, reason: Failure | None = ...) -> None: ...  # noqa: N802 - Twisted's name
    def onMessageFrame(self, payload: Any) -> None: ...  # noqa: N802 - autobahn's
    def onOpen(self) -> None: ...  # noqa: N802 - autobahn's
    def onClose(self, wasClean: bool, code: Any, reason: Any) -> None: ...  # noqa: N802, N803 - autobahn's

class WebSocketFactory:
    protocol: type[WebSocketProtocol]
    def __init__(self, server_class: Any, *, server: str) -> None: ...
    def setProtocolOptions(self, **options: Any) -> None: ...  # noqa: N802 - autobahn's name
