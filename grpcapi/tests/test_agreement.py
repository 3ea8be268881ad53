"""HTTP and gRPC agree: the same request by both reaches the provider as the same body, and comes back as the
same answer, or as the same error."""

from __future__ import annotations

from typing import Any

import httpx
import orjson
import pytest

from grpcapi.generated.llmgateway.v1 import gateway_pb2 as pb
from grpcapi.inward import ROLES
from grpcapi.tests.asking import http, user
from grpcapi.tests.conftest import Client
from tests.support.fake_upstream import FakeUpstream
from tests.support.live_gateway import LiveGateway
from tests.support.surfaces import CHAT_ANTHROPIC, CHAT_OLLAMA, CHAT_OPENAI, Pair

Fields = dict[str, Any]
_PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5Er"
    "kJggg=="
)
_SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
PAIRS = (CHAT_OPENAI, CHAT_ANTHROPIC, CHAT_OLLAMA)


def tool() -> pb.Tool:
    return pb.Tool(name="get_weather", description="Weather", parameters_json=orjson.dumps(_SCHEMA))


def _tool_json() -> Fields:
    return {
        "type": "function",
        "function": {"name": "get_weather", "description": "Weather", "parameters": _SCHEMA},
    }


# What is asked by gRPC, and the same as JSON.
CASES: dict[str, tuple[pb.ChatParameters, Fields]] = {
    "text": (
        pb.ChatParameters(
            messages=[pb.Message(role=pb.ROLE_SYSTEM, text="Be short."), user("Hello")],
            max_completion_tokens=50,
            temperature=0.5,
            stop=["END"],
        ),
        {
            "messages": [
                {"role": "system", "content": "Be short."},
                {"role": "user", "content": "Hello"},
            ],
            "max_completion_tokens": 50,
            "temperature": 0.5,
            "stop": ["END"],
        },
    ),
    "image": (
        pb.ChatParameters(
            messages=[
                pb.Message(
                    role=pb.ROLE_USER,
                    parts=pb.ContentParts(
                        parts=[
                            pb.ContentPart(text="What is it?"),
                            pb.ContentPart(image_url=pb.ImageUrl(url=_PIXEL)),
                        ]
                    ),
                )
            ]
        ),
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "What is it?"},
                        {"type": "image_url", "image_url": {"url": _PIXEL}},
                    ],
                }
            ]
        },
    ),
    "tools": (
        pb.ChatParameters(
            messages=[user('call:get_weather {"city": "Paris"}')],
            tools=[tool()],
            tool_choice=pb.ToolChoice(mode="auto"),
        ),
        {
            "messages": [{"role": "user", "content": 'call:get_weather {"city": "Paris"}'}],
            "tools": [_tool_json()],
            "tool_choice": "auto",
        },
    ),
    "tool result": (
        pb.ChatParameters(
            messages=[
                user("Weather?"),
                pb.Message(
                    role=pb.ROLE_ASSISTANT,
                    tool_calls=[pb.ToolCall(id="call_1", name="get_weather", arguments='{"city": "Paris"}')],
                ),
                pb.Message(role=pb.ROLE_TOOL, tool_call_id="call_1", text="20 degrees"),
            ],
            tools=[tool()],
        ),
        {
            "messages": [
                {"role": "user", "content": "Weather?"},
                {
                    "role": "assistant",
                    "tool_calls": [
                        {
                            "id": "call_1",
                            "type": "function",
                            "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'},
                        }
                    ],
                },
                {"role": "tool", "tool_call_id": "call_1", "content": "20 degrees"},
            ],
            "tools": [_tool_json()],
        },
    ),
    "other fields": (
        pb.ChatParameters(
            messages=[user("Hello")],
            seed=2**53 + 1,
            extra_json=b'{"presence_penalty": 0.25, "logit_bias": {"50256": -100}}',
        ),
        {
            "messages": [{"role": "user", "content": "Hello"}],
            "seed": 2**53 + 1,
            "presence_penalty": 0.25,
            "logit_bias": {"50256": -100},
        },
    ),
}


def read_choice(choice: pb.Choice) -> Fields:
    """A choice as JSON has it."""
    message: Fields = {"role": ROLES[choice.message.role], "content": None}
    if choice.message.WhichOneof("content") == "text":
        message["content"] = choice.message.text
    if choice.message.tool_calls:
        message["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
                **_extra(call),
            }
            for call in choice.message.tool_calls
        ]
    return {
        "index": choice.index,
        "message": {**message, **_extra(choice.message)},
        "finish_reason": choice.finish_reason,
        **_extra(choice),
    }


def _extra(message: Any) -> Fields:
    return dict(orjson.loads(message.extra_json or b"{}"))


def _clean(value: Any) -> Any:
    """Without what is null, and without ids that are made anew."""
    if isinstance(value, dict):
        return {name: _clean(each) for name, each in value.items() if each is not None and name != "id"}
    return [_clean(each) for each in value] if isinstance(value, list) else value


@pytest.mark.parametrize("pair", PAIRS, ids=str)
@pytest.mark.parametrize("case", CASES)
def test_a_whole_answer(
    live: LiveGateway, fake_upstream: FakeUpstream, client: Client, pair: Pair, case: str
) -> None:
    parameters, body = CASES[case]
    # A model of Ollama's that sees.
    model = "llama3.2-vision" if (case, pair) == ("image", CHAT_OLLAMA) else pair.model
    parameters.model = model
    by_http = http(live, {"model": model, **body}).json()
    answer, rpc = client.call(
        client.chat.CreateChatCompletion, pb.CreateChatCompletionRequest(parameters=parameters)
    )
    assert answer.model == by_http["model"]
    assert _clean([read_choice(each) for each in answer.choices]) == _clean(by_http["choices"])
    assert orjson.loads(answer.usage.usage_json) == by_http["usage"]
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (
        by_http["usage"]["prompt_tokens"],
        by_http["usage"]["completion_tokens"],
    )
    first, second = (each.json for each in fake_upstream.requests)
    assert first == second
    told = dict(rpc.initial_metadata())
    assert told["x-request-id"] == live.records[1].request_id
    assert told["x-gateway-provider"] == pair.kind
    # Both are calls of the same kind everywhere.
    assert [record.surface for record in live.records] == ["chat", "chat"]
    assert {record.outcome for record in live.records} == {"ok"}


@pytest.mark.parametrize("pair", PAIRS, ids=str)
@pytest.mark.parametrize("case", ["text", "tools"])
def test_a_stream(
    live: LiveGateway, fake_upstream: FakeUpstream, client: Client, pair: Pair, case: str
) -> None:
    parameters, body = CASES[case]
    parameters.model = pair.model
    streamed = {"model": pair.model, **body, "stream": True, "stream_options": {"include_usage": True}}
    lines = [line[6:] for line in http(live, streamed).text.split("\n\n") if line.startswith("data: {")]
    by_http = [orjson.loads(line) for line in lines]
    chunks = list(
        client.open(client.chat.StreamChatCompletion, pb.StreamChatCompletionRequest(parameters=parameters))
    )
    assert len(chunks) == len(by_http)
    assert [_text(chunk) for chunk in chunks] == [
        "".join(c["delta"].get("content") or "" for c in each["choices"]) for each in by_http
    ]
    arguments = "".join(p.arguments for c in chunks for choice in c.choices for p in choice.delta.tool_calls)
    assert arguments == "".join(
        piece["function"].get("arguments", "")
        for each in by_http
        for choice in each["choices"]
        for piece in choice["delta"].get("tool_calls") or ()
    )
    assert bool(arguments) is (case == "tools")
    ends = [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason]
    assert ends == ["tool_calls" if case == "tools" else "stop"]
    assert orjson.loads(chunks[-1].usage.usage_json) == by_http[-1]["usage"]


def _text(chunk: pb.StreamChatCompletionResponse) -> str:
    return "".join(choice.delta.content for choice in chunk.choices)


def test_embeddings(live: LiveGateway, fake_upstream: FakeUpstream, client: Client) -> None:
    body = {"model": "text-embedding-3-small", "input": ["one", "two"]}
    headers = {"authorization": f"Bearer {live.key}"}
    by_http = httpx.post(live.url + "/v1/embeddings", json=body, headers=headers, timeout=60).json()
    request = pb.CreateEmbeddingsRequest(model="text-embedding-3-small", input=["one", "two"])
    answer, _ = client.call(client.embeddings.CreateEmbeddings, request)
    assert [list(each.values) for each in answer.embeddings] == [
        each["embedding"] for each in by_http["data"]
    ]
    assert [each.index for each in answer.embeddings] == [0, 1]
    assert answer.usage.prompt_tokens == by_http["usage"]["prompt_tokens"]
    request.extra_json = b'{"encoding_format": "base64"}'
    packed, _ = client.call(client.embeddings.CreateEmbeddings, request)
    assert all(each.base64 and not each.values for each in packed.embeddings)


def test_models(live: LiveGateway, client: Client) -> None:
    openai = live.provider("openai")
    live.use(live.snapshot([live.route("gpt-4o", openai), live.route("text-embedding-3-small", openai)]))
    headers = {"authorization": f"Bearer {live.key}"}
    by_http = httpx.get(live.url + "/v1/models", headers=headers, timeout=60)
    names = [each["id"] for each in by_http.json()["data"]]
    answer, _ = client.call(client.models.ListModels, pb.ListModelsRequest())
    assert [each.id for each in answer.models] == names == ["gpt-4o", "text-embedding-3-small"]
    one, _ = client.call(client.models.GetModel, pb.GetModelRequest(id="gpt-4o"))
    assert one.model.id == "gpt-4o"
