"""Tools by chat.completions: one call, several, forced, forbidden, and the whole loop with their results."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from tests.e2e.chat_ways import WAYS, ChatWay, calls_of, replayed
from tests.e2e.prompts import PLACE, order, user
from tests.e2e.sdks import KINDS, MODELS, ODD, Kind, Stage

every_way = pytest.mark.parametrize("ask", [pytest.param(way, id=name) for name, way in WAYS.items()])
whole_and_stream = pytest.mark.parametrize(
    "ask", [pytest.param(WAYS[name], id=name) for name in ("whole", "stream")]
)
# Whole answers are the same to both clients; streams are read by code of their own.
streaming_ways = pytest.mark.parametrize(
    "ask", [pytest.param(way, id=name) for name, way in WAYS.items() if name != "async-whole"]
)
every_kind = pytest.mark.parametrize("kind", KINDS)

WEATHER: Any = {
    "type": "function",
    "function": {"name": "weather", "description": "Tells the weather", "parameters": PLACE},
}
CLOCK: Any = {"type": "function", "function": {"name": "clock"}}
TOOLS = [WEATHER, CLOCK]


CALLS: list[Any] = [
    pytest.param(order(city="Ulm"), [("weather", {"city": "Ulm"})], id="one"),
    pytest.param(
        order(city="Ulm", days=2) + "\n" + order(city="Köln", days=-1),
        [("weather", {"city": "Ulm", "days": 2}), ("weather", {"city": "Köln", "days": -1})],
        id="two-of-a-kind",
    ),
    pytest.param(
        "call:clock\n" + order(city="Ulm") + "\ncall:clock {}",
        [("clock", {}), ("weather", {"city": "Ulm"}), ("clock", {})],
        id="three-two-without-arguments",
    ),
    pytest.param(order(city=ODD), [("weather", {"city": ODD})], id="odd-characters"),
    pytest.param(
        order(city="Ulm", more={"a": [1, 2.5, None, True, {"b": []}], "long": "x" * 3000}),
        [("weather", {"city": "Ulm", "more": {"a": [1, 2.5, None, True, {"b": []}], "long": "x" * 3000}})],
        id="deep-and-long",
    ),
]


@streaming_ways
@pytest.mark.parametrize(("prompt", "expected"), CALLS)
@every_kind
def test_calls(stage: Stage, kind: Kind, prompt: str, expected: list[tuple[str, Any]], ask: ChatWay) -> None:
    answer = ask(stage.sdks, model=MODELS[kind], messages=user(prompt), tools=TOOLS)
    choice = answer.choices[0]
    assert choice.finish_reason == "tool_calls"
    assert not choice.message.content
    assert [(name, json.loads(arguments)) for name, arguments in calls_of(answer)] == expected
    calls: list[Any] = choice.message.tool_calls or []
    assert len({call.id for call in calls}) == len(expected)
    assert all(call.id and call.type == "function" for call in calls)


@every_kind
def test_definitions_arrive_as_the_provider_takes_them(stage: Stage, kind: Kind) -> None:
    WAYS["whole"](stage.sdks, model=MODELS[kind], messages=user("hi"), tools=TOOLS)
    empty = {"type": "object", "properties": {}}
    claude = [
        {"name": "weather", "description": "Tells the weather", "input_schema": PLACE},
        {"name": "clock", "input_schema": empty},
    ]
    tools = stage.sent["tools"]
    assert tools[0] == {"openai": WEATHER, "ollama": WEATHER, "anthropic": claude[0]}[kind]
    if kind == "ollama":
        assert tools[1]["function"]["name"] == "clock"
    else:
        assert tools[1] == {"openai": CLOCK, "anthropic": claude[1]}[kind]


@every_way
@every_kind
def test_a_whole_tool_loop(stage: Stage, kind: Kind, ask: ChatWay) -> None:
    messages = user(order(city="Ulm") + "\n" + order(city="Bonn"))
    first = ask(stage.sdks, model=MODELS[kind], messages=messages, tools=TOOLS)
    calls: list[Any] = first.choices[0].message.tool_calls or []
    messages = [*messages, replayed(first)]
    for call in calls:
        call_arguments = json.loads(call.function.arguments)
        result = f"sun in {call_arguments['city']}"
        messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
    second = ask(stage.sdks, model=MODELS[kind], messages=messages, tools=TOOLS)
    choice = second.choices[0]
    assert choice.message.content == "The tool said: sun in Ulm | sun in Bonn"
    assert choice.finish_reason == "stop"
    _check_history(stage, kind, [call.id for call in calls])
    again = ask(
        stage.sdks,
        model=MODELS[kind],
        messages=[*messages, {"role": "assistant", "content": choice.message.content}, *user("say:thanks")],
        tools=TOOLS,
    )
    assert again.choices[0].message.content == "thanks"


def _check_history(stage: Stage, kind: Kind, ids: list[str]) -> None:
    """The calls and their results as the provider got them back."""
    turns = stage.sent["messages"]
    cities = [{"city": "Ulm"}, {"city": "Bonn"}]
    results = ["sun in Ulm", "sun in Bonn"]
    if kind == "anthropic":
        _, called, returned = turns
        uses = [block for block in called["content"] if block["type"] == "tool_use"]
        assert [(use["id"], use["input"]) for use in uses] == list(zip(ids, cities, strict=True))
        assert returned["role"] == "user"
        blocks = returned["content"]
        assert [(block["type"], block["tool_use_id"]) for block in blocks] == [
            ("tool_result", i) for i in ids
        ]
        assert [_text(block["content"]) for block in blocks] == results
        return
    _, called, *returned = turns
    assert [call["id"] for call in called["tool_calls"]] == ids
    arguments = [call["function"]["arguments"] for call in called["tool_calls"]]
    assert (arguments if kind == "ollama" else [json.loads(text) for text in arguments]) == cities
    assert [(turn["role"], turn["tool_call_id"], turn["content"]) for turn in returned] == [
        ("tool", key, result) for key, result in zip(ids, results, strict=True)
    ]
    if kind == "ollama":
        assert [turn["tool_name"] for turn in returned] == ["weather", "weather"]


def _text(content: Any) -> str:
    return content if isinstance(content, str) else "".join(block["text"] for block in content)


@every_way
@pytest.mark.parametrize("kind", ["openai", "anthropic"])
def test_a_forced_call_of_any_tool(stage: Stage, kind: Kind, ask: ChatWay) -> None:
    answer = ask(stage.sdks, model=MODELS[kind], messages=user("hi"), tools=TOOLS, tool_choice="required")
    assert [name for name, _ in calls_of(answer)] == ["weather"]
    assert answer.choices[0].finish_reason in ("tool_calls", "stop")
    assert stage.sent["tool_choice"] == {"openai": "required", "anthropic": {"type": "any"}}[kind]


@whole_and_stream
@pytest.mark.parametrize("kind", ["openai", "anthropic"])
def test_a_forced_call_of_one_tool(stage: Stage, kind: Kind, ask: ChatWay) -> None:
    choice = {"type": "function", "function": {"name": "clock"}}
    answer = ask(stage.sdks, model=MODELS[kind], messages=user("hi"), tools=TOOLS, tool_choice=choice)
    assert [(name, json.loads(text)) for name, text in calls_of(answer)] == [("clock", {})]
    assert (
        stage.sent["tool_choice"] == {"openai": choice, "anthropic": {"type": "tool", "name": "clock"}}[kind]
    )


@whole_and_stream
def test_ollama_can_be_forced_only_by_what_it_is_offered(stage: Stage, ask: ChatWay) -> None:
    choice = {"type": "function", "function": {"name": "clock"}}
    answer = ask(
        stage.sdks,
        model=MODELS["ollama"],
        messages=user(order(city="Ulm") + "\ncall:clock"),
        tools=TOOLS,
        tool_choice=choice,
    )
    assert calls_of(answer) == [("clock", "{}")]
    assert [tool["function"]["name"] for tool in stage.sent["tools"]] == ["clock"]
    assert "tool_choice" not in stage.sent


@whole_and_stream
@every_kind
def test_no_tool_may_be_called(stage: Stage, kind: Kind, ask: ChatWay) -> None:
    answer = ask(
        stage.sdks,
        model=MODELS[kind],
        messages=user(order(city="Ulm")),
        tools=TOOLS,
        tool_choice="none",
    )
    assert calls_of(answer) == []
    assert answer.choices[0].finish_reason == "stop"
    if kind == "ollama":
        assert "tools" not in stage.sent
    else:
        assert stage.sent["tool_choice"] == {"openai": "none", "anthropic": {"type": "none"}}[kind]


@whole_and_stream
@pytest.mark.parametrize("kind", ["openai", "anthropic"])
def test_one_call_at_a_time(stage: Stage, kind: Kind, ask: ChatWay) -> None:
    prompt = order(city="Ulm") + "\n" + order(city="Bonn")
    answer = ask(
        stage.sdks,
        model=MODELS[kind],
        messages=user(prompt),
        tools=TOOLS,
        parallel_tool_calls=False,
    )
    assert len(calls_of(answer)) == 1
    if kind == "anthropic":
        assert stage.sent["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}
    else:
        assert stage.sent["parallel_tool_calls"] is False


class Weather(BaseModel):
    """Tells the weather."""

    city: str
    days: int


@every_kind
def test_the_sdk_parses_arguments_into_a_model(stage: Stage, kind: Kind) -> None:
    tool: Any = openai.pydantic_function_tool(Weather)
    prompt = 'call:Weather {"city": "Ulm", "days": 3}'
    completions = stage.sdks.openai.chat.completions
    parsed = completions.parse(model=MODELS[kind], messages=user(prompt), tools=[tool])
    with completions.stream(model=MODELS[kind], messages=user(prompt), tools=[tool]) as events:
        seen = [event for event in events if event.type == "tool_calls.function.arguments.done"]
        streamed = events.get_final_completion()
    for answer in (parsed, streamed):
        calls: list[Any] = answer.choices[0].message.tool_calls or []
        assert [call.function.parsed_arguments for call in calls] == [Weather(city="Ulm", days=3)]
    assert [(event.name, event.parsed_arguments) for event in seen] == [
        ("Weather", Weather(city="Ulm", days=3))
    ]


@every_kind
def test_the_legacy_functions(stage: Stage, kind: Kind) -> None:
    fields: Any = {"model": MODELS[kind], "functions": [WEATHER["function"]]}
    messages = user(order(city="Ulm"))
    create: Any = stage.sdks.openai.chat.completions.create
    first = create(messages=messages, **fields)
    call = first.choices[0].message.function_call
    assert (call.name, json.loads(call.arguments)) == ("weather", {"city": "Ulm"})
    assert first.choices[0].finish_reason == "function_call"
    with create(messages=messages, **fields, stream=True) as chunks:
        deltas = [chunk.choices[0].delta.function_call for chunk in chunks]
    pieces = [delta for delta in deltas if delta is not None]
    assert [piece.name for piece in pieces if piece.name] == ["weather"]
    assert json.loads("".join(piece.arguments or "" for piece in pieces)) == {"city": "Ulm"}
    messages += [
        {"role": "assistant", "content": None, "function_call": call.model_dump()},
        {"role": "function", "name": "weather", "content": "sun"},
    ]
    second = create(messages=messages, **fields)
    assert second.choices[0].message.content == "The tool said: sun"
    if kind == "ollama":
        assert stage.sent["messages"][-1]["tool_name"] == "weather"
