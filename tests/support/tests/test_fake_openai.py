"""The OpenAI fake, judged by the official SDK: it answers what the SDK can read, and refuses what OpenAI
refuses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.support.fake_upstream import FakeUpstream
from tests.support.tests.samples import JPEG, call

WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
TIME: Any = {"type": "function", "function": {"name": "time"}}


@pytest.fixture
def client(fake_upstream: FakeUpstream) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=fake_upstream.openai_url, api_key="sk-test", max_retries=0) as client:
        yield client


def _user(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


def test_chat(client: openai.OpenAI, fake_upstream: FakeUpstream) -> None:
    done = client.chat.completions.create(model="gpt-4o-mini", messages=_user("hi"))
    assert done.choices[0].message.content == "Hello from gpt-4o-mini. You said: hi"
    assert done.choices[0].finish_reason == "stop"
    assert done.usage is not None
    assert (done.usage.completion_tokens, done.usage.total_tokens) == (9, 9 + done.usage.prompt_tokens)
    assert fake_upstream.last.header("authorization") == "Bearer sk-test"


def test_the_same_request_gets_the_same_answer(fake_upstream: FakeUpstream) -> None:
    body = {"model": "gpt-4o-mini", "messages": _user("hi")}
    first = call(fake_upstream.openai_url + "/chat/completions", body)
    fake_upstream.reset()
    assert call(fake_upstream.openai_url + "/chat/completions", body) == first


@pytest.mark.parametrize("include", [True, False])
def test_stream(client: openai.OpenAI, include: bool) -> None:
    options: Any = {"stream_options": {"include_usage": True}} if include else {}
    chunks = list(
        client.chat.completions.create(
            model="gpt-4o", messages=_user("say:naïve ✓ 你好"), stream=True, **options
        )
    )
    assert len({chunk.id for chunk in chunks}) == 1
    texts = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(texts) == "naïve ✓ 你好"
    assert chunks[0].choices[0].delta.role == "assistant"
    usages = [chunk.usage for chunk in chunks if chunk.usage is not None]
    assert [chunk.choices for chunk in chunks].count([]) == len(usages) == (1 if include else 0)
    finishes = [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices]
    assert finishes[-1] == "stop"
    assert set(finishes[:-1]) == {None}


def test_parallel_tool_calls_and_their_results(client: openai.OpenAI) -> None:
    orders = 'call:weather {"city":"Zürich \\"x\\""}\ncall:time'
    asked = _user(orders)
    done = client.chat.completions.create(model="gpt-4o", messages=asked, tools=[WEATHER, TIME]).choices[0]
    assert done.finish_reason == "tool_calls"
    assert done.message.content is None
    calls: list[Any] = list(done.message.tool_calls or ())
    assert [(one.function.name, json.loads(one.function.arguments)) for one in calls] == [
        ("weather", {"city": 'Zürich "x"'}),
        ("time", {}),
    ]
    results = [
        {"role": "tool", "tool_call_id": one.id, "content": f"{k} degrees"} for k, one in enumerate(calls)
    ]
    history = [*asked, done.message.model_dump(exclude_none=True), *results]
    for message in history:
        message.pop("annotations", None)
    final = client.chat.completions.create(model="gpt-4o", messages=history, tools=[WEATHER, TIME])
    assert final.choices[0].message.content == "The tool said: 0 degrees | 1 degrees"


def test_streamed_tool_calls_add_up(client: openai.OpenAI) -> None:
    orders = 'call:weather {"city":"Zürich \\u2603"}\ncall:time'
    with client.chat.completions.stream(
        model="gpt-4o", messages=_user(orders), tools=[WEATHER, TIME]
    ) as stream:
        message = stream.get_final_completion().choices[0].message
    calls: list[Any] = list(message.tool_calls or ())
    assert [json.loads(one.function.arguments) for one in calls] == [{"city": "Zürich ☃"}, {}]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [("none", None), ("required", "weather"), ({"type": "function", "function": {"name": "time"}}, "time")],
)
def test_tool_choice(client: openai.OpenAI, choice: Any, expected: str | None) -> None:
    done = client.chat.completions.create(
        model="gpt-4o",
        messages=_user("hi"),
        tools=[WEATHER, TIME],
        tool_choice=choice,
    )
    calls: list[Any] = list(done.choices[0].message.tool_calls or ())
    assert [one.function.name for one in calls] == ([expected] if expected else [])


def test_limits_stops_refusals_and_several_choices(client: openai.OpenAI) -> None:
    cut = client.chat.completions.create(model="gpt-4o", messages=_user("count:50"), max_tokens=2).choices[0]
    assert (cut.finish_reason, cut.message.content) == ("length", "word1 wo")
    stopped = client.chat.completions.create(model="gpt-4o", messages=_user("count:9"), stop="word3").choices[
        0
    ]
    assert (stopped.finish_reason, stopped.message.content) == ("stop", "word1 word2 ")
    refused = client.chat.completions.create(model="gpt-4o", messages=_user("refuse:no")).choices[0].message
    assert (refused.content, refused.refusal) == (None, "no")
    assert len(client.chat.completions.create(model="gpt-4o", messages=_user("hi"), n=3).choices) == 3


def test_json_schema_answers_fit_the_schema(client: openai.OpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "array", "items": {"$ref": "#/$defs/c"}}},
        "$defs": {"c": {"enum": ["x", "y"]}},
        "required": ["a", "b"],
        "additionalProperties": False,
    }
    form: Any = {"type": "json_schema", "json_schema": {"name": "n", "strict": True, "schema": schema}}
    done = client.chat.completions.create(model="gpt-4o", messages=_user("hi"), response_format=form)
    assert json.loads(done.choices[0].message.content or "") == {"a": 1, "b": ["x"]}


def test_long_prompts_are_cached_the_second_time(client: openai.OpenAI) -> None:
    def cached() -> int | None:
        done = client.chat.completions.create(model="gpt-4o", messages=_user("x" * 6000))
        assert done.usage is not None
        assert done.usage.prompt_tokens_details is not None
        return done.usage.prompt_tokens_details.cached_tokens

    assert cached() == 0
    assert cached() == 1408


def test_completions(client: openai.OpenAI) -> None:
    done = client.completions.create(model="gpt-3.5-turbo-instruct", prompt=["say:a", "say:b"])
    assert [choice.text for choice in done.choices] == ["a", "b"]
    chunks = list(client.completions.create(model="gpt-3.5-turbo-instruct", prompt="say:hello", stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks) == "hello"


def test_embeddings_in_both_encodings_are_the_same_numbers(
    client: openai.OpenAI, fake_upstream: FakeUpstream
) -> None:
    packed = client.embeddings.create(model="text-embedding-3-small", input=["a", "b"], dimensions=8)
    assert fake_upstream.last.json["encoding_format"] == "base64"
    plain = client.embeddings.create(
        model="text-embedding-3-small", input=["a", "b"], dimensions=8, encoding_format="float"
    )
    assert [one.embedding for one in packed.data] == [one.embedding for one in plain.data]
    assert packed.data[0].embedding != packed.data[1].embedding
    assert len(packed.data[0].embedding) == 8


def test_models(client: openai.OpenAI) -> None:
    assert "gpt-4o-mini" in [model.id for model in client.models.list()]
    assert client.models.retrieve("gpt-4o").id == "gpt-4o"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-nine")


def test_the_sdk_reads_a_refusal(client: openai.OpenAI, fake_upstream: FakeUpstream) -> None:
    with pytest.raises(openai.NotFoundError) as info:
        client.chat.completions.create(model="gpt-nine", messages=_user("hi"))
    assert (info.value.code, info.value.type) == ("model_not_found", "invalid_request_error")
    assert (
        fake_upstream.last.refusal == "The model `gpt-nine` does not exist or you do not have access to it."
    )


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (None, "You didn't provide an API key"),
        ("Basic x", "You didn't"),
        ("Bearer gw-secret", "Incorrect API key provided"),
    ],
)
def test_keys(fake_upstream: FakeUpstream, key: str | None, message: str) -> None:
    headers = {"authorization": key} if key else {}
    body = {"model": "gpt-4o", "messages": _user("hi")}
    status, answer = call(fake_upstream.openai_url + "/chat/completions", body, headers=headers)
    assert status == 401
    assert message in answer["error"]["message"]
    assert set(answer["error"]) == {"message", "type", "param", "code"}


ASSISTANT: dict[str, Any] = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
}
RESULT = {"role": "tool", "tool_call_id": "call_1", "content": "ok"}


def _called(**changes: Any) -> list[Any]:
    one = {**ASSISTANT["tool_calls"][0], **changes}
    return [*_user("hi"), {**ASSISTANT, "tool_calls": [one]}, {**RESULT, "tool_call_id": one["id"]}]


def _part(part: dict[str, Any], role: str = "user") -> list[Any]:
    return [{"role": role, "content": [part]}]


def _form(schema: dict[str, Any]) -> dict[str, Any]:
    return {
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "n", "strict": True, "schema": schema},
        }
    }


CHAT_REFUSALS: list[tuple[dict[str, Any], str]] = [
    ({"foo": 1}, "Unrecognized request argument supplied: foo"),
    ({"system": "x", "top_k": 1}, "Unrecognized request arguments supplied: system, top_k"),
    ({"messages": None}, "Missing required parameter: 'messages'."),
    ({"messages": []}, "Invalid 'messages': empty array."),
    ({"messages": [{"role": "robot", "content": "x"}]}, "Invalid value: 'robot'."),
    ({"messages": [{"role": "user", "content": None}]}, "expected a string, got null"),
    ({"messages": [{"role": "user", "content": 5}]}, "expected one of a string or array of objects"),
    ({"messages": [{"role": "assistant", "content": None}]}, "expected a string, got null"),
    (
        {"messages": [{"role": "user", "content": "x", "cache_control": {}}]},
        "Unknown parameter: 'messages[0].cache_control'.",
    ),
    ({"messages": [{"role": "user", "content": "x", "name": "a b"}]}, "does not match pattern"),
    ({"messages": _part({"type": "video"})}, "Invalid value: 'video'."),
    (
        {"messages": _part({"type": "image_url", "image_url": {"url": "ftp://x"}})},
        "Expected a base64-encoded data URL",
    ),
    (
        {"messages": _part({"type": "image_url", "image_url": {"url": "data:image/png;base64,aGVsbG8="}})},
        "You uploaded an unsupported image.",
    ),
    (
        {"messages": _part({"type": "image_url", "image_url": {"url": "https://x/y.png"}}, "system")},
        "Image URLs are only allowed for messages with role 'user'",
    ),
    ({"messages": [*_user("hi"), ASSISTANT]}, "did not have response messages: call_1"),
    ({"messages": [*_user("hi"), ASSISTANT, *_user("no")]}, "did not have response messages: call_1"),
    ({"messages": [*_user("hi"), RESULT]}, "must be a response to a preceeding message with 'tool_calls'"),
    (
        {"messages": [*_user("hi"), ASSISTANT, {**RESULT, "tool_call_id": "call_2"}]},
        "'tool_call_id' of 'call_2' not found",
    ),
    ({"messages": _called(id="c" * 41)}, "maximum length 40, but got a string with length 41"),
    (
        {"messages": _called(function={"name": "f", "arguments": {}})},
        "expected a string, but got an object instead",
    ),
    ({"messages": _called(function={"name": "f.g", "arguments": "{}"})}, "does not match pattern"),
    ({"messages": [*_user("hi"), {"role": "assistant", "content": "x", "tool_calls": []}]}, "empty array"),
    ({"tools": []}, "Invalid 'tools': empty array."),
    ({"tools": [{"type": "function", "function": {"name": "a.b"}}]}, "does not match pattern"),
    ({"tools": [{"type": "function", "function": {"name": "a" * 65}}]}, "maximum length 64"),
    ({"tools": [{"name": "a", "input_schema": {}}]}, "Invalid value: 'None'."),
    ({"tool_choice": "auto"}, "'tool_choice' is only allowed when 'tools' are specified."),
    ({"parallel_tool_calls": False}, "'parallel_tool_calls' is only allowed when 'tools' are specified."),
    ({"tools": [WEATHER], "tool_choice": "any"}, "Invalid value: 'any'."),
    (
        {"tools": [WEATHER], "tool_choice": {"type": "function", "function": {"name": "x"}}},
        "not found in 'tools'",
    ),
    ({"stop": list("abcde")}, "array with maximum length 4, but got an array with length 5"),
    ({"temperature": 2.5}, "Expected a value <= 2, but got 2.5"),
    ({"temperature": "1"}, "expected a decimal, but got a string instead"),
    ({"max_tokens": 0}, "integer below minimum value"),
    ({"max_tokens": 99_999}, "max_tokens is too large: 99999."),
    ({"max_tokens": 5, "max_completion_tokens": 5}, "at the same time is not supported"),
    ({"n": 0}, "Expected a value >= 1"),
    ({"stream_options": {"include_usage": True}}, "only allowed when 'stream' is enabled"),
    ({"top_logprobs": 2}, "only allowed when 'logprobs' is enabled"),
    ({"reasoning_effort": "low"}, "Unrecognized request argument supplied: reasoning_effort"),
    ({"model": "o3-mini", "max_tokens": 5}, "Use 'max_completion_tokens' instead."),
    ({"model": "o3-mini", "temperature": 0.5}, "Only the default (1) value is supported."),
    ({"model": "gpt-5", "stop": "x"}, "'stop' is not supported with this model."),
    ({"model": "gpt-5", "reasoning_effort": "none"}, "does not support 'none' with this model."),
    (
        {"model": "gpt-5.4", "reasoning_effort": "low", "tools": [WEATHER]},
        "Function tools with reasoning_effort",
    ),
    ({"model": "gpt-5.5", "tools": [WEATHER]}, "Function tools with reasoning_effort"),
    ({"model": "text-embedding-3-small"}, "This is not a chat model"),
    ({"response_format": {"type": "json_object"}}, "must contain the word 'json'"),
    (_form({"type": "array"}), "schema must be a JSON Schema of 'type: \"object\"'"),
    (
        _form({"type": "object", "properties": {}}),
        "'additionalProperties' is required to be supplied and to be false.",
    ),
    (
        _form({"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": False}),
        "every key in properties. Missing 'a'.",
    ),
    ({"messages": _user("x" * 600_000)}, "This model's maximum context length is 128000 tokens."),
    ({"user": "u" * 257}, "maximum length 256"),
]


@pytest.mark.parametrize(("change", "message"), CHAT_REFUSALS, ids=lambda value: str(value)[:50])
def test_chat_refusals(fake_upstream: FakeUpstream, change: dict[str, Any], message: str) -> None:
    body = {"model": "gpt-4o", "messages": _user("hi"), **change}
    status, answer = call(fake_upstream.openai_url + "/chat/completions", body)
    assert status in (400, 404)
    assert message in answer["error"]["message"]
    assert fake_upstream.last.refusal == answer["error"]["message"]


CHAT_ACCEPTED: list[dict[str, Any]] = [
    {"messages": _called()},
    {"messages": [*_called(), {"role": "assistant", "content": "done"}, *_user("more")]},
    {
        "messages": _part(
            {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{JPEG}", "detail": "low"}}
        )
    },
    {"messages": [{"role": "developer", "content": [{"type": "text", "text": "x"}]}, *_user("hi")]},
    {"tools": [WEATHER], "tool_choice": "auto", "parallel_tool_calls": False},
    {"model": "o3-mini", "temperature": 1, "max_completion_tokens": 50, "reasoning_effort": "high"},
    {"model": "gpt-5.5", "tools": [WEATHER], "reasoning_effort": "none"},
    {
        "temperature": 0,
        "top_p": 0.5,
        "seed": 7,
        "user": "u",
        "stop": ["a"],
        "logit_bias": {"5": 1},
        "service_tier": "auto",
    },
    {"response_format": {"type": "json_object"}, "messages": _user("as JSON")},
]


@pytest.mark.parametrize("change", CHAT_ACCEPTED, ids=lambda value: str(value)[:50])
def test_chat_accepts(fake_upstream: FakeUpstream, change: dict[str, Any]) -> None:
    body = {"model": "gpt-4o", "messages": _user("hi"), **change}
    status, answer = call(fake_upstream.openai_url + "/chat/completions", body)
    assert (status, answer.get("error")) == (200, None)


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("/completions", {"model": "gpt-4o", "prompt": "x"}, "This is a chat model"),
        (
            "/completions",
            {"model": "gpt-3.5-turbo-instruct", "prompt": "x", "messages": []},
            "Unrecognized request argument",
        ),
        (
            "/completions",
            {"model": "gpt-3.5-turbo-instruct", "prompt": "x", "n": 3, "best_of": 1},
            "more choices",
        ),
        ("/embeddings", {"model": "text-embedding-3-small", "input": ""}, "'$.input' is invalid."),
        ("/embeddings", {"model": "text-embedding-3-small", "input": []}, "'$.input' is invalid."),
        (
            "/embeddings",
            {"model": "text-embedding-3-small", "input": "x", "truncate": True},
            "Unrecognized request argument",
        ),
        ("/embeddings", {"model": "gpt-4o", "input": "x"}, "not allowed to generate embeddings"),
        (
            "/embeddings",
            {"model": "text-embedding-ada-002", "input": "x", "dimensions": 4},
            "specifying dimensions",
        ),
    ],
)
def test_other_refusals(fake_upstream: FakeUpstream, path: str, body: dict[str, Any], message: str) -> None:
    status, answer = call(fake_upstream.openai_url + path, body)
    assert status in (400, 403, 404)
    assert message in answer["error"]["message"]


def test_bodies_that_are_no_json(fake_upstream: FakeUpstream) -> None:
    url = fake_upstream.openai_url + "/chat/completions"
    assert call(url, b"{")[1]["error"]["message"].startswith("We could not parse the JSON body")
    assert call(url, {}, headers={"authorization": "Bearer sk-x", "content-type": "text/plain"})[0] == 415
