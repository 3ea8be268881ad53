"""Clients of chat and messages before a strict fake of OpenAI's responses, seen through their own SDKs."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx2
import openai
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dialects.errors import GatewayError, render
from dialects.parse import parse_json
from dialects.responses import RESPONSES
from dialects.table import DIALECTS, TRANSLATORS
from dialects.tests.hostile import TREES
from dialects.tests.pair_support import carried
from dialects.types import Event, JsonObject, ModelFacts
from tests.support.upstream import openai_responses_answers
from tests.support.upstream.memory import Memory
from tests.support.upstream.refused import RefusedError
from tests.support.upstream.wire import Received

SURFACES = {"/v1/chat/completions": "chat", "/v1/completions": "completions", "/v1/messages": "messages"}
HEADERS = [("authorization", "Bearer sk-x"), ("content-type", "application/json")]
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
ASK = 'call:weather {"city":"Ulm"}\ncall:weather {"city":"Köln"}'


class Between:
    """Stands where the gateway will. `sent`: what reached the provider; `dropped`: fields that did not."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.dropped: list[str] = []

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
        translator = TRANSLATORS[client, "responses"]()
        sent = orjson.dumps(translator.request(body, ModelFacts(name=facts.model)))
        self.sent.append(orjson.loads(sent))
        self.dropped = list(translator.dropped)
        received = Received(1, 1, 1, "POST", "/", "1.1", HEADERS, sent, 0.0, json=orjson.loads(sent))
        try:
            reply = openai_responses_answers.answer(received, "responses", Memory())
        except RefusedError as error:
            refusal = orjson.dumps({"error": {"message": error.message, "code": error.code}})
            raise RESPONSES.error(error.status, {}, refusal) from None
        if reply.frames is None:
            whole = orjson.dumps(translator.response(orjson.loads(reply.body)))
            return httpx2.Response(200, headers={"content-type": "application/json"}, content=whole)
        out, finished = carried(translator, "responses", reply.frames)
        assert finished
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=out)


@pytest.fixture
def between() -> Between:
    return Between()


@pytest.fixture
def gpt(between: Between) -> Iterator[openai.OpenAI]:
    with httpx2.Client(transport=httpx2.MockTransport(between)) as client:
        yield openai.OpenAI(api_key="k", base_url="http://gateway/v1", http_client=client, max_retries=0)


@pytest.fixture
def claude(between: Between) -> Iterator[anthropic.Anthropic]:
    with httpx2.Client(transport=httpx2.MockTransport(between)) as client:
        yield anthropic.Anthropic(api_key="k", base_url="http://gateway", http_client=client, max_retries=0)


TOOL: Any = {"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}
CLAUDE_TOOL: Any = {"name": "weather", "input_schema": SCHEMA}


def asked(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


@pytest.mark.parametrize("streamed", [True, False])
def test_chat_tool_loop_with_reasoning(gpt: openai.OpenAI, between: Between, streamed: bool) -> None:
    """A model that takes tools with reasoning only here; a client that sends thinking back keeps it."""
    messages: list[Any] = [{"role": "developer", "content": "Be brief."}, *asked(ASK)]
    fields: Any = {
        "model": "gpt-5.5",
        "tools": [TOOL],
        "reasoning_effort": "high",
        "max_completion_tokens": 900,
    }
    message: Any
    if streamed:
        blocks: list[Any] = []
        with gpt.chat.completions.stream(messages=messages, **fields) as stream:
            for event in stream:
                if event.type == "chunk" and event.chunk.choices:
                    blocks += getattr(event.chunk.choices[0].delta, "thinking_blocks", None) or []
            message = stream.get_final_completion().choices[0].message
    else:
        message = gpt.chat.completions.create(messages=messages, **fields).choices[0].message
        blocks = message.thinking_blocks
    assert [json.loads(call.function.arguments)["city"] for call in message.tool_calls] == ["Ulm", "Köln"]
    calls = [
        {"id": c.id, "type": "function", "function": {"name": "weather", "arguments": c.function.arguments}}
        for c in message.tool_calls
    ]
    messages.append({"role": "assistant", "content": None, "tool_calls": calls, "thinking_blocks": blocks})
    messages += [{"role": "tool", "tool_call_id": call["id"], "content": "sun"} for call in calls]
    second = gpt.chat.completions.create(messages=messages, **fields)
    assert second.choices[0].message.content == "The tool said: sun | sun"
    kinds = [item["type"] for item in between.sent[1]["input"]]
    assert kinds == ["message", "message", "reasoning", *["function_call"] * 2, *["function_call_output"] * 2]
    assert between.sent[1]["store"] is False
    assert between.dropped == []
    assert second.usage is not None
    assert second.usage.completion_tokens_details is not None
    assert (second.usage.completion_tokens_details.reasoning_tokens or 0) > 0


@pytest.mark.parametrize("streamed", [True, False])
def test_messages_tool_loop_with_reasoning(
    claude: anthropic.Anthropic, between: Between, streamed: bool
) -> None:
    turns: list[Any] = asked("think:It wants the weather\n" + ASK)
    fields: Any = {
        "model": "gpt-5.5",
        "max_tokens": 4000,
        "tools": [CLAUDE_TOOL],
        "thinking": {"type": "enabled", "budget_tokens": 2000},
        "system": "Be brief.",
    }
    if streamed:
        with claude.messages.stream(messages=turns, **fields) as stream:
            first = stream.get_final_message()
    else:
        first = claude.messages.create(messages=turns, **fields)
    assert [block.type for block in first.content] == ["thinking", "tool_use", "tool_use"]
    thinking: Any = first.content[0]
    assert thinking.signature.startswith("gw1.")
    # Anthropic would show these thoughts; OpenAI tells a summary to who asks for it.
    assert thinking.thinking == "It wants the weather"
    assert first.stop_reason == "tool_use"
    turns.append({"role": "assistant", "content": [block.model_dump() for block in first.content]})
    uses: list[Any] = list(first.content[1:])
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
    results: list[Any] = [
        {"type": "tool_result", "tool_use_id": uses[0].id, "content": "sun"},
        {"type": "tool_result", "tool_use_id": uses[1].id, "content": [picture], "is_error": True},
    ]
    turns.append({"role": "user", "content": results})
    second = claude.messages.create(messages=turns, **fields)
    assert second.stop_reason == "end_turn"
    sent = between.sent[1]
    assert sent["reasoning"] == {"effort": "low", "summary": "auto"}
    kinds = [item["type"] for item in sent["input"]]
    assert kinds == ["message", "message", "reasoning", *["function_call"] * 2, *["function_call_output"] * 2]
    assert [part["type"] for part in sent["input"][-1]["output"]] == ["input_text", "input_image"]
    assert between.dropped == []


@pytest.mark.parametrize(
    ("thinking", "reasoning"),
    [
        ({"type": "enabled", "budget_tokens": 9000, "display": "omitted"}, {"effort": "high"}),
        ({"type": "adaptive"}, {"effort": "medium"}),
        ({"type": "adaptive", "display": "summarized"}, {"effort": "medium", "summary": "auto"}),
        ({"type": "disabled"}, {"effort": "none"}),
    ],
)
def test_thoughts_are_shown_where_claude_would_show_them(
    claude: anthropic.Anthropic, between: Between, thinking: Any, reasoning: Any
) -> None:
    made = claude.messages.create(
        model="gpt-5.5", max_tokens=9999, messages=asked("think:hm\nsay:so"), thinking=thinking
    )
    assert between.sent[0]["reasoning"] == reasoning
    shown = [block.thinking for block in made.content if block.type == "thinking"]
    assert shown == ([] if thinking["type"] == "disabled" else ["hm" if "summary" in reasoning else ""])
    assert between.dropped == []


def test_the_parts_of_a_summary_stand_apart_in_streams_too() -> None:
    item: JsonObject = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAAA"}
    parts = [{"type": "summary_text", "text": text} for text in ("One.", "Two.")]
    thought = {**item, "summary": parts}
    said = {"type": "message", "content": [{"type": "output_text", "text": "So.", "annotations": []}]}
    response = {"object": "response", "status": "completed", "model": "gpt-5.5", "output": [thought, said]}
    events: list[JsonObject] = [
        {"type": "response.created", "response": {**response, "status": "in_progress", "output": []}},
        {"type": "response.output_item.added", "output_index": 0, "item": item},
    ]
    for index, part in enumerate(parts):
        at = {"output_index": 0, "summary_index": index}
        events.append({"type": "response.reasoning_summary_part.added", **at, "part": {**part, "text": ""}})
        events.append({"type": "response.reasoning_summary_text.delta", **at, "delta": part["text"]})
    events += [
        {"type": "response.output_item.done", "output_index": 0, "item": thought},
        {"type": "response.output_text.delta", "output_index": 1, "delta": "So."},
        {"type": "response.completed", "response": response},
    ]
    translator = TRANSLATORS["messages", "responses"]()
    out = b"".join(translator.event(Event("", orjson.dumps(event), b"")) for event in events)
    out += translator.finish()
    told = [event.json() for event in DIALECTS["messages"].framer().feed(out)]
    streamed = "".join(
        e["delta"]["thinking"] for e in told if e.get("delta", {}).get("type") == "thinking_delta"
    )
    whole = TRANSLATORS["messages", "responses"]().response(response)["content"][0]["thinking"]
    assert streamed == whole == "One.\n\nTwo."


def test_searches_and_marks_travel(claude: anthropic.Anthropic, between: Between) -> None:
    mark: Any = {"type": "ephemeral"}
    place: Any = {"type": "approximate", "city": "Ulm", "country": "DE"}
    search: Any = {"type": "web_search_20250305", "name": "web_search", "user_location": place}
    fields: Any = {
        "messages": asked("hi"),
        "system": [{"type": "text", "text": "Be brief.", "cache_control": mark}],
        "tools": [{**search, "allowed_domains": ["example.com"], "max_uses": 3}],
        "tool_choice": {"type": "any"},
    }
    claude.messages.create(model="gpt-5.6", max_tokens=99, **fields)
    sent = between.sent[0]
    filters = {"allowed_domains": ["example.com"]}
    assert sent["tools"] == [{"type": "web_search", "filters": filters, "user_location": place}]
    assert sent["tool_choice"] == "required"
    (part,) = sent["input"][0]["content"]
    assert part["prompt_cache_breakpoint"] == {"mode": "explicit"}
    assert between.dropped == ["tools.max_uses"]


def test_a_chat_client_may_ask_for_a_summary(gpt: openai.OpenAI, between: Between) -> None:
    fields: Any = {"messages": asked("think:hm\nsay:so"), "extra_body": {"reasoning_summary": "detailed"}}
    made: Any = gpt.chat.completions.create(model="gpt-5.5", **fields)
    assert made.choices[0].message.reasoning_content == "hm"
    assert between.sent[0]["reasoning"] == {"summary": "detailed"}
    gpt.chat.completions.create(model="gpt-4o", **fields)
    assert between.dropped == ["reasoning_summary"]


def test_thinking_of_claude_stays_behind(claude: anthropic.Anthropic, between: Between) -> None:
    thought: Any = {"type": "thinking", "thinking": "hm", "signature": "EqRa"}
    turns: list[Any] = [
        *asked("hi"),
        {"role": "assistant", "content": [thought, {"type": "text", "text": "So."}]},
    ]
    claude.messages.create(model="gpt-5", max_tokens=100, messages=[*turns, *asked("go on")])
    assert between.dropped == ["messages.content.thinking"]
    assert [item["type"] for item in between.sent[0]["input"]] == ["message"] * 3


@pytest.mark.parametrize("streamed", [True, False])
def test_custom_tools(gpt: openai.OpenAI, between: Between, streamed: bool) -> None:
    grammar: Any = {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: /x/"}}
    tool: Any = {"type": "custom", "custom": {"name": "patch", "format": grammar}}
    messages = asked('call:patch {"a"')
    if streamed:
        chunks = gpt.chat.completions.create(model="gpt-5", messages=messages, tools=[tool], stream=True)
        pieces: list[Any] = [p.to_dict() for c in chunks for p in c.choices[0].delta.tool_calls or ()]
        call: Any = {"id": pieces[0]["id"], "type": "custom", "custom": {"name": "patch", "input": ""}}
        for piece in pieces:
            call["custom"]["input"] += piece["custom"]["input"]
    else:
        made = gpt.chat.completions.create(model="gpt-5", messages=messages, tools=[tool])
        call = (made.choices[0].message.tool_calls or [])[0].to_dict()
    assert call["custom"] == {"name": "patch", "input": '{"a"'}
    assert between.sent[0]["tools"][0]["format"] == {"type": "grammar", **grammar["grammar"]}
    messages.append({"role": "assistant", "content": None, "tool_calls": [call]})
    messages.append({"role": "tool", "tool_call_id": call["id"], "content": "done"})
    second = gpt.chat.completions.create(model="gpt-5", messages=messages, tools=[tool])
    assert second.choices[0].message.content == "The tool said: done"


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize(
    ("text", "finish", "content", "refusal"),
    [
        ("say:naïve \u2028 ✓", "stop", "naïve \u2028 ✓", None),
        ("refuse:No.", "stop", None, "No."),
        ("count:50", "length", "word1 word2", None),
    ],
)
def test_chat_answers(
    gpt: openai.OpenAI, streamed: bool, text: str, finish: str, content: str | None, refusal: str | None
) -> None:
    fields: Any = {"model": "gpt-4o", "messages": asked(text), "max_tokens": 20}
    if streamed:
        chunks = list(
            gpt.chat.completions.create(**fields, stream=True, stream_options={"include_usage": True})
        )
        assert chunks[-1].usage is not None
        deltas = [c.choices[0].delta for c in chunks if c.choices]
        said = "".join(d.content or "" for d in deltas) or None
        refused = "".join(d.refusal or "" for d in deltas) or None
        assert chunks[-2].choices[0].finish_reason == finish
    else:
        made = gpt.chat.completions.create(**fields)
        assert made.usage is not None
        said, refused = made.choices[0].message.content, made.choices[0].message.refusal
        assert made.choices[0].finish_reason == finish
    assert (said or "")[: len(content or "")] == (content or "")
    assert refused == refusal


def test_everything_that_responses_know_arrives(gpt: openai.OpenAI, between: Between) -> None:
    file = {
        "filename": "a.pdf",
        "file_data": "data:application/pdf;base64," + base64.b64encode(b"%PDF-").decode(),
    }
    fields: Any = {
        "model": "gpt-4o",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "in JSON"},
                    {
                        "type": "image_url",
                        "image_url": {"url": f"data:image/png;base64,{PNG}", "detail": "low"},
                    },
                    {"type": "file", "file": file},
                ],
            },
        ],
        "max_tokens": 3,
        "temperature": 0.5,
        "top_p": 0.9,
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}},
        "tools": [TOOL],
        "tool_choice": {"type": "function", "function": {"name": "weather"}},
        "parallel_tool_calls": False,
        "logprobs": True,
        "top_logprobs": 2,
        "metadata": {"a": "b"},
        "user": "u",
        "seed": 7,
        "stop": ["x"],
    }
    gpt.chat.completions.create(**fields)
    assert sorted(between.dropped) == ["max_tokens", "seed", "stop"]
    sent = between.sent[0]
    assert sent["input"][1]["content"] == [
        {"type": "input_text", "text": "in JSON"},
        {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}", "detail": "low"},
        {"type": "input_file", **file},
    ]
    assert sent["text"] == {"format": {"type": "json_schema", "name": "x", "schema": SCHEMA}}
    assert sent["tools"] == [{"type": "function", "name": "weather", "parameters": SCHEMA, "strict": False}]
    assert sent["tool_choice"] == {"type": "function", "name": "weather"}
    assert (sent["max_output_tokens"], sent["temperature"], sent["top_p"]) == (16, 0.5, 0.9)
    assert sent["include"] == ["message.output_text.logprobs"]
    assert (sent["top_logprobs"], sent["metadata"], sent["user"]) == (2, {"a": "b"}, "u")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 2}, "n"),
        ({"audio": {"voice": "a", "format": "wav"}}, "modalities"),
        (
            {"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]},
            "messages[0].content[0].type",
        ),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id"),
        ({"tools": [{"type": "x"}]}, "tools[0].type"),
        ({"tools": [TOOL], "tool_choice": "x"}, "tool_choice"),
        ({"reasoning_effort": "lots"}, "reasoning_effort"),
        ({"model": "gpt-5", "extra_body": {"reasoning_summary": "lots"}}, "reasoning_summary"),
    ],
)
def test_what_cannot_travel(gpt: openai.OpenAI, fields: Any, param: str) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        gpt.chat.completions.create(**{"model": "gpt-4o", "messages": asked("hi"), **fields})
    assert refused.value.param == param


def test_legacy_functions_and_completions(gpt: openai.OpenAI) -> None:
    function: Any = TOOL["function"]
    made = gpt.chat.completions.create(
        model="gpt-4o", messages=asked('call:weather {"city":"Ulm"}'), functions=[function]
    )
    call = made.choices[0].message.function_call
    assert call is not None
    assert (made.choices[0].finish_reason, call.arguments) == ("function_call", '{"city":"Ulm"}')
    history: list[Any] = [
        *asked("x"),
        {"role": "assistant", "content": None, "function_call": call.to_dict()},
        {"role": "function", "name": "weather", "content": "sun"},
    ]
    second = gpt.chat.completions.create(model="gpt-4o", messages=history, functions=[function])
    assert second.choices[0].message.content == "The tool said: sun"
    assert gpt.completions.create(model="gpt-4o", prompt="say:hi").choices[0].text == "hi"


# --- Hostile providers

_SCALARS = st.none() | st.integers(-1, 3) | st.sampled_from(["", "x", "{}", "c1"])
_ITEM: st.SearchStrategy[JsonObject] = st.fixed_dictionaries(
    {"type": st.sampled_from(["message", "reasoning", "function_call", "custom_tool_call", "x"])},
    optional={
        "content": st.lists(
            st.fixed_dictionaries(
                {"type": st.sampled_from(["output_text", "refusal", "x"])},
                optional={
                    "text": _SCALARS,
                    "refusal": _SCALARS,
                    "annotations": st.lists(TREES, max_size=1) | _SCALARS,
                    "logprobs": st.lists(TREES, max_size=1) | _SCALARS,
                },
            )
            | TREES,
            max_size=2,
        )
        | _SCALARS,
        "summary": st.lists(TREES, max_size=2) | _SCALARS,
        "encrypted_content": _SCALARS,
        "id": _SCALARS,
        "call_id": _SCALARS,
        "name": _SCALARS,
        "arguments": _SCALARS | TREES,
        "input": _SCALARS,
    },
)
_RESPONSE: st.SearchStrategy[JsonObject] = st.fixed_dictionaries(
    {"object": st.just("response"), "output": st.lists(_ITEM, max_size=3)},
    optional={
        "status": st.sampled_from(["completed", "completed", "incomplete", "failed", "queued", None, 5]),
        "incomplete_details": TREES | _SCALARS | st.just({"reason": []}),
        "error": TREES | _SCALARS,
        "model": _SCALARS,
        "usage": TREES | st.just({"input_tokens": 1, "output_tokens": 1}) | _SCALARS,
        "service_tier": _SCALARS,
    },
)
_EVENT: st.SearchStrategy[JsonObject] = st.fixed_dictionaries(
    {
        "type": st.sampled_from(
            [
                "response.created",
                "response.completed",
                "response.incomplete",
                "response.output_item.added",
                "response.output_item.done",
                "response.output_text.delta",
                "response.output_text.annotation.added",
                "response.function_call_arguments.delta",
                "response.custom_tool_call_input.delta",
                "response.reasoning_summary_text.delta",
                "response.refusal.delta",
                "x",
            ]
        )
    },
    optional={
        "response": _RESPONSE | TREES,
        "item": _ITEM | TREES,
        "output_index": st.integers(0, 1) | _SCALARS | st.just([]),
        "delta": st.just("{}") | _SCALARS,
        "annotation": TREES | _SCALARS,
        "logprobs": st.lists(TREES, max_size=1) | _SCALARS,
    },
)
FUZZ = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
CLIENTS = ["chat", "messages", "completions"]


@pytest.mark.parametrize("client", CLIENTS)
@FUZZ
@given(answer=_RESPONSE)
def test_any_answer_is_translated_or_refused(client: str, answer: JsonObject) -> None:
    status = 502
    try:
        orjson.dumps(TRANSLATORS[client, "responses"]().response(answer))
    except GatewayError as error:
        status = error.fault.status
    assert status in (429, 502, 503, 504, 400, 404)


@pytest.mark.parametrize("client", CLIENTS)
@FUZZ
@given(events=st.lists(_EVENT, max_size=6))
def test_any_stream_is_translated_or_refused(client: str, events: list[JsonObject]) -> None:
    translator = TRANSLATORS[client, "responses"]()
    framer = DIALECTS[client].framer()
    out = b""
    code = "upstream_truncated"
    try:
        for one in events:
            out += translator.event(Event("", orjson.dumps(one), b""))
        out += translator.finish()
    except GatewayError as error:
        code = error.code
    assert code in ("upstream_invalid_response", "upstream_truncated")
    assert all(event.data == b"[DONE]" or isinstance(event.json(), dict) for event in framer.feed(out))
    assert not framer.pending()
