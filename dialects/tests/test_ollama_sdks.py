"""The official SDKs talk to a strict fake of Ollama through the pairs alone: what a program sees."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx2
import openai
import orjson
import pytest

from dialects.errors import GatewayError, render
from dialects.parse import parse_json
from dialects.table import DIALECTS, TRANSLATORS, choose
from dialects.tests.pair_support import carried
from dialects.types import ModelFacts
from tests.support.upstream.memory import Memory
from tests.support.upstream.ollama_answers import answer
from tests.support.upstream.refused import RefusedError
from tests.support.upstream.wire import Received

SURFACES = {
    "/v1/chat/completions": "chat",
    "/v1/completions": "completions",
    "/v1/embeddings": "embeddings",
    "/v1/messages": "messages",
}
ENDPOINTS = {"ollama_chat": "chat", "ollama_embed": "embed"}
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


class Between:
    """Stands where the gateway will: reads a client's bytes, translates, asks the fake, translates back.
    `sent`: the bodies that reached Ollama; `ignored`: fields in them that Ollama would not have read."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.ignored: list[str] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        client = DIALECTS[SURFACES[request.url.path]]
        try:
            return self._answer(client.name, request.read())
        except GatewayError as error:
            status, headers, body = render(client.family, error, "req_1")
            return httpx2.Response(status, headers=headers, content=body)

    def _answer(self, client: str, raw: bytes) -> httpx2.Response:
        body = parse_json(raw)
        facts = DIALECTS[client].facts(body)
        upstream = choose(client, tuple(ENDPOINTS))
        assert upstream is not None
        translator = TRANSLATORS[client, upstream]()
        sent = orjson.dumps(translator.request(body, ModelFacts(name=facts.model)))
        self.sent.append(orjson.loads(sent))
        received = Received(1, 1, 1, "POST", "/", "1.1", [], sent, 0.0, json=orjson.loads(sent))
        try:
            reply = answer(received, ENDPOINTS[upstream], Memory())
        except RefusedError as error:
            refusal = orjson.dumps({"error": error.message})
            raise DIALECTS[upstream].error(error.status, {}, refusal) from None
        self.ignored += [name for name in received.ignored if not name.endswith("tool_call_id")]
        if reply.frames is None:
            whole = orjson.dumps(translator.response(orjson.loads(reply.body)))
            return httpx2.Response(200, headers={"content-type": "application/json"}, content=whole)
        out, finished = carried(translator, upstream, reply.frames)
        assert finished
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=out)


@pytest.fixture
def between() -> Iterator[Between]:
    made = Between()
    yield made
    assert made.ignored == []


@pytest.fixture
def gpt(between: Between) -> Iterator[openai.OpenAI]:
    transport = httpx2.MockTransport(between)
    with httpx2.Client(transport=transport) as client:
        yield openai.OpenAI(api_key="k", base_url="http://gateway/v1", http_client=client, max_retries=0)


@pytest.fixture
def claude(between: Between) -> Iterator[anthropic.Anthropic]:
    transport = httpx2.MockTransport(between)
    with httpx2.Client(transport=transport) as client:
        yield anthropic.Anthropic(api_key="k", base_url="http://gateway", http_client=client, max_retries=0)


TOOL: Any = {"type": "function", "function": {"name": "weather", "parameters": WEATHER, "strict": True}}
ASK = 'call:weather {"city":"Ulm"}\ncall:weather {"city":"Köln"}'


def test_chat_tool_loop(gpt: openai.OpenAI, between: Between) -> None:
    messages: list[Any] = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": ASK}]
    first = gpt.chat.completions.create(model="llama3.2", messages=messages, tools=[TOOL], max_tokens=50)
    choice = first.choices[0]
    assert choice.finish_reason == "tool_calls"
    calls: list[Any] = choice.message.tool_calls or []
    assert [json.loads(call.function.arguments)["city"] for call in calls] == ["Ulm", "Köln"]
    messages.append(choice.message.model_dump(exclude_unset=True))
    messages += [{"role": "tool", "tool_call_id": call.id, "content": f"sun {call.id}"} for call in calls]
    second = gpt.chat.completions.create(model="llama3.2", messages=messages, tools=[TOOL])
    assert all(call.id in (second.choices[0].message.content or "") for call in calls)
    assert second.usage is not None
    assert second.usage.total_tokens > 0
    assert between.sent[1]["messages"][-1]["tool_name"] == "weather"


def test_chat_stream_of_thinking_and_calls(gpt: openai.OpenAI) -> None:
    with gpt.chat.completions.stream(
        model="qwen3:8b",
        messages=[{"role": "user", "content": f"think:hm\n{ASK}"}],
        tools=[TOOL],
        stream_options={"include_usage": True},
    ) as stream:
        chunks = [event.chunk for event in stream if event.type == "chunk"]
        final = stream.get_final_completion()
    calls = final.choices[0].message.tool_calls or []
    assert [json.loads(call.function.arguments)["city"] for call in calls] == ["Ulm", "Köln"]
    assert len({call.id for call in calls}) == 2
    thoughts = [getattr(c.choices[0].delta, "reasoning_content", "") or "" for c in chunks if c.choices]
    assert "".join(thoughts) == "hm"
    assert final.usage is not None
    assert final.usage.completion_tokens > 0


def test_chat_schema_image_and_length(gpt: openai.OpenAI, between: Between) -> None:
    schema: Any = {"type": "json_schema", "json_schema": {"name": "w", "strict": True, "schema": WEATHER}}
    told = gpt.chat.completions.create(
        model="llama3.2", messages=[{"role": "user", "content": "x"}], response_format=schema
    )
    assert set(json.loads(told.choices[0].message.content or "")) == {"city"}
    picture: Any = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + PNG}}
    gpt.chat.completions.create(
        model="gemma3:4b",
        messages=[{"role": "user", "content": [{"type": "text", "text": "say:seen"}, picture]}],
    )
    assert between.sent[1]["messages"] == [{"role": "user", "content": "say:seen", "images": [PNG]}]
    short = gpt.chat.completions.create(
        model="llama3.2", messages=[{"role": "user", "content": "count:50"}], max_completion_tokens=3
    )
    assert short.choices[0].finish_reason == "length"


def test_errors_are_the_sdks_own(gpt: openai.OpenAI, claude: anthropic.Anthropic) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        gpt.chat.completions.create(model="nobody", messages=[{"role": "user", "content": "x"}])
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as several:
        gpt.chat.completions.create(model="llama3.2", messages=[{"role": "user", "content": "x"}], n=2)
    assert several.value.param == "n"
    with pytest.raises(anthropic.NotFoundError):
        claude.messages.create(model="nobody", messages=[{"role": "user", "content": "x"}], max_tokens=5)


@pytest.mark.parametrize("stream", [True, False])
def test_completions(gpt: openai.OpenAI, stream: bool) -> None:
    prompt = "say:Grüße \u2028 x"
    if stream:
        parts = gpt.completions.create(model="llama3.2", prompt=prompt, stream=True, echo=True)
        text = "".join(part.choices[0].text for part in parts)
    else:
        text = (
            gpt.completions.create(model="llama3.2", prompt="say:Grüße \u2028 x", echo=True).choices[0].text
        )
    assert text.startswith(prompt)
    assert text.count("Grüße") == 2


def test_embeddings_by_the_sdks_own_default(gpt: openai.OpenAI, between: Between) -> None:
    """Not told otherwise, the SDK asks for base64 and decodes it: the same numbers as asked plainly."""
    packed = gpt.embeddings.create(model="all-minilm", input=["a", "b"], dimensions=8)
    plain = gpt.embeddings.create(model="all-minilm", input=["a", "b"], dimensions=8, encoding_format="float")
    assert [len(entry.embedding) for entry in packed.data] == [8, 8]
    for one, other in zip(packed.data, plain.data, strict=True):
        width = f"<{len(other.embedding)}f"
        assert struct.pack(width, *one.embedding) == struct.pack(width, *other.embedding)
    assert packed.usage.prompt_tokens == 2
    assert "encoding_format" not in between.sent[0]


CLAUDE_TOOL: Any = {"name": "weather", "input_schema": WEATHER, "cache_control": {"type": "ephemeral"}}


def test_messages_tool_loop_with_thinking(claude: anthropic.Anthropic, between: Between) -> None:
    turns: list[Any] = [{"role": "user", "content": f"think:hm\n{ASK}"}]
    fields: Any = {
        "model": "qwen3:8b",
        "max_tokens": 4000,
        "tools": [CLAUDE_TOOL],
        "thinking": {"type": "enabled", "budget_tokens": 2000},
        "system": [{"type": "text", "text": "Be brief."}],
    }
    with claude.messages.stream(messages=turns, **fields) as stream:
        first = stream.get_final_message()
    assert [block.type for block in first.content] == ["thinking", "tool_use", "tool_use"]
    assert first.stop_reason == "tool_use"
    assert first.usage.input_tokens > 0
    uses: list[Any] = [block for block in first.content if block.type == "tool_use"]
    assert [use.input["city"] for use in uses] == ["Ulm", "Köln"]
    turns.append({"role": "assistant", "content": [block.model_dump() for block in first.content]})
    results: list[Any] = [{"type": "tool_result", "tool_use_id": use.id, "content": "sun"} for use in uses]
    results[1]["is_error"] = True
    turns.append({"role": "user", "content": [*results, {"type": "text", "text": "so?"}]})
    second = claude.messages.create(messages=turns, **fields)
    assert second.stop_reason == "end_turn"
    sent = between.sent[1]["messages"]
    assert [message["role"] for message in sent] == ["system", "user", "assistant", "tool", "tool", "user"]
    assert sent[2]["thinking"] == "hm"
    assert sent[4]["content"] == "Error: sun"


def test_a_coding_agent_asks_a_model_that_cannot_think(claude: anthropic.Anthropic, between: Between) -> None:
    with claude.messages.stream(
        model="llama3.2",
        max_tokens=32000,
        thinking={"type": "enabled", "budget_tokens": 31999},
        system=[
            {"type": "text", "text": "x-anthropic-billing-header: cc_version=2"},
            {"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}},
        ],
        metadata={"user_id": json.dumps({"device": "d" * 150})},
        tools=[CLAUDE_TOOL],
        messages=[{"role": "user", "content": "say:hello"}],
        extra_body={"context_management": {"edits": [{"type": "clear_thinking_20251015"}]}},
    ) as stream:
        message = stream.get_final_message()
    assert [block.type for block in message.content] == ["text"]
    assert "think" not in between.sent[0]
    assert between.sent[0]["messages"][0] == {"role": "system", "content": "Be brief."}
