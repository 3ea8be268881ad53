"""The fake of OpenAI's responses, judged by the official SDK and by what OpenAI refuses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.support.fake_upstream import FakeUpstream

WEATHER: Any = {
    "type": "function",
    "name": "weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}
PATCH: Any = {"type": "custom", "name": "patch"}
REASONING: Any = {"type": "reasoning", "id": "rs_1", "summary": []}


@pytest.fixture
def client(fake_upstream: FakeUpstream) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=fake_upstream.openai_url, api_key="sk-test", max_retries=0) as client:
        yield client


def _call(call_id: str, **fields: Any) -> Any:
    return {"type": "function_call", "call_id": call_id, "name": "weather", "arguments": "{}", **fields}


def _output(call_id: str) -> Any:
    return {"type": "function_call_output", "call_id": call_id, "output": "sun"}


@pytest.mark.parametrize(
    "fields",
    [
        {"model": "gpt-4o", "input": "say:naïve ✓"},
        {"model": "gpt-4o", "input": "refuse:No."},
        {"model": "gpt-5", "input": "think:hm", "reasoning": {"effort": "low", "summary": "auto"}},
        {"model": "gpt-5", "input": 'call:weather {"city":"Ulm"}\ncall:patch x', "tools": [WEATHER, PATCH]},
    ],
)
def test_a_stream_is_the_same_response(client: openai.OpenAI, fields: Any) -> None:
    whole = client.responses.create(**fields)
    with client.responses.stream(**fields) as stream:
        events = list(stream)
        final = stream.get_final_response()
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [item.type for item in final.output] == [item.type for item in whole.output]
    assert final.output_text == whole.output_text
    assert final.usage == whole.usage


def test_calls_reasoning_and_results(client: openai.OpenAI) -> None:
    history: list[Any] = [{"role": "user", "content": 'call:weather {"city":"Ulm"}'}]
    first = client.responses.create(model="gpt-5", input=history, tools=[WEATHER], store=False)
    assert [item.type for item in first.output] == ["reasoning", "function_call"]
    call: Any = first.output[1]
    history += [*(item.to_dict() for item in first.output), _output(call.call_id)]
    second = client.responses.create(model="gpt-5", input=history, tools=[WEATHER], store=False)
    assert second.output_text == "The tool said: sun"


def test_stored_conversations(client: openai.OpenAI) -> None:
    first = client.responses.create(model="gpt-4o", input="call:weather {}", tools=[WEATHER])
    call: Any = first.output[0]
    second = client.responses.create(
        model="gpt-4o", previous_response_id=first.id, input=[_output(call.call_id)], tools=[WEATHER]
    )
    assert second.output_text == "The tool said: sun"
    kept = client.responses.create(model="gpt-4o", input="hi", store=False)
    with pytest.raises(openai.BadRequestError) as refused:
        client.responses.create(model="gpt-4o", previous_response_id=kept.id, input="more")
    assert refused.value.code == "previous_response_not_found"


def test_an_answer_cut_short(client: openai.OpenAI) -> None:
    done = client.responses.create(model="gpt-4o", input="count:50", max_output_tokens=16)
    assert done.status == "incomplete"
    events = list(
        client.responses.create(model="gpt-4o", input="count:50", max_output_tokens=16, stream=True)
    )
    assert events[-1].type == "response.incomplete"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"model": "nobody"}, "does not exist"),
        ({"model": "gpt-3.5-turbo-instruct"}, "cannot be used"),
        ({"extra_body": {"messages": []}}, "Unknown parameter: 'messages'"),
        ({"max_output_tokens": 15}, ">= 16"),
        ({"max_output_tokens": 99999}, "at most"),
        ({"temperature": 3}, "<= 2"),
        ({"temperature": "1"}, "expected a decimal"),
        ({"model": "gpt-5", "temperature": 0.5}, "'temperature' is not supported"),
        ({"reasoning": {"effort": "high"}}, "'reasoning.effort' is not supported"),
        ({"model": "gpt-5", "reasoning": {"effort": "xhigh"}}, "Supported values are"),
        ({"extra_body": {"stream": True, "stream_options": {"include_usage": True}}}, "include_usage"),
        ({"extra_body": {"stream_options": {}}}, "only allowed when 'stream'"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "'tools[0].name'"),
        ({"tools": [{**WEATHER, "strict": True}]}, "Invalid schema for function 'weather'"),
        ({"tools": [{"type": "x"}]}, "Invalid value: 'x'"),
        ({"tool_choice": {"type": "function", "name": "weather"}}, "not found in 'tools'"),
        ({"tool_choice": "sometimes"}, "Supported values are"),
        ({"text": {"format": {"type": "json_schema", "schema": {}}}}, "'text.format.name'"),
        ({"text": {"format": {"type": "json_object"}}}, "the word 'json'"),
        ({"input": [{"role": "tool", "content": "x"}]}, "Supported values are"),
        ({"input": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]}, "Invalid value: 'text'"),
        ({"input": [{"role": "assistant", "content": [{"type": "input_text", "text": "x"}]}]}, "output_text"),
        ({"input": [_call("c", id="call_1"), _output("c")]}, "begins with 'fc'"),
        ({"input": [_call("c" * 65), _output("c" * 65)]}, "maximum length 64"),
        ({"input": [_call("c")]}, "No tool output found"),
        ({"input": [_output("c")]}, "No tool call found"),
        (
            {"input": [{**REASONING, "encrypted_content": "gw1.x"}, _call("c"), _output("c")]},
            "not be verified",
        ),
        ({"input": [REASONING, {"role": "user", "content": "x"}]}, "required following item"),
        ({"input": [{"type": "surprise"}]}, "Invalid value: 'surprise'"),
        ({"input": [{"role": "user", "content": "x", "name": "bob"}]}, "Unknown parameter"),
    ],
)
def test_refusals(client: openai.OpenAI, fields: Any, words: str) -> None:
    with pytest.raises(openai.APIStatusError) as refused:
        client.responses.create(**{"model": "gpt-4o", "input": "hi", **fields})
    assert words in str(refused.value)
