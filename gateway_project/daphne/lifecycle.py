"""The server's life: the application starts, the doors open, and after a signal everything ends in order."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Sequence
from socket import socket
from time import monotonic

import structlog

from gateway_project.daphne.reactor import Reactor
from gateway_project.daphne.server import GatewayServer
from gateway_project.daphne.transport import Transport
from gateway_project.limits import ARRIVALS_SECONDS, ECHO_SECONDS, HURRIED_SECONDS
from gateway_project.server import LEAVES, SERVES

# How finely an end is waited for.
_LOOK_SECONDS = 0.05
# Connections that are told to accept at once before the door is shut: more than any kernel's queue.
_LAST_ACCEPTS = 65536


class Lifecycle:
    """Runs one server from start to end, in the main thread, which is where signals arrive."""

    def __init__(
        self,
        server: GatewayServer,
        sockets: Sequence[socket],
        reactor: Reactor,
        tell: Callable[[bytes], None],
    ) -> None:
        self._server = server
        self._gateway = server.application.gateway
        self._sockets = sockets
        self._tell = tell
        self._reactor = reactor
        self._loop = reactor.loop
        self._first_signal: float | None = None
        self._notice = 0.0
        self._at_once = False
        self._wakened = asyncio.Event()
        self._main: asyncio.Task[None] | None = None
        self._failure: BaseException | None = None
        self._log = structlog.get_logger("gateway")

    def run(self) -> None:
        """Block until everything has ended. SystemExit with the reason when the start fails."""
        asyncio.set_event_loop(self._loop)
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._signalled, number)
        self._reactor.callWhenRunning(self._begin)
        self._reactor.run(installSignalHandlers=False)
        if self._failure is not None:
            reason = f"{type(self._failure).__name__}: {self._failure}"
            raise SystemExit(f"The gateway did not start. {reason}") from self._failure

    def _begin(self) -> None:
        self._main = self._loop.create_task(self._live())
        self._main.add_done_callback(lambda _: self._reactor.stop())

    def _signalled(self, number: int) -> None:
        if self._first_signal is None:
            self._first_signal = monotonic()
            self._log.info("stopping", signal=signal.Signals(number).name)
            # Nobody's load balancer has to notice a person's Ctrl-C.
            self._notice = 0.0 if number == signal.SIGINT else self._server.options.notice_seconds
            self._server.draining = self._gateway.draining = True
            self._tell(LEAVES)
            self._wakened.set()
        elif monotonic() - self._first_signal > ECHO_SECONDS:
            self._at_once = True

    async def _live(self) -> None:
        try:
            if await self._start():
                self._listen()
                self._tell(SERVES)
                await self._wakened.wait()
                await self._drain()
        finally:
            await self._stop()

    async def _start(self) -> bool:
        """False when it failed, or was told to end before it was done."""
        starting = asyncio.ensure_future(self._gateway.start())
        waking = asyncio.ensure_future(self._wakened.wait())
        await asyncio.wait((starting, waking), return_when=asyncio.FIRST_COMPLETED)
        waking.cancel()
        if not starting.done():
            starting.cancel()
            await asyncio.wait((starting,))
            return False
        self._failure = starting.exception()
        if self._failure is not None:
            self._server.log_fault("start_failed", self._failure)
        return self._failure is None and not self._wakened.is_set()

    def _listen(self) -> None:
        self._server.begin()
        for listener in self._sockets:
            listener.settimeout(0)
            listener.listen(self._server.options.backlog)
            port = self._reactor.adoptStreamPort(
                listener.fileno(), listener.family, self._server.http_factory
            )
            port.transport = Transport
            self._server.ports.append(port)
            # Twisted has a copy; with this one open the kernel would go on taking connections after the end.
            listener.close()

    async def _drain(self) -> None:
        server, options = self._server, self._server.options
        await self._until(lambda: False, self._notice)
        await self._shut_the_door()
        server.hang_up_websockets()
        await self._until(lambda: False, ARRIVALS_SECONDS)
        await self._until(self._close_idle, options.drain_seconds)
        if server.busy:
            self._log.warning("cutting", open=sum(channel.busy for channel in server.channels))
            self._gateway.cut()
            await self._end_by(HURRIED_SECONDS if self._at_once else options.last_seconds)
        server.cancel_all()
        await asyncio.sleep(_LOOK_SECONDS)
        for channel in list(server.channels):
            if channel.busy:
                channel.abort()
            else:
                # What is written may still be in the kernel: an abort would throw it away.
                channel.close()
        await asyncio.sleep(_LOOK_SECONDS)

    async def _shut_the_door(self) -> None:
        for port in self._server.ports:
            # Whoever waits in the kernel's queue would be reset when it closes.
            port.numberAccepts = _LAST_ACCEPTS
            port.doRead()
            await port.stopListening().asFuture(self._loop)

    def _close_idle(self) -> bool:
        """Close what waits for nothing; true when nothing is open."""
        for channel in list(self._server.channels):
            if channel.idle:
                channel.close()
        return not self._server.busy

    async def _until(self, done: Callable[[], bool], seconds: float) -> None:
        """Return when it is done, when the time is over, or at a second signal."""
        end = monotonic() + seconds
        while not done() and monotonic() < end and not self._at_once:  # noqa: ASYNC110 - a few looks, once in a life
            await asyncio.sleep(_LOOK_SECONDS)

    async def _end_by(self, seconds: float) -> None:
        end = monotonic() + seconds
        while not self._close_idle() and monotonic() < end:  # noqa: ASYNC110 - as above
            await asyncio.sleep(_LOOK_SECONDS)

    async def _stop(self) -> None:
        await asyncio.sleep(0)
        try:
            await self._gateway.stop()
        except Exception as error:  # noqa: BLE001 - the end is near; what fails here must not hide why
            self._server.log_fault("stop_failed", error)
        await self._loop.shutdown_asyncgens()
