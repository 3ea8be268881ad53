"""Tools by messages: one call, several, forced, forbidden, and the whole loop with their results."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.e2e.message_ways import WAYS, MessageWay, calls_of, text_of
from tests.e2e.prompts import PLACE, order, user
from tests.e2e.sdks import KINDS, MODELS, ODD, PNG, Kind, Stage

every_way = pytest.mark.parametrize("ask", [pytest.param(way, id=name) for name, way in WAYS.items()])
whole_and_stream = pytest.mark.parametrize(
    "ask", [pytest.param(WAYS[name], id=name) for name in ("whole", "stream")]
)
# Whole answers are the same to both clients; streams are read by code of their own.
streaming_ways = pytest.mark.parametrize(
    "ask", [pytest.param(way, id=name) for name, way in WAYS.items() if name != "async-whole"]
)
every_kind = pytest.mark.parametrize("kind", KINDS)

WEATHER: Any = {"name": "weather", "description": "Tells the weather", "input_schema": PLACE}
CLOCK: Any = {"name": "clock", "input_schema": {"type": "object", "properties": {}}}
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
def test_calls(
    stage: Stage, kind: Kind, prompt: str, expected: list[tuple[str, Any]], ask: MessageWay
) -> None:
    answer = ask(stage.sdks, model=MODELS[kind], messages=user(prompt), tools=TOOLS)
    assert answer.stop_reason == "tool_use"
    # No empty text stands before the calls.
    assert [block.type for block in answer.content] == ["tool_use"] * len(expected)
    assert calls_of(answer) == expected
    ids = [block.id for block in answer.content if block.type == "tool_use"]
    assert len(set(ids)) == len(expected)


@every_kind
def test_definitions_arrive_as_the_provider_takes_them(stage: Stage, kind: Kind) -> None:
    WAYS["whole"](stage.sdks, model=MODELS[kind], messages=user("hi"), tools=TOOLS)
    function = {"name": "weather", "description": "Tells the weather", "parameters": PLACE}
    wrapped = {"type": "function", "function": function}
    assert stage.sent["tools"][0] == (WEATHER if kind == "anthropic" else wrapped)


@every_way
@every_kind
def test_a_whole_tool_loop(stage: Stage, kind: Kind, ask: MessageWay) -> None:
    messages = user(order(city="Ulm") + "\n" + order(city="Bonn"))
    first = ask(stage.sdks, model=MODELS[kind], messages=messages, tools=TOOLS)
    uses = [block for block in first.content if block.type == "tool_use"]
    # Exactly as programs do it: the SDK's own objects go back.
    messages.append({"role": "assistant", "content": [_returned(block) for block in first.content]})
    results: list[Any] = [
        {"type": "tool_result", "tool_use_id": uses[0].id, "content": "sun in Ulm"},
        {
            "type": "tool_result",
            "tool_use_id": uses[1].id,
            "content": [{"type": "text", "text": "no such place"}],
            "is_error": True,
        },
        {"type": "text", "text": "Go on."},
    ]
    messages += user(results)
    second = ask(stage.sdks, model=MODELS[kind], messages=messages, tools=TOOLS)
    if kind == "anthropic":
        assert text_of(second) == "The tool said: sun in Ulm | ERROR: no such place"
        assert stage.sent["messages"] == messages
    else:
        assert text_of(second).endswith("You said: Go on.")
        _, called, *returned, last = stage.sent["messages"]
        assert [call["id"] for call in called["tool_calls"]] == [use.id for use in uses]
        assert [(turn["role"], turn["tool_call_id"], turn["content"]) for turn in returned] == [
            ("tool", uses[0].id, "sun in Ulm"),
            ("tool", uses[1].id, "Error: no such place"),
        ]
        assert last == {"role": "user", "content": "Go on."}
    assert second.stop_reason == "end_turn"


def _returned(block: Any) -> dict[str, Any]:
    """A block of an answer as a program sends it back."""
    fields = {"tool_use": ("id", "name", "input"), "thinking": ("thinking", "signature"), "text": ("text",)}
    return {"type": block.type, **{name: getattr(block, name) for name in fields[block.type]}}


@every_way
@pytest.mark.parametrize("kind", ["openai", "anthropic"])
@pytest.mark.parametrize(
    ("choice", "called", "openai"),
    [
        ({"type": "any"}, "weather", "required"),
        ({"type": "tool", "name": "clock"}, "clock", {"type": "function", "function": {"name": "clock"}}),
    ],
    ids=["any", "one"],
)
def test_a_forced_call(
    stage: Stage, kind: Kind, choice: Any, called: str, openai: Any, ask: MessageWay
) -> None:
    answer = ask(stage.sdks, model=MODELS[kind], messages=user("hi"), tools=TOOLS, tool_choice=choice)
    assert [name for name, _ in calls_of(answer)] == [called]
    assert answer.stop_reason == "tool_use"
    assert stage.sent["tool_choice"] == {"openai": openai, "anthropic": choice}[kind]


@whole_and_stream
@every_kind
def test_no_tool_may_be_called(stage: Stage, kind: Kind, ask: MessageWay) -> None:
    answer = ask(
        stage.sdks,
        model=MODELS[kind],
        messages=user(order(city="Ulm")),
        tools=TOOLS,
        tool_choice={"type": "none"},
    )
    assert calls_of(answer) == []
    assert answer.stop_reason == "end_turn"


@whole_and_stream
@pytest.mark.parametrize("kind", ["openai", "anthropic"])
def test_one_call_at_a_time(stage: Stage, kind: Kind, ask: MessageWay) -> None:
    answer = ask(
        stage.sdks,
        model=MODELS[kind],
        messages=user(order(city="Ulm") + "\n" + order(city="Bonn")),
        tools=TOOLS,
        tool_choice={"type": "auto", "disable_parallel_tool_use": True},
    )
    assert len(calls_of(answer)) == 1
    if kind == "openai":
        assert stage.sent["parallel_tool_calls"] is False


@every_kind
def test_the_helper_gathers_arguments_as_they_come(stage: Stage, kind: Kind) -> None:
    with stage.sdks.anthropic.messages.stream(
        model=MODELS[kind], max_tokens=100, messages=user(order(city=ODD)), tools=TOOLS
    ) as stream:
        parts = [event for event in stream if event.type == "input_json"]
    assert json.loads("".join(part.partial_json for part in parts)) == {"city": ODD}
    assert parts[-1].snapshot == {"city": ODD}


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
def test_a_picture_as_a_tools_result(stage: Stage, kind: Kind) -> None:
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
    messages: list[Any] = [
        *user("look"),
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "toolu_1", "name": "clock", "input": {}}],
        },
        *user([{"type": "tool_result", "tool_use_id": "toolu_1", "content": [picture]}]),
    ]
    WAYS["whole"](stage.sdks, model=MODELS[kind], messages=messages, tools=TOOLS)
    if kind == "openai":
        _, _, result, shown = stage.sent["messages"]
        assert (result["role"], result["tool_call_id"]) == ("tool", "toolu_1")
        (part,) = [part for part in shown["content"] if part["type"] == "image_url"]
        assert part["image_url"]["url"] == f"data:image/png;base64,{PNG}"


# -- thinking

THINKING: list[Any] = [
    pytest.param("claude-opus-4-5", {"type": "enabled", "budget_tokens": 2048}, id="claude-budget"),
    pytest.param("claude-opus-4-7", {"type": "adaptive", "display": "summarized"}, id="claude-adaptive"),
    pytest.param("qwen3:8b", {"type": "enabled", "budget_tokens": 2048}, id="ollama"),
]


@every_way
@pytest.mark.parametrize(("model", "thinking"), THINKING)
def test_a_tool_loop_with_thinking(stage: Stage, model: str, thinking: Any, ask: MessageWay) -> None:
    fields: dict[str, Any] = {"model": model, "max_tokens": 4000, "thinking": thinking, "tools": TOOLS}
    messages = user("think:I need the weather\n" + order(city="Ulm"))
    first = ask(stage.sdks, messages=messages, **fields)
    assert [block.type for block in first.content] == ["thinking", "tool_use"]
    thought: Any = first.content[0]
    assert thought.thinking == "I need the weather"
    (use,) = [block for block in first.content if block.type == "tool_use"]
    messages.append({"role": "assistant", "content": [_returned(block) for block in first.content]})
    messages += user([{"type": "tool_result", "tool_use_id": use.id, "content": "sun"}])
    second = ask(stage.sdks, messages=messages, **fields)
    assert text_of(second) == "The tool said: sun"
    returned = stage.sent["messages"][1]
    if model.startswith("claude"):
        assert returned["content"][0] == {
            "type": "thinking",
            "thinking": "I need the weather",
            "signature": thought.signature,
        }
    else:
        assert returned["thinking"] == "I need the weather"


@every_way
def test_a_redacted_thought_goes_there_and_back(stage: Stage, ask: MessageWay) -> None:
    fields: dict[str, Any] = {
        "model": MODELS["anthropic"],
        "max_tokens": 4000,
        "thinking": {"type": "enabled", "budget_tokens": 2048},
    }
    first = ask(stage.sdks, messages=user("redact:\nsay:well"), **fields)
    assert [block.type for block in first.content] == ["redacted_thinking", "text"]
    blocks = [block.model_dump(exclude_none=True, exclude={"citations"}) for block in first.content]
    messages = [*user("redact:\nsay:well"), {"role": "assistant", "content": blocks}, *user("say:bye")]
    assert text_of(ask(stage.sdks, messages=messages, **fields)) == "bye"
    assert stage.sent["messages"][1]["content"] == blocks


@pytest.mark.parametrize(
    ("model", "expected"),
    [("o3-mini", {"reasoning_effort": "medium"}), ("gpt-4o-mini", {}), ("llama3.2", {})],
)
def test_thinking_is_asked_of_those_who_can(stage: Stage, model: str, expected: dict[str, Any]) -> None:
    """Coding agents always ask for it, whatever the model."""
    stage.sdks.anthropic.messages.create(
        model=model,
        max_tokens=8000,
        messages=user("hi"),
        thinking={"type": "enabled", "budget_tokens": 4096},
    )
    names = ("reasoning_effort", "think", "thinking")
    assert {name: stage.sent[name] for name in names if name in stage.sent} == expected
