"""A gRPC server in front of the tests' gateway, and its client."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from grpcapi.generated.llmgateway.v1 import gateway_pb2_grpc as services
from grpcapi.server import Address, GrpcServer
from tests.support.live_gateway import LiveGateway

_PATIENCE = 60.0


class Client:
    """The services at a port, with a key."""

    def __init__(self, port: int, key: str) -> None:
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        self.metadata = (("authorization", f"Bearer {key}"),)
        self.chat = services.ChatServiceStub(self.channel)  # type: ignore[no-untyped-call]  # generated
        self.embeddings = services.EmbeddingServiceStub(self.channel)  # type: ignore[no-untyped-call]  # as above
        self.models = services.ModelServiceStub(self.channel)  # type: ignore[no-untyped-call]  # as above

    def call(self, method: Any, request: Any, *more: tuple[str, str], seconds: float = _PATIENCE) -> Any:
        """Of a unary RPC the answer and the RPC itself."""
        return method.with_call(request, metadata=(*self.metadata, *more), timeout=seconds)

    def open(self, method: Any, request: Any, *more: tuple[str, str], seconds: float = _PATIENCE) -> Any:
        """A stream."""
        return method(request, metadata=(*self.metadata, *more), timeout=seconds)


@pytest.fixture(scope="session")
def grpc_port(session_gateway: LiveGateway) -> Iterator[int]:
    loop = session_gateway.loop

    async def begin() -> GrpcServer:
        server = GrpcServer(session_gateway.door, Address("127.0.0.1", 0))
        await server.start()
        await server.tell(serving=True)
        return server

    server = asyncio.run_coroutine_threadsafe(begin(), loop).result(_PATIENCE)
    yield server.port
    asyncio.run_coroutine_threadsafe(server.stop(0), loop).result(_PATIENCE)


@pytest.fixture
def client(grpc_port: int, live: LiveGateway) -> Iterator[Client]:
    made = Client(grpc_port, live.key)
    yield made
    made.channel.close()
