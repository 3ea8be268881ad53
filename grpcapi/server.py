"""The gRPC server: its bounds, health and reflection, and how it ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from grpcapi import services
from grpcapi.bridge import Application

# A message holds what a body of HTTP's API may hold, and a little for its fields.
MAX_MESSAGE = 21 * 1024 * 1024
_MAX_ANSWER = 64 * 1024 * 1024
_MAX_METADATA = 16 * 1024
# RPCs at once of one connection; beyond them a client waits.
_MAX_STREAMS = 1000
# Who pings more often than this is cut off, and who answers no ping is gone.
_PING_MS, _PING_ANSWER_MS = 30_000, 20_000
_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_MESSAGE),
    ("grpc.max_send_message_length", _MAX_ANSWER),
    ("grpc.max_metadata_size", _MAX_METADATA),
    ("grpc.absolute_max_metadata_size", 2 * _MAX_METADATA),
    ("grpc.max_concurrent_streams", _MAX_STREAMS),
    ("grpc.keepalive_time_ms", _PING_MS),
    ("grpc.keepalive_timeout_ms", _PING_ANSWER_MS),
    ("grpc.http2.min_ping_interval_without_data_ms", _PING_MS // 3),
    ("grpc.keepalive_permit_without_calls", 1),
    # Two of them on one port would be a mistake, and each would get half.
    ("grpc.so_reuseport", 0),
)


class Address(NamedTuple):
    """Where to listen; with `certificate` and `key`, files in PEM, over TLS."""

    host: str
    port: int
    certificate: Path | None = None
    key: Path | None = None


class ListenError(Exception):
    """The address cannot be listened on; the text says why."""


class GrpcServer:
    """Serves an ASGI application's API over gRPC. `port` is where it listens, once it has started."""

    def __init__(self, application: Application, address: Address) -> None:
        self._address = address
        self._server: Any = grpc.aio.server(options=_OPTIONS)
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        self._names = services.add(self._server, application)
        reflection.enable_server_reflection(
            (*self._names, health.SERVICE_NAME, reflection.SERVICE_NAME), self._server
        )
        self.port = 0

    async def start(self) -> None:
        """Listen and serve. Raises ListenError."""
        host = f"[{self._address.host}]" if ":" in self._address.host else self._address.host
        where = f"{host}:{self._address.port}"
        credentials = self._credentials()
        try:
            if credentials is None:
                self.port = self._server.add_insecure_port(where)
            else:
                self.port = self._server.add_secure_port(where, credentials)
        except RuntimeError as error:
            raise ListenError(f"{where} cannot be listened on") from error
        await self._server.start()

    async def stop(self, seconds: float) -> None:
        """Take no more RPCs; those under way have so many seconds, and are then cancelled."""
        await self._server.stop(seconds)

    async def tell(self, *, serving: bool) -> None:
        """Say by the health service whether it can serve."""
        status = health_pb2.HealthCheckResponse
        now = status.SERVING if serving else status.NOT_SERVING
        for name in ("", *self._names):
            await self._health.set(name, now)

    def _credentials(self) -> Any:
        certificate, key = self._address.certificate, self._address.key
        if certificate is None or key is None:
            return None
        try:
            pair = (key.read_bytes(), certificate.read_bytes())
        except OSError as error:
            raise ListenError(f"{error.filename} cannot be read: {error.strerror}") from error
        return grpc.ssl_server_credentials([pair])
