"""The official SDK asks strict fakes of three providers through the pairs of responses."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import openai
import orjson
import pytest
from openai.types.responses import Response
from pydantic import BaseModel

from dialects.errors import UPSTREAM_BAD, GatewayError, render
from dialects.parse import parse_json
from dialects.responses import RESPONSES
from dialects.table import DIALECTS, TRANSLATORS
from dialects.tests.pair_support import carried, steady
from dialects.types import ModelFacts
from tests.support.upstream import anthropic_answers, ollama_answers, openai_answers
from tests.support.upstream.memory import Memory
from tests.support.upstream.refused import RefusedError
from tests.support.upstream.script import Reply
from tests.support.upstream.wire import Received

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
HEADERS = [
    ("authorization", "Bearer sk-x"),
    ("x-api-key", "sk-x"),
    ("anthropic-version", "2023-06-01"),
    ("content-type", "application/json"),
]
# A model's provider: the dialect, the fake and its endpoint.
PROVIDERS: dict[str, tuple[str, Callable[[Received, str, Memory], Reply], str]] = {
    "gpt": ("chat", openai_answers.answer, "chat/completions"),
    "cla": ("messages", anthropic_answers.answer, "messages"),
    "": ("ollama_chat", ollama_answers.answer, "chat"),
}
MODELS = ("gpt-4o", "claude-sonnet-4-5", "llama3.2")


class Between:
    """Stands where the gateway will. `sent`: the bodies that reached the provider; `dropped`: the client's
    fields that did not; `cut`: break a stream after so many of its events."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.dropped: list[str] = []
        self.cut: int | None = None

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        assert request.url.path == "/v1/responses"
        try:
            return self._answer(request.read())
        except GatewayError as error:
            status, headers, body = render("openai", error, "req_1")
            return httpx2.Response(status, headers=headers, content=body)

    def _answer(self, raw: bytes) -> httpx2.Response:
        body = parse_json(raw)
        facts = RESPONSES.facts(body)
        upstream, answer, endpoint = PROVIDERS.get(facts.model[:3], PROVIDERS[""])
        translator = TRANSLATORS["responses", upstream]()
        sent = orjson.dumps(translator.request(body, ModelFacts(name=facts.model)))
        self.sent.append(orjson.loads(sent))
        self.dropped = list(translator.dropped)
        received = Received(1, 1, 1, "POST", "/", "1.1", HEADERS, sent, 0.0, json=orjson.loads(sent))
        try:
            reply = answer(received, endpoint, Memory())
        except RefusedError as error:
            refusal = orjson.dumps({"error": {"message": error.message, "code": error.code}})
            raise DIALECTS[upstream].error(error.status, {}, refusal) from None
        if reply.frames is None:
            whole = orjson.dumps(translator.response(orjson.loads(reply.body)))
            return httpx2.Response(200, headers={"content-type": "application/json"}, content=whole)
        out, finished = carried(translator, upstream, reply.frames[: self.cut])
        assert finished is (self.cut is None)
        if not finished:
            out += RESPONSES.error_event(GatewayError(UPSTREAM_BAD, "The provider broke off."), "req_1")
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=out)


@pytest.fixture
def between() -> Between:
    return Between()


@pytest.fixture
def gpt(between: Between) -> Iterator[openai.OpenAI]:
    with httpx2.Client(transport=httpx2.MockTransport(between)) as client:
        yield openai.OpenAI(api_key="k", base_url="http://gateway/v1", http_client=client, max_retries=0)


WEATHER: Any = {
    "type": "function",
    "name": "weather",
    "description": "The weather of a city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "strict": True,
}
PATCH: Any = {"type": "custom", "name": "apply_patch", "description": "Changes files."}
CRM: Any = {
    "type": "namespace",
    "name": "crm",
    "description": "Customers.",
    "tools": [{"type": "function", "name": "find", "parameters": {"type": "object", "properties": {}}}],
}


def asked(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


def kinds(response: Response) -> list[str]:
    return [item.type for item in response.output]


def stream(gpt: openai.OpenAI, **fields: Any) -> Response:
    """The response as the SDK's own accumulator has it, and checked against its events."""
    with gpt.responses.stream(**fields) as events:
        seen = list(events)
        final = events.get_final_response()
    assert [event.sequence_number for event in seen] == list(range(len(seen)))
    assert [event.type for event in seen[:2]] == ["response.created", "response.in_progress"]
    deltas = "".join(event.delta for event in seen if event.type == "response.output_text.delta")
    assert deltas == final.output_text
    done = {event.output_index: event.item for event in seen if event.type == "response.output_item.done"}
    assert [done[index].to_dict() for index in sorted(done)] == [
        {k: v for k, v in item.to_dict().items() if k != "parsed_arguments"} for item in _plain(final)
    ]
    return Response.model_validate(_raw(final), strict=True)


def _plain(final: Any) -> list[Any]:
    return list(Response.model_validate(_raw(final)).output)


def _raw(final: Any) -> dict[str, Any]:
    """What came over the wire, without what the SDK parsed of it."""
    raw: dict[str, Any] = final.to_dict()
    for item in raw["output"]:
        item.pop("parsed_arguments", None)
        for part in item.get("content") or ():
            part.pop("parsed", None)
    return raw


def same(whole: Response, streamed: Response) -> None:
    """Both are the same response, ids and times apart."""
    texts = [
        re.sub(r'"(created_at|completed_at)": ?[\d.]+', "", steady(one.model_dump_json()))
        for one in (whole, streamed)
    ]
    assert texts[0] == texts[1]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    "text",
    ["say:naïve ✓ 你好 \u2028 x", 'call:weather {"city":"Ulm"}\ncall:weather {"city":"Köln"}', "refuse:No."],
)
def test_a_stream_comes_to_the_same_response(gpt: openai.OpenAI, model: str, text: str) -> None:
    fields: Any = {"model": model, "input": text, "tools": [WEATHER], "instructions": "Be brief."}
    if text.startswith("refuse") and model.startswith("claude"):
        # That provider's refusal leaves the answer incomplete, of which the SDK's helper has no final.
        whole = gpt.responses.create(**fields)
        assert whole.status == "incomplete"
        assert whole.incomplete_details is not None
        assert whole.incomplete_details.reason == "content_filter"
        return
    whole = gpt.responses.create(**fields)
    same(whole, stream(gpt, **fields))
    assert whole.status == "completed"
    assert whole.instructions == "Be brief."
    assert whole.to_dict()["store"] is False
    assert whole.usage is not None
    assert whole.usage.total_tokens == whole.usage.input_tokens + whole.usage.output_tokens > 2


@pytest.mark.parametrize("model", MODELS)
def test_tool_loop(gpt: openai.OpenAI, between: Between, model: str) -> None:
    history = asked('call:weather {"city":"Ulm"}\ncall:weather {"city":"Köln"}')
    first = gpt.responses.create(model=model, input=history, tools=[WEATHER])
    assert kinds(first) == ["function_call", "function_call"]
    calls: list[Any] = first.output
    assert [orjson.loads(call.arguments)["city"] for call in calls] == ["Ulm", "Köln"]
    history += [call.to_dict() for call in calls]
    history += [
        {"type": "function_call_output", "call_id": calls[1].call_id, "output": "rain"},
        {
            "type": "function_call_output",
            "call_id": calls[0].call_id,
            "output": [{"type": "input_text", "text": "sun"}],
        },
    ]
    second = gpt.responses.create(model=model, input=history, tools=[WEATHER])
    assert second.output_text == "The tool said: sun | rain"


@pytest.mark.parametrize("model", ["claude-sonnet-4-5", "claude-sonnet-4-6", "claude-opus-4-7"])
@pytest.mark.parametrize("order", ["think:It is late.", "redact:"])
@pytest.mark.parametrize("streamed", [True, False])
def test_thinking_survives_a_tool_loop(
    gpt: openai.OpenAI, between: Between, model: str, order: str, streamed: bool
) -> None:
    """The provider takes back only what it signed, byte for byte, and refuses to think on without it."""
    history = asked(f'{order}\ncall:weather {{"city":"Ulm"}}')
    fields: Any = {"model": model, "tools": [WEATHER], "reasoning": {"effort": "high", "summary": "auto"}}
    fields["max_output_tokens"] = 20000
    ask: Any = (lambda **more: stream(gpt, **fields, **more)) if streamed else gpt.responses.create
    more = {} if streamed else fields
    first = ask(input=history, **more)
    assert kinds(first) == ["reasoning", "function_call"]
    reasoning: Any = first.output[0]
    assert [part.text for part in reasoning.summary] == (["It is late."] if order != "redact:" else [])
    assert reasoning.encrypted_content.startswith("gw1.")
    assert first.usage.output_tokens_details.reasoning_tokens > 0
    history += [item.to_dict() for item in first.output]
    history.append({"type": "function_call_output", "call_id": first.output[1].call_id, "output": "sun"})
    second = ask(input=history, **more)
    assert kinds(second) == ["reasoning", "message"]
    assert second.output_text == "The tool said: sun"
    block = between.sent[1]["messages"][1]["content"][0]
    assert block["type"] == ("redacted_thinking" if order == "redact:" else "thinking")
    assert between.sent[1]["thinking"]["type"] in ("enabled", "adaptive")
    assert between.dropped == []


def test_reasoning_of_a_model_that_does_not_sign(gpt: openai.OpenAI, between: Between) -> None:
    history = asked('think:hm\ncall:weather {"city":"Ulm"}')
    fields: Any = {"model": "qwen3:8b", "tools": [WEATHER], "reasoning": {"effort": "high"}}
    first = stream(gpt, input=history, **fields)
    same(gpt.responses.create(input=history, **fields), first)
    assert kinds(first) == ["reasoning", "function_call"]
    # Sealed all the same: there are clients that send back only reasoning that is.
    thought: Any = first.output[0]
    history += [{**thought.to_dict(), "summary": []}, first.output[1].to_dict()]
    call: Any = first.output[1]
    history.append({"type": "function_call_output", "call_id": call.call_id, "output": "sun"})
    gpt.responses.create(input=history, **fields)
    assert between.sent[-1]["messages"][1]["thinking"] == "hm"
    # A provider of chat completions gets no reasoning back, and it is said.
    gpt.responses.create(model="gpt-4o", input=history, tools=[WEATHER])
    assert between.dropped == ["input.reasoning"]


class Place(BaseModel):
    """What the structured answers are."""

    city: str


@pytest.mark.parametrize("model", [*MODELS, "claude-3-5-haiku-latest"])
def test_structured_output(gpt: openai.OpenAI, model: str) -> None:
    parsed = gpt.responses.parse(model=model, input="where?", text_format=Place)
    assert isinstance(parsed.output_parsed, Place)
    with gpt.responses.stream(model=model, input="where?", text_format=Place) as events:
        assert events.get_final_response().output_parsed == parsed.output_parsed


@pytest.mark.parametrize("model", MODELS)
def test_custom_tools_and_namespaces(gpt: openai.OpenAI, between: Between, model: str) -> None:
    history = asked('call:apply_patch {"input":"*** Begin \\"x\\""}\ncall:crm__find {}')
    tools = [PATCH, CRM, {"type": "web_search"}]
    first = stream(gpt, model=model, input=history, tools=tools)
    same(gpt.responses.create(model=model, input=history, tools=tools), first)
    assert between.dropped == ["tools.web_search"]
    patch: Any = first.output[0]
    found: Any = first.output[1]
    assert (patch.type, patch.name, patch.input) == ("custom_tool_call", "apply_patch", '*** Begin "x"')
    assert (found.type, found.name, found.namespace) == ("function_call", "find", "crm")
    history += [patch.to_dict(), found.to_dict()]
    history += [
        {"type": "custom_tool_call_output", "call_id": patch.call_id, "output": "done"},
        {"type": "function_call_output", "call_id": found.call_id, "output": "none"},
    ]
    second = gpt.responses.create(model=model, input=history, tools=tools)
    assert second.output_text == "The tool said: done | none"


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    ("choice", "name"),
    [
        ("none", None),
        ("required", "weather"),
        ({"type": "function", "name": "find"}, "find"),
        ({"type": "custom", "name": "apply_patch"}, "apply_patch"),
        (
            {
                "type": "allowed_tools",
                "mode": "required",
                "tools": [{"type": "custom", "name": "apply_patch"}],
            },
            "apply_patch",
        ),
    ],
)
def test_tool_choice(gpt: openai.OpenAI, between: Between, model: str, choice: Any, name: str | None) -> None:
    made = gpt.responses.create(model=model, input="hi", tools=[WEATHER, PATCH, CRM], tool_choice=choice)
    called: list[Any] = [item for item in made.output if item.type != "message"]
    if model == "llama3.2" and name:
        # That provider cannot be forced, and it is named.
        assert between.dropped[-1:] == ["tool_choice"]
    else:
        assert [item.name for item in called] == ([name] if name else [])


def test_pictures_in_results(gpt: openai.OpenAI, between: Between) -> None:
    picture = {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}", "detail": "auto"}
    history = [
        *asked("look"),
        {"type": "function_call", "call_id": "call_1", "name": "shoot", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "call_1", "output": [picture]},
    ]
    gpt.responses.create(model="claude-sonnet-4-5", input=history)
    result = between.sent[0]["messages"][2]["content"][0]
    assert result["content"][0]["source"] == {"type": "base64", "media_type": "image/png", "data": PNG}
    gpt.responses.create(model="gpt-4o", input=history)
    assert [message["role"] for message in between.sent[1]["messages"]] == [
        "user",
        "assistant",
        "tool",
        "user",
    ]
    assert between.sent[1]["messages"][2]["content"] == "[image attached below]"


@pytest.mark.parametrize("model", MODELS)
def test_an_answer_cut_short(gpt: openai.OpenAI, model: str) -> None:
    made = gpt.responses.create(model=model, input="count:50", max_output_tokens=16)
    assert made.status == "incomplete"
    assert made.incomplete_details is not None
    assert made.incomplete_details.reason == "max_output_tokens"
    assert made.output_text.startswith("word1 word2")
    message: Any = made.output[0]
    assert message.status == "incomplete"
    events = list(gpt.responses.create(model=model, input="count:50", max_output_tokens=16, stream=True))
    last: Any = events[-1]
    assert last.type == "response.incomplete"
    same(made, last.response)


@pytest.mark.parametrize("model", MODELS)
def test_a_stream_that_breaks_is_an_exception(gpt: openai.OpenAI, between: Between, model: str) -> None:
    between.cut = 5
    with (
        pytest.raises(openai.APIError, match="The provider broke off") as raised,
        gpt.responses.stream(model=model, input="count:50") as events,
    ):
        events.until_done()
    assert raised.value.code == "upstream_error"


def test_log_probabilities(gpt: openai.OpenAI) -> None:
    fields: Any = {"model": "gpt-4o", "input": "say:hello", "include": ["message.output_text.logprobs"]}
    whole = gpt.responses.create(**fields)
    streamed = stream(gpt, **fields)
    for one in (whole, streamed):
        part: Any = one.output[0]
        assert "".join(entry.token for entry in part.content[0].logprobs) == "hello"


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id", "previous_response_not_found"),
        ({"conversation": "conv_1"}, "conversation", "previous_response_not_found"),
        ({"background": True}, "background", "unsupported_value"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt", "unsupported_value"),
        ({"tools": [{"type": "web_search"}], "tool_choice": "required"}, "tool_choice", "unsupported_value"),
        (
            {"tools": [WEATHER, {"type": "web_search"}], "tool_choice": {"type": "web_search"}},
            "tool_choice",
            "unsupported_value",
        ),
        (
            {"input": [{"type": "item_reference", "id": "msg_1"}]},
            "input[0].type",
            "previous_response_not_found",
        ),
        (
            {"input": [*asked("hi"), {"type": "function_call_output", "call_id": "c", "output": "x"}]},
            "input[1].call_id",
            "invalid_value",
        ),
        (
            {
                "input": [
                    *asked("hi"),
                    {"type": "function_call", "call_id": "c", "name": "f", "arguments": ""},
                ]
            },
            "input",
            "invalid_value",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "file-1"}]}]},
            "input[0].content[0].image_url",
            "unsupported_content",
        ),
    ],
)
def test_what_cannot_travel(gpt: openai.OpenAI, model: str, fields: Any, param: str, code: str) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        gpt.responses.create(**{"model": model, "input": "hi", **fields})
    assert (refused.value.param, refused.value.code) == (param, code)


def test_a_refusal_of_the_second_half_names_the_clients_field(gpt: openai.OpenAI) -> None:
    audio = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
    history: Any = [*asked("hi"), {"role": "user", "content": [{"type": "input_text", "text": "x"}, audio]}]
    with pytest.raises(openai.BadRequestError) as refused:
        gpt.responses.create(model="claude-sonnet-4-5", instructions="Be brief.", input=history)
    assert refused.value.param == "input[1].content[1].type"
    assert "'input[1].content[1].type': audio" in refused.value.message
    with pytest.raises(openai.BadRequestError) as prefilled:
        gpt.responses.create(model="claude-opus-4-7", input=[{"role": "assistant", "content": "So"}])
    assert prefilled.value.param == "input"


def test_losses_are_named_in_the_clients_words(gpt: openai.OpenAI, between: Between) -> None:
    gpt.responses.create(
        model="claude-opus-4-7",
        input="hi",
        temperature=0.5,
        top_logprobs=3,
        max_tool_calls=3,
        truncation="auto",
        store=True,
        metadata={"a": "b"},
        prompt_cache_key="k",
        text={"verbosity": "low"},
        extra_body={"client_metadata": {"a": "b"}, "surprise": 1},
    )
    assert sorted(between.dropped) == [
        "max_tool_calls",
        "metadata",
        "prompt_cache_key",
        "store",
        "surprise",
        "temperature",
        "text.verbosity",
        "top_logprobs",
        "truncation",
    ]


def test_everything_that_chat_knows_arrives(gpt: openai.OpenAI, between: Between) -> None:
    made = gpt.responses.create(
        model="gpt-5",
        instructions="Be brief.",
        input=[{"role": "developer", "content": "And in JSON."}, *asked("hi")],
        max_output_tokens=500,
        reasoning={"effort": "low", "summary": "auto"},
        text={"verbosity": "low", "format": {"type": "json_object"}},
        metadata={"a": "b"},
        user="u",
        safety_identifier="s",
        prompt_cache_key="k",
        service_tier="flex",
        parallel_tool_calls=False,
        tools=[WEATHER],
        tool_choice="auto",
        store=False,
    )
    assert between.dropped == []
    assert between.sent[0] == {
        "model": "gpt-5",
        "messages": [
            {"role": "developer", "content": "Be brief."},
            {"role": "developer", "content": "And in JSON."},
            {"role": "user", "content": "hi"},
        ],
        "max_completion_tokens": 500,
        "reasoning_effort": "low",
        "verbosity": "low",
        "response_format": {"type": "json_object"},
        "metadata": {"a": "b"},
        "user": "u",
        "safety_identifier": "s",
        "prompt_cache_key": "k",
        "service_tier": "flex",
        "parallel_tool_calls": False,
        "tools": [
            {"type": "function", "function": {k: v for k, v in WEATHER.items() if k != "type"}},
        ],
        "tool_choice": "auto",
    }
    assert made.service_tier == "default"
    assert made.metadata == {"a": "b"}
    assert (made.user, made.safety_identifier, made.prompt_cache_key) == ("u", "s", "k")
    assert made.reasoning is not None
    assert made.reasoning.effort == "low"
    assert made.text is not None
    assert (made.text.verbosity, made.parallel_tool_calls) == ("low", False)
