"""One request between its connection and the application: Daphne's `WebRequest`, speaking ASGI itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, MutableMapping
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Any

from daphne.http_protocol import WebRequest
from typing_extensions import override

from apiv1.reader import DEPARTURE, EXTENSION, Reader
from gateway_project.daphne.head import Head
from gateway_project.daphne.response import Response

if TYPE_CHECKING:
    from gateway_project.daphne.channel import Channel

Message = MutableMapping[str, Any]

# What may wait for the application before the client is made to wait: a small body in one piece, and of a
# large one no more than a read ahead.
_READ_AHEAD = 256 * 1024


class Request(WebRequest):
    """Daphne gives the application a queue and takes its messages without ever making it wait. Here `receive`
    and `send` are the request's own: the body comes as it arrives, and `send` waits for a slow reader.

    Nothing of Twisted's request is set up: its header and cookie objects serve no one here.
    """

    def __init__(self, channel: Channel, head: Head) -> None:
        self.channel = channel
        self.head = head
        self.response = Response(head_only=head.method == "HEAD", close=not head.keep_alive)
        self.reader = Reader(channel.server.options.stall_seconds)
        self.over = False
        self.abandoned = inf
        self._pieces: list[bytes] = []
        self._waiting = 0
        self._ended = False
        self._handed_over = False
        self._wake: asyncio.Event | None = None
        self._waits: Callable[[], None] | None = None

    def scope(self) -> dict[str, Any]:
        """ASGI's connection scope. The root path is nobody's to set."""
        head, channel = self.head, self.channel
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": head.version,
            "method": head.method,
            "path": head.path,
            "raw_path": head.raw_path,
            "root_path": "",
            "scheme": "http",
            "query_string": head.query,
            "headers": head.headers,
            "client": channel.client_addr,
            "server": channel.server_addr,
            "extensions": {EXTENSION: self.reader, DEPARTURE: self._on_departure},
        }

    async def receive(self) -> Message:
        """ASGI's receive: the body in pieces as they come, then `http.disconnect` when the client has left or
        the reply is complete."""
        while not self.over:
            if self._pieces or (self._ended and not self._handed_over):
                return self._hand_over()
            self.channel.wants_body()
            if self._wake is None:
                self._wake = asyncio.Event()
            self._wake.clear()
            await self._wake.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """ASGI's send; it returns when the client has taken enough of what was sent before."""
        if self.over:
            # An application that does nothing but send would otherwise never let anyone tell it.
            await asyncio.sleep(0)
            return
        channel = self.channel
        self.handle_reply(message)
        if channel.full is not None:
            await channel.drained()

    @override
    def handle_reply(self, message: Message) -> None:
        kind = message["type"]
        if kind == "http.response.body":
            more = message.get("more_body", False)
            channel = self.channel
            response = self.response
            if not response.begun and channel.ends_with(self):
                response.close = True
            data = response.body(
                message.get("body", b""), channel.server.date, more=more, chunks=self.head.version == "1.1"
            )
            if data:
                channel.transport.write(data)
            if not more:
                self.leave()
                channel.finished(self)
        elif kind == "http.response.start":
            self.response.start(message["status"], message.get("headers", ()))
        else:
            raise ValueError(f"{kind} is not a message of a reply")

    def body_piece(self, data: bytes) -> None:
        """Take a piece of the body."""
        if data:
            self._pieces.append(data)
            self._waiting += len(data)
            self._notify()

    def body_end(self) -> None:
        """The body is complete."""
        self._ended = True
        self._notify()

    @property
    def complete(self) -> bool:
        """True when all of the body has come from the client."""
        return self._ended

    @property
    def is_behind(self) -> bool:
        """True when so much of the body waits for the application that the client should be made to wait."""
        return self._waiting >= _READ_AHEAD

    def leave(self) -> None:
        """From now on the application hears `http.disconnect`, and what it sends goes nowhere."""
        self.over = True
        self._pieces.clear()
        self._notify()

    def abandon(self) -> None:
        """Nobody waits for the answer any more."""
        self.abandoned = monotonic()
        self.leave()
        waits, self._waits = self._waits, None
        if waits is not None:
            waits()

    def _on_departure(self, tell: Callable[[], None]) -> None:
        if self.over:
            asyncio.get_running_loop().call_soon(tell)
        else:
            self._waits = tell

    def _hand_over(self) -> Message:
        body = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        self._waiting = 0
        self._handed_over = self._ended
        if not self._ended:
            self.channel.took_body()
        return {"type": "http.request", "body": body, "more_body": not self._ended}

    def _notify(self) -> None:
        if self._wake is not None:
            self._wake.set()
