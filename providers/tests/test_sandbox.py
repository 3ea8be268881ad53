"""The sandbox as its clients see it: judged by the official SDK, whole and streamed, and refusing what OpenAI
would refuse."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import openai
import orjson
import pytest
from openai.types import CreateEmbeddingResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import BaseModel

from dialects import estimate
from dialects.chat import CHAT
from dialects.embeddings import EMBEDDINGS
from dialects.types import JsonObject
from providers.kinds import KINDS
from providers.sandbox import LABEL, SandboxTransport
from providers.tests.asking import ask
from providers.wire import UpstreamError, UpstreamResponse

KIND = KINDS["sandbox"]
HELLO = [{"role": "user", "content": "Hello there"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1}},
            "required": ["city", "days"],
        },
    },
}
BODIES: list[JsonObject] = [
    {},
    {"max_tokens": 5},
    {"max_completion_tokens": 1},
    {"stop": "sandbox"},
    {"stop": ["no such words", "there"]},
    {"tools": [WEATHER], "tool_choice": "required"},
    {"tools": [WEATHER], "tool_choice": {"type": "function", "function": {"name": "weather"}}},
    {"tools": [WEATHER], "tool_choice": "required", "max_tokens": 3},
    {"tools": [WEATHER]},
    {"response_format": {"type": "json_object"}},
    {
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "w", "schema": WEATHER["function"]["parameters"]},  # type: ignore[index]  # a dict by what stands above
        }
    },
]


async def post(dialect: str, body: JsonObject, transport: SandboxTransport | None = None) -> UpstreamResponse:
    sandbox = transport or SandboxTransport(0.0)
    return await sandbox.send(ask(KIND.base_url + KIND.paths[dialect], orjson.dumps(body)))


async def whole(dialect: str, **fields: Any) -> JsonObject:
    response = await post(dialect, {"model": "sandbox", **fields})
    assert response.status == 200
    assert response.headers["content-type"] == "application/json"
    answer: JsonObject = orjson.loads(await response.read(1 << 24))
    return answer


async def streamed(**fields: Any) -> list[JsonObject]:
    """The chunks of a stream, which ends as the gateway's own reader wants it."""
    response = await post("chat", {"model": "sandbox", "stream": True, "messages": HELLO, **fields})
    assert response.headers["content-type"].startswith("text/event-stream")
    framer, tap = CHAT.framer(), CHAT.tap(strip_usage=False)
    chunks = []
    async for piece in response.chunks():
        for event in framer.feed(piece):
            tap.see(event)
            if event.data != b"[DONE]":
                chunks.append(orjson.loads(event.data))
    assert tap.finished
    assert tap.content
    assert not framer.pending()
    return chunks


def strictly(shape: type[BaseModel], document: JsonObject) -> Any:
    """The document as the SDK's type: nothing missing, nothing of the wrong type, nothing that it lacks."""
    made = shape.model_validate(document, strict=True)
    assert not made.model_extra
    return made


def content(answer: JsonObject) -> str:
    text: str = answer["choices"][0]["message"]["content"]
    return text


async def test_an_answer_is_labelled_repeats_the_caller_and_has_the_sdks_shape() -> None:
    answer = await whole("chat", messages=HELLO)
    strictly(ChatCompletion, answer)
    assert CHAT.is_answer(answer)
    assert content(answer).startswith(LABEL)
    assert "“Hello there”" in content(answer)
    assert answer["model"] == "sandbox"
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert content(await whole("chat", messages=HELLO)) == content(answer)
    assert (await whole("chat", messages=HELLO))["id"] != answer["id"]


@pytest.mark.parametrize(
    ("messages", "shown"),
    [
        ([{"role": "user", "content": [{"type": "text", "text": "in\nparts"}]}], "You said: “in parts”"),
        ([*HELLO, {"role": "tool", "tool_call_id": "a", "content": "12 C"}], "The tool said: “12 C”"),
        ([{"role": "user", "content": "x" * 500}], "“" + "x" * 200 + "…”"),
        ([{"role": "system", "content": "secret"}], LABEL),
        ([{"role": "user", "content": ""}], LABEL),
    ],
)
async def test_what_it_repeats(messages: list[JsonObject], shown: str) -> None:
    text = content(await whole("chat", messages=messages))
    assert shown in text
    assert "secret" not in text
    assert "said: “”" not in text


async def test_usage_is_the_gateways_estimate() -> None:
    answer = await whole("chat", messages=HELLO)
    usage = CHAT.usage(answer)
    assert usage is not None
    assert usage.input_tokens == estimate.tokens(CHAT.facts({"model": "m", "messages": HELLO}).prompt_chars)
    assert usage.output_tokens == estimate.tokens(len(content(answer)))


@pytest.mark.parametrize("fields", BODIES, ids=lambda fields: ",".join(fields))
async def test_a_stream_says_the_same_as_a_whole_answer(fields: JsonObject) -> None:
    answer = await whole("chat", messages=HELLO, **fields)
    chunks = await streamed(stream_options={"include_usage": True}, **fields)
    for chunk in chunks:
        strictly(ChatCompletionChunk, chunk)
    *spoken, last = chunks
    assert last["choices"] == []
    assert last["usage"] == answer["usage"]
    assert {chunk["usage"] for chunk in spoken} == {None}
    assert len({(chunk["id"], chunk["created"]) for chunk in chunks}) == 1
    choice = strictly(ChatCompletion, answer).choices[0]
    deltas = [chunk["choices"][0]["delta"] for chunk in spoken]
    assert deltas[0]["role"] == "assistant"
    finishes = [chunk["choices"][0]["finish_reason"] for chunk in spoken]
    assert finishes == [None] * (len(spoken) - 1) + [choice.finish_reason]
    assert "".join(delta.get("content") or "" for delta in deltas) == (choice.message.content or "")
    arguments = "".join(
        call["function"]["arguments"] for delta in deltas for call in delta.get("tool_calls", ())
    )
    assert arguments == "".join(call.function.arguments for call in choice.message.tool_calls or ())


async def test_a_stream_without_the_wish_has_no_usage() -> None:
    assert all("usage" not in chunk for chunk in await streamed())


@pytest.mark.parametrize("most", [1, 5, 20])
async def test_max_tokens_is_kept(most: int) -> None:
    answer = await whole("chat", messages=HELLO, max_tokens=most)
    assert answer["usage"]["completion_tokens"] == most
    assert len(content(answer)) == 4 * most
    assert answer["choices"][0]["finish_reason"] == "length"


async def test_a_stop_sequence_is_not_said() -> None:
    answer = await whole("chat", messages=HELLO, stop=["there", "Hello"])
    assert content(answer).endswith("You said: “")
    assert answer["choices"][0]["finish_reason"] == "stop"


async def test_a_forced_tool_is_called_with_arguments_that_it_takes() -> None:
    answer = await whole("chat", messages=HELLO, tools=[WEATHER], tool_choice="required")
    (call,) = answer["choices"][0]["message"]["tool_calls"]
    assert call["function"] == {"name": "weather", "arguments": '{"city":"sandbox","days":1}'}
    assert answer["choices"][0]["finish_reason"] == "tool_calls"


@pytest.mark.parametrize(
    ("dialect", "fields", "param"),
    [
        ("chat", {"messages": []}, "messages"),
        ("chat", {}, "messages"),
        ("chat", {"messages": HELLO, "n": 2}, "n"),
        (
            "chat",
            {"messages": HELLO, "tools": [WEATHER], "tool_choice": {"function": {"name": "x"}}},
            "tool_choice",
        ),
        ("chat", {"messages": HELLO, "tool_choice": "required"}, "tool_choice"),
        ("embeddings", {}, "input"),
        ("embeddings", {"messages": HELLO}, "input"),
        ("embeddings", {"input": ["x"] * 257}, "input"),
        ("embeddings", {"input": "x", "dimensions": 3073}, "dimensions"),
        ("embeddings", {"input": "x", "dimensions": 0}, "dimensions"),
        ("embeddings", {"input": "x", "encoding_format": "hex"}, "encoding_format"),
    ],
)
async def test_a_bad_request_is_refused_as_openai_would(dialect: str, fields: JsonObject, param: str) -> None:
    response = await post(dialect, {"model": "sandbox", **fields})
    assert response.status == 400
    assert orjson.loads(await response.read(10_000))["error"]["param"] == param


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"type": "array", "minItems": 10**9},
        {"type": "object", "properties": {n: {"$ref": "#"} for n in "ab"}, "required": ["a", "b"]},
    ],
)
async def test_a_schema_without_end_is_refused(schema: JsonObject) -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "s", "schema": schema}}
    response = await post("chat", {"model": "sandbox", "messages": HELLO, "response_format": wanted})
    assert response.status == 400


async def test_no_json_and_no_such_path_are_refused() -> None:
    sandbox = SandboxTransport()
    assert (await sandbox.send(ask("sandbox://local/chat/completions", b"{"))).status == 400
    assert (await sandbox.send(ask("sandbox://local/images"))).status == 404


async def test_the_limit_of_a_read_holds() -> None:
    response = await post("chat", {"model": "sandbox", "messages": HELLO})
    with pytest.raises(UpstreamError, match="larger"):
        await response.read(20)
    await SandboxTransport().aclose()


# -- time and ends


async def test_pieces_come_one_by_one_and_others_run_in_between() -> None:
    response = await post("chat", {"model": "sandbox", "messages": HELLO, "stream": True})
    seen: list[int] = []

    async def read() -> None:
        seen.extend([len(piece) async for piece in response.chunks()])

    reading = asyncio.ensure_future(read())
    steps = 0
    while not reading.done():
        steps += 1
        await asyncio.sleep(0)
    assert len(seen) > 10
    assert steps > len(seen)


async def test_a_cancelled_reader_stops_it_and_a_closed_answer_is_silent() -> None:
    body = {"model": "sandbox", "messages": HELLO, "stream": True}
    response = await post("chat", body, SandboxTransport(pause=60.0))
    chunks = response.chunks()
    first = await anext(chunks)
    assert b"assistant" in first
    waiting = asyncio.ensure_future(anext(chunks))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await response.aclose()
    await response.aclose()
    quick = await post("chat", body)
    await anext(quick.chunks())
    await quick.aclose()
    assert await anext(quick.chunks(), None) is None


# -- embeddings


async def test_embeddings_are_unit_vectors_that_tell_inputs_apart() -> None:
    answer = await whole("embeddings", input=["one", "two", "one", ""])
    strictly(CreateEmbeddingResponse, answer)
    assert EMBEDDINGS.is_answer(answer)
    one, two, again, nothing = (entry["embedding"] for entry in answer["data"])
    assert [entry["index"] for entry in answer["data"]] == [0, 1, 2, 3]
    assert len(one) == 1536
    for vector in (one, two, nothing):
        assert math.isclose(math.fsum(x * x for x in vector), 1.0, rel_tol=1e-5)
    assert one == again
    assert abs(math.fsum(x * y for x, y in zip(one, two, strict=True))) < 0.2
    assert answer["usage"] == {"prompt_tokens": 3, "total_tokens": 3}


@pytest.mark.parametrize(
    ("given", "count"), [("text", 1), ([1, 2, 3], 1), ([[1, 2], [3]], 2), (["a", "b"], 2)]
)
async def test_every_form_of_input_is_embedded(given: Any, count: int) -> None:
    answer = await whole("embeddings", input=given, dimensions=7)
    assert [len(entry["embedding"]) for entry in answer["data"]] == [7] * count


# -- the SDK itself


class InProcess(httpx2.AsyncBaseTransport):
    """Lets the official SDK talk to the sandbox."""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        answer = await SandboxTransport(0.0).send(ask(str(request.url), await request.aread()))
        return httpx2.Response(answer.status, headers=dict(answer.headers), stream=_Body(answer))


class _Body(httpx2.AsyncByteStream):
    def __init__(self, answer: UpstreamResponse) -> None:
        self._answer = answer

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._answer.chunks()


async def test_the_official_sdk_is_content() -> None:
    http = httpx2.AsyncClient(transport=InProcess())
    async with openai.AsyncOpenAI(
        api_key="none", base_url="http://sandbox.example", http_client=http, max_retries=0
    ) as sdk:
        messages: Any = HELLO
        answer = await sdk.chat.completions.create(model="sandbox", messages=messages)
        async with sdk.chat.completions.stream(model="sandbox", messages=messages) as stream:
            final = await stream.get_final_completion()
        assert final.choices[0].message.content == answer.choices[0].message.content
        # The SDK asks for base64 by itself, and decodes it.
        decoded = await sdk.embeddings.create(model="sandbox", input="Hello", dimensions=100)
        given = await sdk.embeddings.create(
            model="sandbox", input="Hello", dimensions=100, encoding_format="float"
        )
        assert decoded.data[0].embedding == given.data[0].embedding

        class Forecast(BaseModel):
            city: str
            days: int

        parsed = await sdk.chat.completions.parse(
            model="sandbox", messages=messages, response_format=Forecast
        )
        assert parsed.choices[0].message.parsed == Forecast(city="sandbox", days=0)
        with pytest.raises(openai.BadRequestError, match="'n' must be 1"):
            await sdk.chat.completions.create(model="sandbox", messages=messages, n=2)
