"""How tests ask over gRPC and over HTTP, and what they read of an error."""

from __future__ import annotations

from typing import Any

import grpc
import httpx
import pytest
from google.rpc import error_details_pb2, status_pb2

from grpcapi.generated.llmgateway.v1 import gateway_pb2 as pb
from grpcapi.tests.conftest import Client
from tests.support.live_gateway import LiveGateway


def user(text: str) -> pb.Message:
    return pb.Message(role=pb.ROLE_USER, text=text)


def http(live: LiveGateway, body: dict[str, Any]) -> httpx.Response:
    headers = {"authorization": f"Bearer {live.key}"}
    return httpx.post(live.url + "/v1/chat/completions", json=body, headers=headers, timeout=60)


def details(error: grpc.RpcError) -> dict[str, Any]:
    """The details of a status, by their kind."""
    packed = dict(error.trailing_metadata())["grpc-status-details-bin"]
    status = status_pb2.Status.FromString(packed)
    assert (status.code, status.message) == (error.code().value[0], error.details())
    found = {}
    for each in status.details:
        kind = getattr(error_details_pb2, each.type_url.rpartition(".")[2])()
        each.Unpack(kind)
        found[type(kind).__name__] = kind
    return found


def refused(
    client: Client,
    parameters: pb.ChatParameters,
    *more: tuple[str, str],
    stream: bool = False,
    **options: Any,
) -> Any:
    """The error of a call that must fail."""

    def ask() -> Any:
        if not stream:
            whole = pb.CreateChatCompletionRequest(parameters=parameters)
            return client.call(client.chat.CreateChatCompletion, whole, *more, **options)
        request = pb.StreamChatCompletionRequest(parameters=parameters)
        return list(client.open(client.chat.StreamChatCompletion, request, *more, **options))

    with pytest.raises(grpc.RpcError) as caught:
        ask()
    return caught.value
