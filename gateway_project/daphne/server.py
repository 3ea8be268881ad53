"""Daphne's server: who is connected, which applications run, and the patrol that ends what takes too long."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import traceback
from collections.abc import Awaitable, Callable, MutableMapping
from functools import partial
from math import inf
from time import monotonic
from typing import Any, Protocol

import structlog
from autobahn.exception import Disconnected
from daphne.http_protocol import HTTPFactory
from daphne.server import Server
from twisted.internet.interfaces import IAddress
from twisted.internet.tcp import Port
from twisted.logger import LogEvent
from typing_extensions import override

from apiv1.errors import draining
from apiv1.realtime import ADDRESS
from dialects.errors import INTERNAL, GatewayError
from gateway_project import limits
from gateway_project.daphne.channel import Channel
from gateway_project.daphne.inbox import Inbox
from gateway_project.daphne.options import DaphneOptions
from gateway_project.daphne.reactor import Reactor
from gateway_project.daphne.request import Request
from gateway_project.daphne.response import date_line
from gateway_project.daphne.websocket import Factory as WebSocketFactory
from pipeline.call import Refusal

Message = MutableMapping[str, Any]

# The clock of every deadline. Finer would cost more than it gives: most deadlines are ten times as long.
_PATROL_SECONDS = 1.0
# A WebSocket's application waits while its client has not taken this many bytes, and looks again so often.
_WEBSOCKET_UNSENT = 64 * 1024
_WEBSOCKET_PAUSE = 0.05
_CONVERSATION = ADDRESS.encode()
# Of a frame that closes, less the code.
_MOST_REASON = 123
_WEBSOCKET_CHECK_SECONDS = 2.0
# One bad client must not fill the log.
_HEAR_SECONDS = 1.0
# Where the system sets no limit to open files, its usual hard limit.
_MANY_FILES = 1024 * 1024
# What of a traceback goes into the log: where it was, never the words, which may quote a prompt.
_FRAMES = 8


class Gateway(Protocol):
    """What the server asks of the application besides ASGI. `draining` is the server's to set."""

    draining: bool

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    def cut(self) -> None: ...

    def refused(self, refusal: Refusal) -> None:
        """The server itself has answered a request."""
        ...


class Application(Protocol):
    """An ASGI 3 application with its gateway."""

    @property
    def gateway(self) -> Gateway: ...

    def __call__(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
        /,
    ) -> Awaitable[None]: ...


class Factory(HTTPFactory):
    """Makes a `Channel` of each connection, without Twisted's access log."""

    @override
    def buildProtocol(self, addr: IAddress | None) -> Channel:  # type: ignore[override]  # Twisted's type names its own HTTPChannel
        server: GatewayServer = self.server
        return server.connected()

    @override
    def startFactory(self) -> None:
        """Nothing to open."""

    @override
    def stopFactory(self) -> None:
        """Nothing to close."""


def _half_of_the_files() -> int:
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return (_MANY_FILES if allowed == resource.RLIM_INFINITY else allowed) // 2


class GatewayServer(Server):
    """Runs one application for every connection of every port. Plain requests are its own; WebSockets go
    Daphne's way."""

    def __init__(self, application: Application, options: DaphneOptions, reactor: Reactor) -> None:
        super().__init__(application, endpoints=["sockets of the caller"], signal_handlers=False)
        self.options = options
        self.draining = False
        self.date = date_line()
        self.ports: list[Port] = []
        self.channels: set[Channel] = set()
        self.connections: dict[Any, dict[str, Any]] = {}
        self._loop = reactor.loop
        self._reactor = reactor
        self._log = structlog.get_logger("gateway")
        self._tasks: dict[asyncio.Task[None], Request] = {}
        self._full = False
        self._heard = -inf
        self._most = options.max_connections or _half_of_the_files()
        self.http_factory = Factory(self)
        self.ws_factory = WebSocketFactory(self, server="")
        self.ws_factory.setProtocolOptions(
            autoPingTimeout=self.ping_timeout,
            allowNullOrigin=True,
            openHandshakeTimeout=self.websocket_handshake_timeout,
            maxMessagePayloadSize=limits.WEBSOCKET_MESSAGE,
            maxFramePayloadSize=limits.WEBSOCKET_MESSAGE,
        )

    # Connections

    def connected(self) -> Channel:
        """A new connection's protocol. At the limit no further one is accepted until one has gone."""
        channel = Channel(self)
        self.channels.add(channel)
        if not self._full and not self._has_room():
            self._full = True
            for port in self.ports:
                port.stopReading()
        return channel

    def lost(self, channel: Channel) -> None:
        """The connection is gone, or a WebSocket's now."""
        self.channels.discard(channel)
        if self._full:
            self._accept_again()

    def _has_room(self) -> bool:
        return len(self.channels) + len(self.connections) < self._most

    def _accept_again(self) -> None:
        if self._has_room() and not self.draining:
            self._full = False
            for port in self.ports:
                port.startReading()

    @property
    def busy(self) -> bool:
        """True while a request is open, a reply has not been taken, or an application is still closing."""
        return (
            bool(self._tasks)
            or any(channel.busy for channel in self.channels)
            or any(map(self._is_conversation, self.connections))
        )

    # Applications

    def serve(self, request: Request) -> None:
        """Run the application for this request."""
        task = self._loop.create_task(self._run(request))
        self._tasks[task] = request
        task.add_done_callback(self._ended)

    def cancel_all(self) -> None:
        """The last means against applications that do not end."""
        sockets = [details.get("application_instance") for details in self.connections.values()]
        for task in [*self._tasks, *sockets]:
            if task is not None:
                task.cancel()

    async def _run(self, request: Request) -> None:
        await self.application(request.scope(), request.receive, request.send)

    def _ended(self, task: asyncio.Task[None]) -> None:
        request = self._tasks.pop(task)
        if not task.cancelled():
            error = task.exception()
            if error is not None:
                self.log_fault("application_failed", error)
        if not request.over:
            # It failed, or it went away without an end to its reply. Where a part of the reply is out, the
            # client must see that it is broken.
            failed = GatewayError(INTERNAL, "The gateway failed to answer this request.")
            request.channel.refuse(draining() if self.draining and task.cancelled() else failed)

    def log_fault(self, event: str, error: BaseException) -> None:
        """Log what failed and where, without the error's words."""
        frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
        where = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
        self._log.error(event, error=type(error).__name__, where=where)

    def hear(self, event: LogEvent) -> None:
        """Twisted's own log. What it says beside errors concerns nobody, and an error that any client can
        cause may be told only so often."""
        failure = event.get("log_failure")
        if failure is not None and monotonic() - self._heard > _HEAR_SECONDS:
            self._heard = monotonic()
            self.log_fault("connection_failed", failure.value)

    # WebSockets

    @override
    def create_application(self, protocol: Any, scope: dict[str, Any]) -> asyncio.Queue[Message]:
        queue = Inbox(protocol.transport)
        scope.setdefault("asgi", {"version": "3.0"})
        running = self._run_websocket(protocol, scope, queue)
        self.connections[protocol]["application_instance"] = self._loop.create_task(running)
        return queue

    async def _run_websocket(
        self, protocol: Any, scope: dict[str, Any], queue: asyncio.Queue[Message]
    ) -> None:
        """Total: an application that raised would stop Daphne's checker, which then cleans up no more."""
        try:
            await self.application(scope, queue.get, partial(self.handle_reply, protocol))
            code = 1000
        except Exception as error:  # noqa: BLE001 - the door: what an application raises ends its connection only
            self.log_fault("application_failed", error)
            code = 1011
        self._hang_up(protocol, code)

    @override
    async def handle_reply(self, protocol: Any, message: Message) -> None:
        if message["type"] == "websocket.close" and getattr(protocol, "accepted", False):
            # autobahn's own way lets an application neither say 1008 nor why.
            protocol.sendCloseFrame(
                code=message.get("code", 1000), reasonUtf8=_short(message.get("reason") or "")
            )
            return
        with contextlib.suppress(Disconnected):
            await super().handle_reply(protocol, message)
        transport = protocol.transport
        unsent, since = 0, monotonic()
        while transport is not None and transport.connected and transport.unsent > _WEBSOCKET_UNSENT:
            if transport.unsent != unsent:
                unsent, since = transport.unsent, monotonic()
            elif monotonic() - since > self.options.stall_seconds:
                transport.abortConnection()
            await asyncio.sleep(_WEBSOCKET_PAUSE)

    def hang_up_websockets(self) -> None:
        """Tell every WebSocket of a page that the server goes away; its client comes back to another one.
        Conversations go on to their end."""
        for protocol in list(self.connections):
            if not self._is_conversation(protocol):
                self._hang_up(protocol, 1001)

    def _is_conversation(self, protocol: Any) -> bool:
        over = "disconnected" in self.connections.get(protocol, {})
        return not over and getattr(protocol, "path", b"") == _CONVERSATION

    def _hang_up(self, protocol: Any, code: int) -> None:
        if "disconnected" in self.connections.get(protocol, {"disconnected": 0.0}):
            return
        try:
            if hasattr(protocol, "handshake_deferred"):
                # Not accepted yet: a 403.
                protocol.serverReject()
            else:
                protocol.sendCloseFrame(code=code)
        except Exception as error:  # noqa: BLE001 - Daphne's states do not fit together at every moment
            self.log_fault("websocket_failed", error)
            protocol.transport.abortConnection()

    @override
    def timeout_checker(self) -> None:
        for protocol in list(self.connections):
            try:
                protocol.check_timeouts()
            except Exception as error:  # noqa: BLE001 - a background loop: one bad connection must not end it
                self.log_fault("websocket_failed", error)
                protocol.transport.abortConnection()
        self._reactor.callLater(_WEBSOCKET_CHECK_SECONDS, self.timeout_checker)

    # Time

    def begin(self) -> None:
        """Start the background loops: this server's and Daphne's two for WebSockets."""
        self._patrol()
        self._reactor.callLater(0, self.application_checker)
        self._reactor.callLater(0, self.timeout_checker)

    def _patrol(self) -> None:
        try:
            self._look_around(monotonic())
        except Exception as error:  # noqa: BLE001 - a background loop: it must look again in any case
            self.log_fault("patrol_failed", error)
        self._loop.call_later(_PATROL_SECONDS, self._patrol)

    def _look_around(self, now: float) -> None:
        self.date = date_line()
        for channel in list(self.channels):
            if channel.deadline < now:
                channel.overdue()
            elif self._full and channel.idle:
                channel.close()
            channel.look_for_stall(now)
        if self._full:
            self._accept_again()
        for task, request in list(self._tasks.items()):
            if now - request.abandoned > self.options.abandoned_seconds:
                self._log.warning("application_cancelled", reason="its client left and it did not end")
                task.cancel()


def _short(reason: str) -> bytes:
    """What of it fits into a frame, and is whole characters."""
    return reason.encode()[:_MOST_REASON].decode(errors="ignore").encode()
