"""Of Daphne, which has no types: what this project uses."""

from typing import Any

class WebSocketFactory:
    def __init__(self, server_class: Any, *, server: str) -> None: ...
    def setProtocolOptions(self, **options: Any) -> None: ...  # noqa: N802 - autobahn's name
