"""uvicorn as a server of the gateway: the limits and the drain that it does not have by itself."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Generator
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import uvicorn
import uvloop
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from apiv1.reader import DEPARTURE, EXTENSION, Reader
from dialects.errors import GatewayError, bad_request
from gateway_project.limits import (
    ARRIVALS_SECONDS,
    BACKLOG,
    DRAIN_SECONDS,
    ECHO_SECONDS,
    HEAD_SECONDS,
    HURRIED_SECONDS,
    IDLE_SECONDS,
    LAST_SECONDS,
    MAX_HEAD,
    NOTICE_SECONDS,
    STALL_SECONDS,
    WEBSOCKET_MESSAGE,
)
from gateway_project.refusals import head_too_large, refusal, too_slow
from gateway_project.server import LEAVES, SERVES
from gateway_project.uvicorn_reply import Reply
from gateway_project.uvicorn_socket import Socket
from pipeline.call import Refusal

if TYPE_CHECKING:
    from gateway_project.asgi import Application

# How often it is looked whether conversations are over, when the process is to end.
_LOOK_SECONDS = 0.1


def _nobody(_refusal: Refusal) -> None:
    """Who is told where there is no gateway."""


class Protocol(HttpToolsProtocol):
    """A connection whose heads are bounded in size and in time, and whose reader may not rest for ever."""

    head_seconds = HEAD_SECONDS
    stall_seconds = STALL_SECONDS
    # Hears of what is refused here; the gateway's to set.
    tell: Callable[[Refusal], None] = staticmethod(_nobody)
    _head = 0
    # What comes next belongs to a head; a body may come in packets of its own and takes the time it needs.
    _awaits_head = True
    # What came last brought the end of a head or of a body.
    _had_end = False
    _timer: asyncio.TimerHandle | None = None
    _stall: asyncio.TimerHandle | None = None
    # Whom to tell when the client leaves before it has its answer.
    _waits: Callable[[], None] | None = None

    def data_received(self, data: bytes) -> None:
        self._had_end = False
        super().data_received(data)
        # Most heads are here whole and need no timer: only what begins one, or stays before one, does.
        if self._awaits_head and self._timer is None and (self._head or not self._had_end):
            self._timer = self.loop.call_later(self.head_seconds, self._too_slow)

    def on_message_begin(self) -> None:
        self._head = 1
        super().on_message_begin()
        extensions: dict[str, Any] = {
            EXTENSION: Reader(self.stall_seconds),
            DEPARTURE: self._on_departure,
        }
        self.scope["extensions"] = extensions

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's words, for its own reply
        # uvicorn's own is plain text, and nobody counts it.
        self._refuse(bad_request("The request is malformed.", code="malformed_request"))

    def on_url(self, url: bytes) -> None:
        if self._head == 1 and not url.startswith((b"/", b"*")):
            # A whole URL belongs to proxies: whoever stood in front may have believed its host.
            self._refuse(bad_request("The request's target must be a path.", code="malformed_request"))
            return
        self._head += len(url)
        if self._head > MAX_HEAD:
            self._refuse(head_too_large())
        else:
            super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head += len(name) + len(value) + 4
        if self._head > MAX_HEAD:
            self._refuse(head_too_large())
            return
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._done()
        self._awaits_head = False
        self._had_end = True
        if not self.transport.is_closing():
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._awaits_head = self._had_end = True
        super().on_message_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        super()._start_asgi_task(cycle, Reply(cycle, app))

    def on_response_complete(self) -> None:
        self._waits = None
        super().on_response_complete()

    def _on_departure(self, tell: Callable[[], None]) -> None:
        if self.transport.is_closing():
            self.loop.call_soon(tell)
        else:
            self._waits = tell
            # Who does not read does not see a client leave.
            self.flow.resume_reading()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_reader(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        self._leave_reader()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._done()
        self._leave_reader()
        super().connection_lost(exc)
        waits, self._waits = self._waits, None
        if waits is not None:
            waits()

    def _watch_reader(self, waiting: int) -> None:
        # Where requests came in a pipeline, it is the last one's: whose reply is written is not told here.
        cycle: Any = self.cycle
        reader: Reader = cycle.scope["extensions"][EXTENSION] if cycle else Reader(self.stall_seconds)
        self._stall = self.loop.call_later(reader.patience, self._look_at_reader, reader, waiting)

    def _look_at_reader(self, reader: Reader, before: int) -> None:
        waiting = self.transport.get_write_buffer_size()
        if waiting < before:
            self._watch_reader(waiting)
        else:
            reader.stalled = True
            self.transport.abort()

    def _leave_reader(self) -> None:
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None

    def _too_slow(self) -> None:
        self._timer = None
        self._refuse(too_slow("head"))

    def _refuse(self, error: GatewayError) -> None:
        if self.transport.is_closing():
            return
        answer = refusal("openai", error)
        self.tell(answer.told)
        lines = [f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}".encode()]
        lines += [name + b": " + value for name, value in answer.headers]
        lines += [b"content-length: %d" % len(answer.body), b"connection: close", b"", answer.body]
        self.transport.write(b"\r\n".join(lines))
        self.transport.close()

    def _done(self) -> None:
        self._head = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Server(uvicorn.Server):
    """Drains on the first signal and ends at once on the second."""

    def __init__(
        self, config: uvicorn.Config, application: Application, tell: Callable[[bytes], None]
    ) -> None:
        super().__init__(config)
        self._tell = tell
        self._gateway = application.gateway
        self._first_signal = 0.0
        self._listeners: list[socket.socket] = []
        self._end: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._listeners = sockets or []
        await super().startup(sockets)
        if self.started:
            self._tell(SERVES)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._asked_to_end)
        yield

    def _asked_to_end(self) -> None:
        loop = asyncio.get_running_loop()
        if not self._gateway.draining:
            self._gateway.draining = True
            self._tell(LEAVES)
            self._first_signal = loop.time()
            self._end = loop.create_task(self._close())
        elif loop.time() - self._first_signal > ECHO_SECONDS:
            self.should_exit = True
            self._gateway.cut()
            loop.call_later(HURRIED_SECONDS, self._at_once)

    def _at_once(self) -> None:
        self.force_exit = True

    async def _close(self) -> None:
        # Load balancers that ask /ready hear it before the listener closes.
        await asyncio.sleep(NOTICE_SECONDS)
        await self._shut_the_door()
        # uvicorn closes every connection without a request, also one whose request is on its way.
        await asyncio.sleep(ARRIVALS_SECONDS)
        asyncio.get_running_loop().call_later(DRAIN_SECONDS, self._gateway.cut)
        # And every WebSocket.
        while self._gateway.conversations and not self.should_exit:  # noqa: ASYNC110 - a few looks, once in a life
            await asyncio.sleep(_LOOK_SECONDS)
        self.should_exit = True

    async def _shut_the_door(self) -> None:
        # Whoever waits in the kernel's queue would be reset when it closes.
        last = [listener.dup() for listener in self._listeners]
        for server in self.servers:
            server.close()
        for listener in last:
            with listener, contextlib.suppress(BlockingIOError):
                listener.settimeout(0)
                while True:
                    client, _ = listener.accept()
                    client.settimeout(0)
                    await asyncio.get_running_loop().connect_accepted_socket(self._protocol, client)

    def _protocol(self) -> asyncio.Protocol:
        return self.config.http_protocol_class(  # type: ignore[call-arg]  # as uvicorn makes them
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )


def serve_uvicorn(
    application: Application, sockets: list[socket.socket], tell: Callable[[bytes], None]
) -> None:
    """Serve until told to end and drained. `sockets` are bound; `tell` is called with SERVES when connections
    are taken, and with LEAVES at a first signal."""

    class Told(Protocol):
        tell = staticmethod(application.gateway.refused)

    settings: dict[str, Any] = {
        "http": Told,
        "ws": Socket,
        "ws_max_size": WEBSOCKET_MESSAGE,
        # As on Daphne: what is sent is short, or has been compressed.
        "ws_per_message_deflate": False,
        "lifespan": "on",
        "log_config": None,
        "access_log": False,
        "server_header": False,
        # A client's word for its own address, scheme or path is not taken.
        "proxy_headers": False,
        "timeout_keep_alive": int(IDLE_SECONDS),
        "timeout_graceful_shutdown": int(DRAIN_SECONDS + LAST_SECONDS),
        "backlog": BACKLOG,
    }
    server = Server(uvicorn.Config(application, **settings), application, tell)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(server.serve(sockets=sockets))
