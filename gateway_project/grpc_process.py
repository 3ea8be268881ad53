"""The process of `manage.py grpcserver`: the gateway with gRPC in front, from its start to its drain."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable, Generator, MutableMapping
from typing import Any

import uvicorn

from gateway_project.asgi import Application
from gateway_project.config import GrpcSettings
from gateway_project.limits import (
    DRAIN_SECONDS,
    ECHO_SECONDS,
    HURRIED_SECONDS,
    LAST_SECONDS,
    NOTICE_SECONDS,
)
from grpcapi.server import Address, GrpcServer

# How soon balancers that watch the health service hear of a gateway that cannot serve.
_LOOK_SECONDS = 1.0
_STATUS = frozenset({"/health", "/ready", "/metrics"})
_Message = MutableMapping[str, Any]


class GrpcProcess:
    """Serves until told to end and drained. `say` is told where, in words."""

    def __init__(self, application: Application, settings: GrpcSettings, say: Callable[[str], None]) -> None:
        self._application = application
        self._gateway = application.gateway
        self._settings = settings
        self._say = say
        self._told = asyncio.Event()
        self._hurry = asyncio.Event()
        self._first_signal = 0.0

    async def run(self) -> None:
        """Raises ListenError."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled)
        settings = self._settings
        address = Address(settings.host, settings.port, settings.certificate, settings.key)
        server = GrpcServer(self._gateway.door, address)
        await self._gateway.start()
        status = self._status_server()
        try:
            await server.start()
            watching = asyncio.create_task(self._watch(server))
            serving = None if status is None else asyncio.create_task(status.serve())
            secure = "" if settings.certificate is None else ", over TLS"
            self._say(f"gRPC on {settings.host}:{server.port}{secure}")
            await self._told.wait()
            watching.cancel()
            await self._drain(server)
            if status is not None and serving is not None:
                status.should_exit = True
                await serving
        finally:
            await self._gateway.stop()

    def _signalled(self) -> None:
        now = asyncio.get_running_loop().time()
        if not self._told.is_set():
            self._gateway.draining = True
            self._first_signal = now
            self._told.set()
        elif now - self._first_signal > ECHO_SECONDS:
            self._hurry.set()

    async def _watch(self, server: GrpcServer) -> None:
        while True:
            await server.tell(serving=self._gateway.services.status.ready())
            await asyncio.sleep(_LOOK_SECONDS)

    async def _drain(self, server: GrpcServer) -> None:
        await server.tell(serving=False)
        await self._within(NOTICE_SECONDS, self._hurry.wait())
        stopping = asyncio.create_task(server.stop(DRAIN_SECONDS + LAST_SECONDS))
        hurried = asyncio.create_task(self._hurry.wait())
        await asyncio.wait({stopping, hurried}, timeout=DRAIN_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        hurried.cancel()
        # What is left is told so, in a status of its own.
        self._gateway.cut()
        await self._within(
            HURRIED_SECONDS if self._hurry.is_set() else LAST_SECONDS, asyncio.shield(stopping)
        )
        await server.stop(0)
        await stopping

    @staticmethod
    async def _within(seconds: float, what: Awaitable[object]) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(what, seconds)

    def _status_server(self) -> uvicorn.Server | None:
        if self._settings.status_port is None:
            return None
        return _StatusServer(
            uvicorn.Config(
                self._status,
                # A bound method would be taken for an application of ASGI 2.
                interface="asgi3",
                host=self._settings.host,
                port=self._settings.status_port,
                lifespan="off",
                ws="none",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                limit_concurrency=64,
            )
        )

    async def _status(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[_Message]],
        send: Callable[[_Message], Awaitable[None]],
    ) -> None:
        """Health and metrics; nothing else of the gateway is at this port."""
        if scope["path"] in _STATUS:
            await self._application(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})


class _StatusServer(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        # They are the process's own.
        yield
