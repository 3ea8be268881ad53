"""How a reply goes out under uvicorn: by the same checked bytes as under Daphne, head and body in one write.

uvicorn's own `send` searches each name and value of a head with regular expressions and writes head and body
one after the other, which costs as much as all the rest of uvicorn.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from gateway_project.daphne.response import Response, date_line

Message = MutableMapping[str, Any]
App = Callable[..., Awaitable[None]]


class Reply:
    """An application for one request: runs `app` with a `send` of our own. What uvicorn must know of the
    reply is kept where uvicorn keeps it, in its cycle."""

    __slots__ = ("_app", "_chunks", "_cycle", "_response")

    def __init__(self, cycle: RequestResponseCycle, app: App) -> None:
        self._cycle = cycle
        self._app = app
        scope = cycle.scope
        self._chunks = scope["http_version"] == "1.1"
        self._response = Response(head_only=scope["method"] == "HEAD", close=False)

    def __call__(self, scope: Any, receive: Any, _send: Any) -> Awaitable[None]:
        return self._app(scope, receive, self.send)

    async def send(self, message: Message) -> None:
        """ASGI's send; it returns when the client has taken enough of what was sent before."""
        cycle = self._cycle
        if cycle.flow.write_paused and not cycle.disconnected:
            await cycle.flow.drain()
        if cycle.disconnected:
            return
        kind = message["type"]
        if kind == "http.response.body":
            self._body(message.get("body", b""), more=message.get("more_body", False))
        elif kind == "http.response.start":
            self._response.start(message["status"], message.get("headers", ()))
            cycle.response_started = True
            cycle.waiting_for_100_continue = False
        else:
            raise ValueError(f"{kind} is not a message of a reply")

    def _body(self, piece: bytes, *, more: bool) -> None:
        cycle, response = self._cycle, self._response
        if cycle.response_complete:
            raise RuntimeError("the reply is complete already")
        date = b""
        if not response.begun:
            response.close = response.close or not cycle.keep_alive
            date = _date(cycle.default_headers)
        data = response.body(piece, date, more=more, chunks=self._chunks)
        if data:
            cycle.transport.write(data)
        if more:
            return
        cycle.response_complete = True
        cycle.message_event.set()
        if response.close or not cycle.keep_alive:
            cycle.transport.close()
        cycle.on_response()


def _date(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The Date header that uvicorn makes once a second."""
    for name, value in headers:
        if name == b"date":
            return b"date: %b\r\n" % value
    return date_line()
