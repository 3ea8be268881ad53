"""What happens to a call while it goes on: its deadline, a client that leaves or rests, limits, a gateway
that goes down."""

from __future__ import annotations

import threading
from itertools import islice
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from grpcapi.generated.llmgateway.v1 import gateway_pb2 as pb
from grpcapi.server import MAX_MESSAGE
from grpcapi.tests.asking import details, refused, user
from grpcapi.tests.conftest import Client
from routing.allowances import Limit
from tests.faults.whole import Rest
from tests.support.fake_upstream import FakeUpstream
from tests.support.live_gateway import LiveGateway
from tests.support.surfaces import TEXT
from tests.support.upstream.script import Answer, Sse, Stall, WaitFor

ASKED = pb.ChatParameters(model="gpt-4o", messages=[user("count:9")])


def stream(client: Client, *more: tuple[str, str], **options: Any) -> Any:
    request = pb.StreamChatCompletionRequest(parameters=ASKED)
    return client.open(client.chat.StreamChatCompletion, request, *more, **options)


def under_way(client: Client, fake_upstream: FakeUpstream, *, streamed: bool) -> Any:
    """A call whose answer has not ended, and does not."""
    fake_upstream.script("", [Answer(events=4), Stall()] if streamed else [Stall()])
    if streamed:
        call = stream(client)
        next(call)
    else:
        request = pb.CreateChatCompletionRequest(parameters=ASKED)
        call = client.chat.CreateChatCompletion.future(request, metadata=client.metadata, timeout=60)
    fake_upstream.wait_for(1)
    return call


def text_of(chunks: Any) -> str:
    return "".join(choice.delta.content for chunk in chunks for choice in chunk.choices)


def test_chunks_come_as_they_are_made(live: LiveGateway, fake_upstream: FakeUpstream, client: Client) -> None:
    go_on = threading.Event()
    fake_upstream.script("", [Answer(events=4), WaitFor(go_on), Rest(4)])
    chunks = stream(client)
    # The provider rests after these: they are here all the same.
    first = text_of(islice(chunks, 4))
    assert first
    go_on.set()
    assert first + text_of(chunks) == TEXT


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("how", ["deadline", "metadata"])
def test_a_deadline_reaches_the_provider(
    live: LiveGateway, fake_upstream: FakeUpstream, client: Client, streamed: bool, how: str
) -> None:
    fake_upstream.script("", [Stall()])
    more = (("x-gateway-timeout", "0.3"),) if how == "metadata" else ()
    seconds = 60.0 if how == "metadata" else 0.3
    error = refused(client, ASKED, *more, stream=streamed, seconds=seconds)
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    if how == "metadata":
        assert details(error)["ErrorInfo"].metadata["http_status"] == "504"
    live.wait_record()
    assert fake_upstream.wait_closed(fake_upstream.last)


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
def test_a_client_that_leaves_lets_the_provider_go(
    live: LiveGateway, fake_upstream: FakeUpstream, client: Client, streamed: bool
) -> None:
    call = under_way(client, fake_upstream, streamed=streamed)
    call.cancel()
    assert fake_upstream.wait_closed(fake_upstream.last)
    record = live.wait_record()
    assert (record.outcome, record.code) == ("client_gone", "client_gone")


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
def test_a_gateway_that_goes_down_says_so(
    live: LiveGateway, fake_upstream: FakeUpstream, client: Client, streamed: bool
) -> None:
    call = under_way(client, fake_upstream, streamed=streamed)
    live.cut()
    with pytest.raises(grpc.RpcError) as caught:
        _ = list(call) if streamed else call.result()
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert details(caught.value)["ErrorInfo"].reason == "DRAINING"


def test_a_limit_says_when_to_come_again(live: LiveGateway, client: Client) -> None:
    live.use(live.snapshot(key={"limits": (Limit(1, "requests", 1, key_id=1),)}))
    assert text_of(stream(client)) == TEXT
    error = refused(client, ASKED)
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    found = details(error)
    assert found["QuotaFailure"].violations[0].subject == "requests"
    assert 0 < found["RetryInfo"].retry_delay.ToSeconds() <= 61
    assert dict(error.trailing_metadata())["x-ratelimit-limit-requests"] == "1"


def test_a_reader_that_rests_holds_the_provider(
    live: LiveGateway, fake_upstream: FakeUpstream, client: Client
) -> None:
    large = {"choices": [{"index": 0, "delta": {"content": "x" * 200_000}}]}
    fake_upstream.script("", [Sse([*[large] * 200, "[DONE]"])])
    chunks = stream(client)
    next(chunks)
    # 40 MB are not read ahead to their end, which takes who reads a part of this time.
    assert not fake_upstream.wait_finished(fake_upstream.last, timeout=3.0)
    assert len(list(chunks)) == 199
    assert fake_upstream.wait_finished(fake_upstream.last)
    chunks = stream(client)
    next(chunks)
    chunks.cancel()
    assert fake_upstream.wait_closed(fake_upstream.last)


def test_no_secret_is_in_a_status(live: LiveGateway, fake_upstream: FakeUpstream, client: Client) -> None:
    live.use(live.snapshot([live.route("gpt-*", live.provider("openai", base_url="http://127.0.0.1:1/v1"))]))
    error = refused(client, ASKED)
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    said = repr(error) + repr(error.trailing_metadata())
    for secret in (live.key, "sk-openai-0123456789", "127.0.0.1:1", "Traceback"):
        assert secret not in said


def test_a_message_that_is_too_large_is_refused(
    live: LiveGateway, fake_upstream: FakeUpstream, client: Client
) -> None:
    error = refused(client, pb.ChatParameters(model="gpt-4o", messages=[user("x" * (MAX_MESSAGE + 1))]))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    # Within the message's bound and over the body's.
    error = refused(client, pb.ChatParameters(model="gpt-4o", messages=[user("x" * (MAX_MESSAGE - 1000))]))
    assert details(error)["ErrorInfo"].reason == "REQUEST_TOO_LARGE"
    assert not fake_upstream.requests


def test_health_and_reflection(live: LiveGateway, client: Client) -> None:
    health = health_pb2_grpc.HealthStub(client.channel)
    for name in ("", "llmgateway.v1.ChatService"):
        told = health.Check(health_pb2.HealthCheckRequest(service=name), timeout=60)
        assert told.status == health_pb2.HealthCheckResponse.SERVING
    stub = reflection_pb2_grpc.ServerReflectionStub(client.channel)
    asked = reflection_pb2.ServerReflectionRequest(list_services="")
    [answer] = stub.ServerReflectionInfo(iter([asked]), timeout=60)
    names = {service.name for service in answer.list_services_response.service}
    assert names >= {
        "llmgateway.v1.ChatService",
        "llmgateway.v1.EmbeddingService",
        "llmgateway.v1.ModelService",
        "grpc.health.v1.Health",
    }
