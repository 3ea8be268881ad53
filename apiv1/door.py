"""The lean way in: an ASGI application for the API's addresses, without what an API call does not need.

It resolves the same views as Django does and calls their `respond`. Beside that it does what an ASGI
application must do itself: read the body under a cap and a deadline, notice that the client has left, and
write the reply.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Container, Mapping, MutableMapping
from typing import Any

from apiv1.base import GatewayView, Services
from apiv1.caps import LARGER, MAX_BODY
from apiv1.errors import GIVEN_UP, error_reply
from apiv1.inbound import Inbound, Presence, read_headers
from apiv1.reader import DEPARTURE, EXTENSION, Reader
from apiv1.stream import Pieces
from dialects.errors import SIZE, SLOW_REQUEST, GatewayError
from pipeline.call import Reply

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

# The largest usual body over a line of 3 Mbit/s; whoever is slower holds memory too long. Where an address
# takes more there is more time.
BODY_SECONDS = 60.0
# A body that is passed on as it comes holds little; its sender may rest for so long.
PIECE_SECONDS = 60.0
# How long a refused body is still read, and thrown away, after the reply: closing at once would reset the
# connection, and a client that is still sending would never see why.
LINGER_SECONDS = 2.0
_CLOSE = (b"connection", b"close")


class Door:
    """The ASGI application. `exact` and `prefixes` (address to view class; the first prefix that fits wins)
    say what is where; `max_body` is in bytes, `body_seconds` is for the whole body."""

    def __init__(
        self,
        services: Services,
        exact: Mapping[str, type[GatewayView]],
        prefixes: Mapping[str, type[GatewayView]],
        *,
        max_body: int = MAX_BODY,
        body_seconds: float = BODY_SECONDS,
    ) -> None:
        self._services = services
        # A view keeps nothing of a request, so one of each serves all.
        self._exact = {address: view() for address, view in exact.items()}
        self._prefixes = {address: view() for address, view in prefixes.items()}
        self._max_body = max_body
        self._body_seconds = body_seconds
        self._open: set[_Passage] = set()

    @property
    def in_flight(self) -> int:
        """Requests that have come in and not yet been answered to the end."""
        return len(self._open)

    def takes(self, path: str) -> bool:
        """True for an address of the API."""
        return path in self._exact or path.startswith("/v1/")

    def cut(self) -> None:
        """End everything that is open: a 503 where no reply has begun, an error in-band where one has."""
        for passage in list(self._open):
            passage.give_up("draining")

    def cut_revoked(self, known: Container[int]) -> None:
        """End what is open for keys that are none of these any more, as `cut` does."""
        for passage in list(self._open):
            if passage.presence.key_id and passage.presence.key_id not in known:
                passage.give_up("revoked")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request. Raises CancelledError only when the server itself cancels it."""
        origins = self._services.origins
        if origins is not None:
            if await origins.preflight(scope, send, self._find(scope["path"])[0].offered()):
                return
            send = origins.marked(scope["headers"], send)
        cap = LARGER.get(scope["path"], self._max_body)
        passage = _Passage(receive, cap, self._body_seconds * max(1.0, cap / MAX_BODY))
        self._open.add(passage)
        try:
            await self._serve(scope, passage, send)
        except asyncio.CancelledError:
            if not passage.presence.lost:
                raise
            passage.stay()
        finally:
            passage.end()
            self._open.discard(passage)

    async def _serve(self, scope: Scope, passage: _Passage, send: Send) -> None:
        view, captured = self._find(scope["path"])
        headers, duplicates = read_headers(scope["headers"])
        passage.announced = headers.get("content-length", "")
        extensions = scope.get("extensions", _NONE)
        passage.reader = extensions.get(EXTENSION)
        passage.departure = extensions.get(DEPARTURE)
        inbound = Inbound(
            method=scope["method"],
            path=scope["path"],
            query=scope["query_string"],
            headers=headers,
            body=passage.body,
            pieces=passage.pieces,
            duplicates=duplicates,
            presence=passage.presence,
            version=scope.get("http_version", "1.1"),
        )
        try:
            reply = await view.respond(inbound, self._services, captured)
        except asyncio.CancelledError:
            ours = GIVEN_UP.get(passage.presence.lost)
            if ours is None:
                raise
            passage.stay()
            reply = error_reply(view.family_for(inbound), ours(), inbound.request_id)
        head = [(name.encode("ascii"), value.encode("latin-1")) for name, value in reply.headers]
        if passage.unread(inbound.method):
            # What is left of the body would be taken for the next request, or waited for in vain.
            head.append(_CLOSE)
            # A client that waits to be told to go on is told not to: it sends nothing more.
            await _write_whole(reply, head, send, None if "expect" in headers else passage.linger)
        elif isinstance(reply.body, bytes):
            await _write_whole(reply, head, send)
        else:
            await self._write_stream(reply, head, passage, send)

    def _find(self, path: str) -> tuple[GatewayView, str]:
        view = self._exact.get(path)
        if view is not None:
            return view, ""
        for prefix, view in self._prefixes.items():
            if path.startswith(prefix):
                return view, path[len(prefix) :]
        raise LookupError("a path that the door does not take")

    async def _write_stream(
        self, reply: Reply, head: list[tuple[bytes, bytes]], passage: _Passage, send: Send
    ) -> None:
        if passage.reader is not None and reply.call is not None:
            passage.reader.patience = reply.call.timeouts.client_stall
        stream = Pieces(reply, self._services.fault, passage.presence, self._services.lingering)
        try:
            await send({"type": "http.response.start", "status": reply.status, "headers": head})
            async for piece in stream:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            if stream.broken:
                # A reply without an end: the server breaks the connection, which is all that can be told.
                return
            # Whoever has the whole answer is in the books, whatever ends this process in the next moment.
            stream.settle()
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            # The client has all of it, and may go without disturbing what is still to be done.
            passage.end()
        except asyncio.CancelledError:
            ours = GIVEN_UP.get(passage.presence.lost)
            if ours is None or reply.call is None:
                raise
            passage.stay()
            await stream.aclose()
            if reply.opaque:
                return
            last = reply.call.dialect.error_event(ours(), reply.call.id)
            await send({"type": "http.response.body", "body": last, "more_body": False})
        finally:
            await stream.aclose()


_NONE: Mapping[str, Any] = {}


class _Passage:
    """One request's way through the door: its body, and whether anybody still waits for the answer."""

    __slots__ = (
        "_late",
        "_max_body",
        "_over",
        "_read",
        "_receive",
        "_seconds",
        "_task",
        "_watch",
        "announced",
        "departure",
        "presence",
        "reader",
    )

    def __init__(self, receive: Receive, max_body: int, seconds: float) -> None:
        self._receive = receive
        self._max_body = max_body
        self._seconds = seconds
        self._task = asyncio.current_task()
        self._watch: asyncio.Task[None] | None = None
        self._read = False
        self._over = False
        self._late = False
        self.presence = Presence()
        # The length that the client gives, as it gives it.
        self.announced = ""
        self.reader: Reader | None = None
        # How to hear that the client has left, where the server tells.
        self.departure: Callable[[Callable[[], None]], None] | None = None

    async def body(self) -> bytes:
        """The whole body; from then on a client that leaves ends the request."""
        self._check_announced()
        # `asyncio.timeout` by hand: it costs three times as much, and most bodies are here already.
        timer = asyncio.get_running_loop().call_later(self._seconds, self._too_late)
        try:
            body = await self._whole()
        except asyncio.CancelledError:
            if not self._late:
                raise
            self.stay()
            if self.presence.lost:
                raise
            raise GatewayError(
                SLOW_REQUEST, f"The request body did not arrive within {self._seconds:g} seconds."
            ) from None
        finally:
            timer.cancel()
        self._watch_client()
        return body

    def _watch_client(self) -> None:
        """From now on a client that leaves ends the request."""
        if self.departure is not None:
            self.departure(self._departed)
        else:
            self._watch = asyncio.create_task(self._notice())

    def _too_late(self) -> None:
        if self._task is not None:
            self._late = True
            self._task.cancel()

    def _departed(self) -> None:
        self.give_up("client_stall" if self.reader is not None and self.reader.stalled else "client_gone")

    async def pieces(self) -> AsyncGenerator[bytes]:
        """The body as it comes; when it is complete, a client that leaves ends the request."""
        self._check_announced()
        size = 0
        more = True
        while more:
            try:
                async with asyncio.timeout(PIECE_SECONDS):
                    part, more = await self._part()
            except TimeoutError:
                raise GatewayError(
                    SLOW_REQUEST, f"Nothing of the request body arrived within {PIECE_SECONDS:g} seconds."
                ) from None
            size += len(part)
            if size > self._max_body:
                raise _too_large(self._max_body)
            if not more:
                self._watch_client()
            if part:
                yield part

    def _check_announced(self) -> None:
        if self.announced.isdecimal() and (len(self.announced) > 12 or int(self.announced) > self._max_body):
            raise _too_large(self._max_body)

    async def _part(self) -> tuple[bytes, bool]:
        """The next part of the body, and whether there is more."""
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self.presence.lost = "client_gone"
            raise asyncio.CancelledError
        more: bool = message.get("more_body", False)
        self._read = not more
        return message.get("body", b""), more

    async def _whole(self) -> bytes:
        parts: list[bytes] = []
        size = 0
        while True:
            part, more = await self._part()
            size += len(part)
            if size > self._max_body:
                raise _too_large(self._max_body)
            if not more and not parts:
                return part
            parts.append(part)
            if not more:
                return b"".join(parts)

    async def _notice(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._departed()

    def unread(self, method: str) -> bool:
        """True when a body may be on its way that nobody reads."""
        return not self._read and method not in ("GET", "HEAD")

    async def linger(self) -> None:
        """Take what the client still sends of a body that nobody wants, for a moment."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS):
                while (await self._receive()).get("more_body", False):
                    pass

    def give_up(self, why: Any) -> None:
        """End the request wherever it waits."""
        if not self._over and self._task is not None:
            self.presence.lost = why
            self._task.cancel()

    def stay(self) -> None:
        """The cancellation was ours and is dealt with: the server's task goes on."""
        if self._task is not None:
            self._task.uncancel()

    def end(self) -> None:
        self._over = True
        # Nothing refers back any more: a circle of tasks and frames would wait for the collector.
        self._task = None
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.cancel()


async def _write_whole(
    reply: Reply,
    head: list[tuple[bytes, bytes]],
    send: Send,
    linger: Callable[[], Awaitable[None]] | None = None,
) -> None:
    body = reply.body
    if not isinstance(body, bytes):
        raise TypeError("a whole body is bytes")
    head.append((b"content-length", b"%d" % len(body)))
    if reply.call is not None:
        # Whoever has the answer is in the books, whatever ends this process in the next moment.
        reply.call.close()
    await send({"type": "http.response.start", "status": reply.status, "headers": head})
    if linger is not None:
        await send({"type": "http.response.body", "body": body, "more_body": True})
        await linger()
        body = b""
    await send({"type": "http.response.body", "body": body})


def _too_large(limit: int) -> GatewayError:
    return GatewayError(SIZE, f"The request body is larger than {limit} bytes.")
