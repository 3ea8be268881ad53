"""Of Daphne, which has no types: what this project uses."""

from typing import Any

from twisted.web import http

class WebRequest(http.Request):
    channel: Any
    def __init__(self, channel: Any) -> None: ...
    def handle_reply(self, message: Any) -> None: ...
    def process(self) -> None: ...

class HTTPFactory(http.HTTPFactory):
    server: Any
    def __init__(self, server: Any) -> None: ...
    def buildProtocol(self, addr: Any) -> Any: ...  # noqa: N802 - Twisted's name
