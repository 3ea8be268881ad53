"""Errors over gRPC: those of HTTP, as a status with details."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from grpcapi.generated.llmgateway.v1 import gateway_pb2 as pb
from grpcapi.tests.asking import details, http, refused, user
from grpcapi.tests.conftest import Client
from tests.support.fake_upstream import FakeUpstream
from tests.support.live_gateway import LiveGateway
from tests.support.upstream.script import Answer, Json, Reset

FAULTS = {
    400: (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT"),
    401: (grpc.StatusCode.UNAVAILABLE, ""),
    404: (grpc.StatusCode.NOT_FOUND, ""),
    429: (grpc.StatusCode.RESOURCE_EXHAUSTED, ""),
    500: (grpc.StatusCode.UNAVAILABLE, ""),
}


@pytest.mark.parametrize("status", FAULTS)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_what_a_provider_refuses(
    live: LiveGateway, fake_upstream: FakeUpstream, client: Client, status: int, stream: bool
) -> None:
    said = {"error": {"message": "No.", "type": "some_error", "code": "some_code", "param": "messages"}}
    fake_upstream.script("", [Json(status, said, {"retry-after": "3"})])
    by_http = http(
        live, {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}], "stream": stream}
    )
    live.live.forget()
    parameters = pb.ChatParameters(model="gpt-4o", messages=[user("Hi")])
    error = refused(client, parameters, stream=stream)
    envelope = by_http.json()["error"]
    assert error.details() == envelope["message"]
    found = details(error)
    assert found["ErrorInfo"].domain == "llmgateway"
    assert found["ErrorInfo"].reason == envelope["code"].upper()
    assert found["ErrorInfo"].metadata["type"] == envelope["type"]
    assert found["ErrorInfo"].metadata["http_status"] == str(by_http.status_code)
    assert found["RequestInfo"].request_id == live.records[-1].request_id
    trailing = dict(error.trailing_metadata())
    assert trailing["x-should-retry"] == by_http.headers["x-should-retry"]
    assert ("retry-after" in trailing) is ("retry-after" in by_http.headers)
    assert error.code() is FAULTS[status][0]
    if status == 429:
        assert found["QuotaFailure"].violations[0].subject == envelope["code"]
    if status == 400:
        assert found["BadRequest"].field_violations[0].field == "messages"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_key_that_nobody_issued(live: LiveGateway, client: Client, stream: bool) -> None:
    client.metadata = (("authorization", "Bearer gw-nobody-0123456789012345678901"),)
    error = refused(client, pb.ChatParameters(model="gpt-4o", messages=[user("Hi")]), stream=stream)
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED
    assert details(error)["ErrorInfo"].reason == "INVALID_API_KEY"
    assert "gw-nobody" not in repr(error)


def test_the_other_header_for_a_key(live: LiveGateway, client: Client) -> None:
    client.metadata = (("x-api-key", live.key),)
    assert client.call(client.models.ListModels, pb.ListModelsRequest())[1].code() is grpc.StatusCode.OK


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        (pb.ChatParameters(messages=[user("Hi")]), "model"),
        (pb.ChatParameters(model="gpt-4o", messages=[pb.Message(text="Hi")]), "messages[0].role"),
        (pb.ChatParameters(model="gpt-4o", messages=[user("Hi")], temperature=float("nan")), "temperature"),
        (pb.ChatParameters(model="gpt-4o", messages=[user("Hi")], extra_json=b"{"), "extra_json"),
        (pb.ChatParameters(model="gpt-4o", messages=[user("Hi")], extra_json=b"[1]"), "extra_json"),
        (pb.ChatParameters(model="gpt-4o", messages=[user("Hi")], extra_json=b'{"a":1,"a":2}'), "extra_json"),
        (
            pb.ChatParameters(model="gpt-4o", messages=[user("Hi")], extra_json=b'{"stream": true}'),
            "extra_json",
        ),
        (
            pb.ChatParameters(model="gpt-4o", messages=[user("Hi")], extra_json=b'{"model": "x"}'),
            "extra_json",
        ),
        (
            pb.ChatParameters(
                model="gpt-4o",
                messages=[user("Hi")],
                tools=[pb.Tool(name="f", parameters_json=b'{}, "model": "x"')],
            ),
            "tools[0].parameters_json",
        ),
        (
            pb.ChatParameters(
                model="gpt-4o",
                messages=[pb.Message(role=pb.ROLE_USER, parts=pb.ContentParts(parts=[pb.ContentPart()]))],
            ),
            "messages[0].parts[0]",
        ),
    ],
)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_what_has_no_meaning_is_refused_and_named(
    live: LiveGateway, fake_upstream: FakeUpstream, client: Client, parameters: Any, field: str, stream: bool
) -> None:
    error = refused(client, parameters, stream=stream)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert details(error)["BadRequest"].field_violations[0].field == field
    assert not fake_upstream.requests


def test_what_could_not_travel_is_told(live: LiveGateway, client: Client) -> None:
    parameters = pb.ChatParameters(model="claude-opus-4-5", messages=[user("Hi")], seed=7)
    _, rpc = client.call(
        client.chat.CreateChatCompletion, pb.CreateChatCompletionRequest(parameters=parameters)
    )
    assert dict(rpc.initial_metadata())["x-gateway-dropped"] == "seed"


def test_a_stream_that_breaks_off_is_an_error(
    live: LiveGateway, fake_upstream: FakeUpstream, client: Client
) -> None:
    fake_upstream.script("", [Answer(events=4), Reset()])
    parameters = pb.ChatParameters(model="gpt-4o", messages=[user("count:9")])
    stream = client.open(
        client.chat.StreamChatCompletion, pb.StreamChatCompletionRequest(parameters=parameters)
    )
    got = []
    with pytest.raises(grpc.RpcError) as caught:
        got.extend(iter(stream))
    # An exception inside `extend` leaves what came before it.
    assert got
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert details(caught.value)["ErrorInfo"].reason == live.wait_record().code.upper()
