"""The services: each RPC is a request of the HTTP API, made in this process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

import orjson

from dialects.errors import GatewayError
from dialects.sse import SseFramer
from grpcapi import inward, outward, status
from grpcapi.bridge import Application, Exchange, headers_of
from grpcapi.generated.llmgateway.v1 import gateway_pb2 as pb
from grpcapi.generated.llmgateway.v1 import gateway_pb2_grpc as services

# grpc.aio.ServicerContext, of a library without types.
Context = Any
_Answer = TypeVar("_Answer")
_CHAT, _EMBEDDINGS, _MODELS = "/v1/chat/completions", "/v1/embeddings", "/v1/models"


class Caller:
    """Makes requests of the application, and says what came of them."""

    def __init__(self, application: Application) -> None:
        self._application = application

    async def whole(
        self,
        context: Context,
        address: tuple[str, str],
        body: Callable[[], bytes],
        read: Callable[[bytes], _Answer],
    ) -> _Answer:
        """One answer, read by `read`. `address`: method and path."""
        exchange = Exchange()
        await self._run(context, exchange, address, await _written(context, body))
        if exchange.status >= 400:
            await _abort(context, status.of_reply(exchange.status, exchange.headers, exchange.body))
        try:
            answer = read(exchange.body)
        except (ValueError, TypeError, KeyError, AttributeError):
            await _abort(context, status.unreadable(exchange.headers))
        await context.send_initial_metadata(status.metadata(exchange.headers))
        return answer

    async def stream(self, context: Context, address: tuple[str, str], body: Callable[[], bytes]) -> None:
        """An answer, chunk by chunk."""
        chunks = _Chunks(context)
        exchange = chunks.exchange = Exchange(chunks.take)
        await self._run(context, exchange, address, await _written(context, body))
        if exchange.status >= 400:
            await _abort(context, status.of_reply(exchange.status, exchange.headers, exchange.body))
        if chunks.failure is not None:
            await _abort(context, chunks.failure)
        if not chunks.done:
            await _abort(context, status.broken(exchange.headers))

    async def _run(self, context: Context, exchange: Exchange, address: tuple[str, str], body: bytes) -> None:
        method, path = address
        headers = headers_of(context.invocation_metadata() or (), context.time_remaining())
        await exchange.run(self._application, method, path, headers, body)


class _Chunks:
    """Writes what comes of a stream."""

    def __init__(self, context: Context) -> None:
        self.exchange: Exchange | None = None
        self.failure: status.Status | None = None
        self.done = False
        self._context = context
        self._framer = SseFramer()
        self._begun = False

    async def take(self, piece: bytes) -> None:
        """Bytes of the stream."""
        headers = self.exchange.headers if self.exchange is not None else {}
        if not self._begun:
            self._begun = True
            await self._context.send_initial_metadata(status.metadata(headers))
        for event in self._framer.feed(piece):
            if not event.data or self.failure is not None:
                continue
            if event.data == b"[DONE]":
                self.done = True
                continue
            try:
                await self._write(event.data, headers)
            except (ValueError, TypeError, KeyError, AttributeError):
                self.failure = status.unreadable(headers)

    async def _write(self, data: bytes, headers: dict[str, str]) -> None:
        said = orjson.loads(data)
        if isinstance(said.get("error"), dict):
            self.failure = status.of_event(said, headers)
        else:
            await self._context.write(outward.chunk(said))


async def _written(context: Context, body: Callable[[], bytes]) -> bytes:
    try:
        return body()
    except GatewayError as error:
        await _abort(context, status.of_error(error))


async def _abort(context: Context, said: status.Status) -> NoReturn:
    await context.abort_with_status(said)
    raise RuntimeError("abort returned")


class _Servicer:
    """What all of them make requests with."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller


class Chat(_Servicer, services.ChatServiceServicer):
    """Chat completions."""

    async def CreateChatCompletion(  # noqa: N802 - the proto's name
        self, request: pb.CreateChatCompletionRequest, context: Context
    ) -> pb.CreateChatCompletionResponse:
        """One answer, whole."""
        return await self._caller.whole(
            context,
            ("POST", _CHAT),
            lambda: inward.chat_body(request.parameters, stream=False),
            outward.completion,
        )

    async def StreamChatCompletion(  # noqa: N802 - the proto's name
        self, request: pb.StreamChatCompletionRequest, context: Context
    ) -> None:
        """One answer, chunk by chunk."""
        await self._caller.stream(
            context, ("POST", _CHAT), lambda: inward.chat_body(request.parameters, stream=True)
        )


class Embeddings(_Servicer, services.EmbeddingServiceServicer):
    """Embeddings."""

    async def CreateEmbeddings(  # noqa: N802 - the proto's name
        self, request: pb.CreateEmbeddingsRequest, context: Context
    ) -> pb.CreateEmbeddingsResponse:
        """A vector for each input."""
        return await self._caller.whole(
            context,
            ("POST", _EMBEDDINGS),
            lambda: inward.embeddings_body(request),
            outward.embeddings,
        )


class Models(_Servicer, services.ModelServiceServicer):
    """Models."""

    async def ListModels(  # noqa: N802 - the proto's name
        self, _request: pb.ListModelsRequest, context: Context
    ) -> pb.ListModelsResponse:
        """Those that the key may use."""
        return await self._caller.whole(context, ("GET", _MODELS), bytes, outward.models)

    async def GetModel(  # noqa: N802 - the proto's name
        self, request: pb.GetModelRequest, context: Context
    ) -> pb.GetModelResponse:
        """One of them."""
        return await self._caller.whole(context, ("GET", f"{_MODELS}/{request.id}"), bytes, outward.model)


def add(server: Any, application: Application) -> tuple[str, ...]:
    """Put all services on a server; their full names."""
    caller = Caller(application)
    services.add_ChatServiceServicer_to_server(Chat(caller), server)
    services.add_EmbeddingServiceServicer_to_server(Embeddings(caller), server)
    services.add_ModelServiceServicer_to_server(Models(caller), server)
    return tuple(service.full_name for service in pb.DESCRIPTOR.services_by_name.values())
