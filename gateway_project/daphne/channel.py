"""One client's connection: heads and bodies in, replies out, one request at a time, no wait without end."""

from __future__ import annotations

import asyncio
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Any

from daphne.http_protocol import WebRequest
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from typing_extensions import override

from apiv1.realtime import ADDRESS
from dialects.errors import GatewayError, bad_request
from gateway_project.daphne.body import Body
from gateway_project.daphne.head import Head, family_of, find_end, parse_head
from gateway_project.daphne.request import Request
from gateway_project.daphne.response import Response
from gateway_project.daphne.transport import Transport
from gateway_project.refusals import head_too_large, refusal, too_slow

if TYPE_CHECKING:
    from gateway_project.daphne.server import GatewayServer

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_API = "/v1/"
# What a client may send ahead of an answer before it is no longer read: the whole of a few small requests.
_PIPELINE = 64 * 1024
# After a refusal the rest of what the client sends is read and thrown away for so long: a connection closed
# over unread bytes is reset, and the reset would overtake the answer.
_LINGER_SECONDS = 3.0


class Channel(Protocol):
    """In the place of Twisted's HTTPChannel, which reads a head line by line, tells the request only when its
    body is complete, and starts its clock anew with every byte.

    `deadline` (monotonic) is when the server loses its patience with what the client is doing now; `full` is
    set while the client does not take what it is sent.
    """

    transport: Transport  # type: ignore[assignment]  # the base knows an interface, and None before the start

    def __init__(self, server: GatewayServer) -> None:
        self.server = server
        self.factory: Any = server.http_factory
        self.deadline = inf
        self.full: asyncio.Event | None = None
        self.client_addr: list[Any] | None = None
        self.server_addr: list[Any] | None = None
        self._options = server.options
        self._request: Request | None = None
        self._body: Body | None = None
        self._received = b""
        self._in_head = False
        self._lingering = False
        self._held = False
        self._patience = 0.0
        self._untaken = 0
        self._stalled_since = 0.0

    # Twisted's side

    @override
    def connectionMade(self) -> None:
        self.transport.setTcpNoDelay(True)
        self.transport.registerProducer(self, streaming=True)
        peer, host = self.transport.getPeer(), self.transport.getHost()
        self.client_addr = [peer.host, peer.port]
        self.server_addr = [host.host, host.port]
        self.deadline = monotonic() + self._options.head_seconds

    @override
    def dataReceived(self, data: bytes) -> None:
        if self._lingering:
            return
        try:
            if self._body is not None:
                self._feed(self._body, data)
            elif self._request is not None or self.full is not None:
                self._received += data
                if len(self._received) > _PIPELINE:
                    self._hold()
            else:
                self._received = self._received + data if self._received else data
                self._next()
        except GatewayError as error:
            self.refuse(error)

    @override
    def connectionLost(self, reason: Failure | None = None) -> None:
        self.deadline = inf
        self.server.lost(self)
        request, self._request, self._body = self._request, None, None
        if request is not None:
            request.abandon()
        self._unblock()

    # IPushProducer: the transport asks to pause when more than 64 KiB wait to be taken, and to go on when
    # nothing does.

    def pauseProducing(self) -> None:  # noqa: N802 - Twisted's name
        if self.full is None:
            self.full = asyncio.Event()

    def resumeProducing(self) -> None:  # noqa: N802 - Twisted's name
        self._unblock()
        if self._request is None:
            self._serve_buffered()

    def stopProducing(self) -> None:  # noqa: N802 - Twisted's name
        self._unblock()

    # What Daphne's WebRequest asks of a connection when it hands it to a WebSocket.

    @property
    def _networkProducer(self) -> Transport:  # noqa: N802 - Twisted's name
        return self.transport

    def getPeer(self) -> Any:  # noqa: N802 - Twisted's name
        return self.transport.getPeer()

    def getHost(self) -> Any:  # noqa: N802 - Twisted's name
        return self.transport.getHost()

    def isSecure(self) -> bool:  # noqa: N802 - Twisted's name
        return False

    # The request's side

    async def drained(self) -> None:
        """Wait until the client has taken what it was sent, or is gone."""
        while self.full is not None:
            await self.full.wait()

    def ends_with(self, request: Request) -> bool:
        """True when the connection closes after this reply."""
        return self.server.draining or not (request.head.keep_alive and request.complete)

    def wants_body(self) -> None:
        """The application waits for the body: a client that waits to be asked for it is asked."""
        request = self._request
        if request is not None and request.head.expects_continue and not request.response.begun:
            request.head.expects_continue = False
            self.transport.write(_CONTINUE)

    def took_body(self) -> None:
        """The application has taken what was there of the body."""
        if self._held:
            self._release()
            self.deadline = monotonic() + self._patience

    def finished(self, request: Request) -> None:
        """The reply is complete."""
        self._request = None
        if not request.complete:
            self._linger()
        elif request.response.close or self.server.draining:
            self.close()
        else:
            self.deadline = monotonic() + self._options.idle_seconds
            if self.full is None:
                self._serve_buffered()

    # The server's side

    @property
    def busy(self) -> bool:
        """True while a request is open or a part of a reply has not been taken."""
        return self._request is not None or self.transport.unsent > 0

    @property
    def idle(self) -> bool:
        """True between two requests, and before the first."""
        return not (self.busy or self._in_head or self._lingering)

    def overdue(self) -> None:
        """The deadline has passed."""
        self.deadline = inf
        if self._lingering:
            if self.transport.unsent:
                # It is still taking the reply; `look_for_stall` watches that.
                self.deadline = monotonic() + _LINGER_SECONDS
            else:
                self.abort()
        elif self._body is not None or self._in_head:
            what = "head" if self._in_head else "body"
            self.refuse(too_slow(what))
        elif self._request is None:
            self.close()

    def look_for_stall(self, now: float) -> None:
        """Drop a client that has taken nothing of what waits for it for too long."""
        if self.transport.unsent == 0:
            self._untaken = 0
        elif (untaken := self.transport.untaken) != self._untaken:
            self._untaken, self._stalled_since = untaken, now
        elif now - self._stalled_since > self._patience_with_reader:
            if self._request is not None:
                self._request.reader.stalled = True
            self.abort()

    @property
    def _patience_with_reader(self) -> float:
        request = self._request
        return self._options.stall_seconds if request is None else request.reader.patience

    def refuse(self, error: GatewayError) -> None:
        """Answer for the application, as far as it has not begun to, and end the connection."""
        request, self._request, self._body = self._request, None, None
        if request is not None:
            request.abandon()
            if request.response.begun:
                self.abort()
                return
        first = self._received
        if request is not None:
            first = b"%b %b\r\n" % (request.head.method.encode(), request.head.target)
        answer = refusal(family_of(first), error)
        self.server.application.gateway.refused(answer.told)
        response = Response(head_only=first.startswith(b"HEAD "), close=True)
        response.start(answer.status, answer.headers)
        self.transport.write(response.body(answer.body, self.server.date, more=False, chunks=True))
        self._linger()

    def close(self) -> None:
        """Close when everything that was written has been taken."""
        self.deadline = inf
        self.transport.unregisterProducer()
        self._unblock()
        self.transport.loseConnection()

    def abort(self) -> None:
        """Reset the connection: the client must not take what it has for the whole."""
        self.deadline = inf
        self.transport.abortConnection()

    # Reading

    def _serve_buffered(self) -> None:
        if self._held:
            self._release()
        if self._received:
            try:
                self._next()
            except GatewayError as error:
                self.refuse(error)

    def _next(self) -> None:
        data = self._received
        if data.startswith(b"\r\n"):
            # RFC 9112 2.2: one empty line before a request is forgiven.
            data = self._received = data[2:]
            if not data:
                return
        end = find_end(data)
        if end < 0 or end > self._options.max_head:
            if len(data) > self._options.max_head:
                raise head_too_large()
            if not self._in_head:
                self._in_head = True
                self.deadline = monotonic() + self._options.head_seconds
            return
        head = parse_head(data[:end], self._options.max_headers)
        self._in_head = False
        rest = data[end + 4 :]
        if head.websocket and head.path.startswith(_API) and head.path != ADDRESS:
            raise bad_request("There are no WebSockets at this address.", code="websocket_not_supported")
        if head.websocket:
            self._hand_to_websocket(head, rest)
        else:
            self._begin(head, rest)

    def _begin(self, head: Head, rest: bytes) -> None:
        request = Request(self, head)
        body = Body(head.length, self._options.body_cap(head.path), request.body_piece)
        self._received = b""
        self._request = request
        self.deadline = inf
        if body.complete:
            self._received = rest
            request.body_end()
        else:
            self._body = body
            if rest:
                self._feed(body, rest)
            if self._body is not None:
                self.deadline = monotonic() + self._options.body_patience(head.path)
        self.server.serve(request)

    def _feed(self, body: Body, data: bytes) -> None:
        body.feed(data)
        if body.complete:
            self._body = None
            self.deadline = inf
            self._received = body.rest
            if self._request is not None:
                self._request.body_end()
        elif self._request is not None and self._request.is_behind:
            # Now it is the application that is slow.
            self._patience = max(0.0, self.deadline - monotonic())
            self.deadline = inf
            self._hold()

    def _hand_to_websocket(self, head: Head, rest: bytes) -> None:
        """Daphne's own way from here, with its own objects: this connection is no longer the channel's."""
        self._received = b""
        self.deadline = inf
        self.server.lost(self)
        self.transport.unregisterProducer()
        request = WebRequest(self)
        request.method, request.uri, request.clientproto = head.method.encode(), head.target, b"HTTP/1.1"
        request.path = head.raw_path
        for name, value in head.headers:
            request.requestHeaders.addRawHeader(name, value)
        request.gotLength(0)
        request.process()
        protocol: Any = self.transport.protocol
        if protocol is self:
            self.abort()
        elif rest:
            protocol.dataReceived(rest)

    def _linger(self) -> None:
        self._received, self._body = b"", None
        self._lingering = True
        self._in_head = False
        self.deadline = monotonic() + _LINGER_SECONDS
        if self._held:
            self._release()
        self.transport.unregisterProducer()
        self._unblock()
        self.transport.loseWriteConnection()

    def _hold(self) -> None:
        if not self._held:
            self._held = True
            self.transport.pauseProducing()

    def _release(self) -> None:
        self._held = False
        self.transport.resumeProducing()

    def _unblock(self) -> None:
        full, self.full = self.full, None
        if full is not None:
            full.set()
