"""Of Daphne, which has no types: what this project uses."""

from collections.abc import Sequence
from typing import Any

class Server:
    application: Any
    connections: dict[Any, dict[str, Any]]
    http_factory: Any
    ws_factory: Any
    ping_timeout: int
    websocket_handshake_timeout: int
    websocket_max_message_size: int
    websocket_max_frame_size: int
    def __init__(self, application: Any, *, endpoints: Sequence[str], signal_handlers: bool) -> None: ...
    def create_application(self, protocol: Any, scope: dict[str, Any]) -> Any: ...
    async def handle_reply(self, protocol: Any, message: Any) -> None: ...
    def application_checker(self) -> None: ...
    def timeout_checker(self) -> None: ...
