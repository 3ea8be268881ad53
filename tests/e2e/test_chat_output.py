"""Chat answers in a form: JSON by a schema that the SDK makes and parses, and thinking beside the text."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import BaseModel

from tests.e2e.chat_ways import WAYS, ChatWay, calls_of, replayed
from tests.e2e.prompts import PLACE, order, user
from tests.e2e.sdks import KINDS, MODELS, Kind, Stage

every_way = pytest.mark.parametrize("ask", [pytest.param(way, id=name) for name, way in WAYS.items()])
every_kind = pytest.mark.parametrize("kind", KINDS)


class Part(BaseModel):
    """A leaf of the schema, so that it has a definition of its own."""

    name: str
    weight: float


class Thing(BaseModel):
    """What the model is asked for."""

    title: str
    parts: list[Part]
    sold: bool


# What the fake makes of that schema.
MADE = Thing(title="text", parts=[Part(name="text", weight=1.5)], sold=True)


@every_kind
def test_the_sdk_parses_an_answer_into_a_model(stage: Stage, kind: Kind) -> None:
    completions = stage.sdks.openai.chat.completions
    parsed = completions.parse(model=MODELS[kind], messages=user("A thing"), response_format=Thing)
    assert parsed.choices[0].message.parsed == MADE
    with completions.stream(model=MODELS[kind], messages=user("A thing"), response_format=Thing) as events:
        done = [event for event in events if event.type == "content.done"]
        assert [event.parsed for event in done] == [MADE]
        assert events.get_final_completion().choices[0].message.parsed == MADE


@every_kind
def test_the_async_sdk_parses_an_answer_into_a_model(stage: Stage, kind: Kind) -> None:
    async def ask() -> Any:
        completions = stage.sdks.async_openai.chat.completions
        return await completions.parse(model=MODELS[kind], messages=user("A thing"), response_format=Thing)

    assert stage.sdks.run(ask()).choices[0].message.parsed == MADE


@every_kind
def test_a_schema_arrives_in_the_providers_own_form(stage: Stage, kind: Kind) -> None:
    stage.sdks.openai.chat.completions.parse(
        model=MODELS[kind], messages=user("A thing"), response_format=Thing
    )
    sent = stage.sent
    schema: Any = {
        "openai": lambda: sent["response_format"]["json_schema"]["schema"],
        "anthropic": lambda: sent["output_config"]["format"]["schema"],
        "ollama": lambda: sent["format"],
    }[kind]()
    assert list(schema["properties"]) == ["title", "parts", "sold"]
    assert schema["required"] == ["title", "parts", "sold"]
    assert sorted(name for name in ("tools", "tool_choice") if name in sent) == []


@every_way
@pytest.mark.parametrize("kind", ["openai", "ollama"])
def test_json_without_a_schema(stage: Stage, kind: Kind, ask: ChatWay) -> None:
    answer = ask(
        stage.sdks,
        model=MODELS[kind],
        messages=user("Answer in JSON."),
        response_format={"type": "json_object"},
    )
    assert json.loads(answer.choices[0].message.content or "") == {"answer": "text"}


# -- thinking

WEATHER: Any = {"type": "function", "function": {"name": "weather", "parameters": PLACE}}

# Effort to what each provider's field for it then says.
EFFORTS: list[Any] = [
    pytest.param("o3-mini", "high", {"reasoning_effort": "high"}, id="openai"),
    pytest.param("claude-sonnet-4-6", "high", {"thinking": {"type": "adaptive"}}, id="claude-adaptive"),
    pytest.param(
        "claude-opus-4-7",
        "medium",
        {"thinking": {"type": "adaptive", "display": "summarized"}, "output_config": {"effort": "medium"}},
        id="claude-newest",
    ),
    pytest.param("qwen3:8b", "high", {"think": True}, id="ollama"),
    pytest.param("qwen3:8b", "none", {"think": False}, id="ollama-none"),
    pytest.param("gpt-oss:20b", "low", {"think": "low"}, id="ollama-by-level"),
]


@pytest.mark.parametrize(("model", "effort", "expected"), EFFORTS)
def test_effort_arrives_in_the_providers_own_form(
    stage: Stage, model: str, effort: Any, expected: dict[str, Any]
) -> None:
    _everything_to(stage, model)
    stage.sdks.openai.chat.completions.create(model=model, messages=user("hi"), reasoning_effort=effort)
    sent = stage.sent
    for field, value in expected.items():
        assert (
            {key: sent[field][key] for key in value} == value
            if isinstance(value, dict)
            else sent[field] == value
        )


def _everything_to(stage: Stage, model: str) -> None:
    """`gpt-oss` is Ollama's, whatever its name begins with."""
    if model.startswith("gpt-oss"):
        gateway = stage.gateway
        gateway.use(gateway.snapshot([gateway.route("*", gateway.provider("ollama"))]))


def test_effort_becomes_a_budget_for_claude_that_has_budgets(stage: Stage) -> None:
    stage.sdks.openai.chat.completions.create(
        model="claude-haiku-4-5", messages=user("hi"), reasoning_effort="high", temperature=0.5
    )
    thinking = stage.sent["thinking"]
    assert thinking["type"] == "enabled"
    assert 1024 <= thinking["budget_tokens"] < stage.sent["max_tokens"]
    assert "temperature" not in stage.sent


@every_way
@pytest.mark.parametrize("model", ["claude-opus-4-5", "claude-sonnet-4-6", "claude-opus-4-7", "qwen3:8b"])
def test_thinking_stands_beside_the_text(stage: Stage, model: str, ask: ChatWay) -> None:
    answer = ask(stage.sdks, model=model, messages=user("think:deep\nsay:shallow"), reasoning_effort="high")
    message: Any = answer.choices[0].message
    assert (message.content, message.reasoning_content) == ("shallow", "deep")
    assert answer.usage is not None
    assert answer.usage.completion_tokens >= 3


def test_openai_counts_its_reasoning_and_shows_none(stage: Stage) -> None:
    answer = WAYS["whole"](stage.sdks, model="o3-mini", messages=user("think:deep\nsay:shallow"))
    assert answer.usage is not None
    details = answer.usage.completion_tokens_details
    assert details is not None
    assert details.reasoning_tokens == 1
    assert answer.choices[0].message.content == "shallow"


@every_way
@pytest.mark.parametrize("model", ["claude-opus-4-5", "claude-opus-4-7", "qwen3:8b"])
def test_a_tool_loop_with_thinking(stage: Stage, model: str, ask: ChatWay) -> None:
    """Signed thoughts go back with the calls that they led to: Claude refuses the loop without them."""
    fields: dict[str, Any] = {"model": model, "tools": [WEATHER], "reasoning_effort": "high"}
    messages = user("think:I need the weather\n" + order(city="Ulm"))
    first = ask(stage.sdks, messages=messages, **fields)
    message: Any = first.choices[0].message
    assert message.reasoning_content == "I need the weather"
    assert calls_of(first) == [("weather", '{"city":"Ulm"}')]
    (call,) = message.tool_calls
    messages.append(replayed(first))
    messages.append({"role": "tool", "tool_call_id": call.id, "content": "sun"})
    second = ask(stage.sdks, messages=messages, **fields)
    assert second.choices[0].message.content == "The tool said: sun"
    if model.startswith("claude"):
        assistant = stage.sent["messages"][1]["content"]
        assert [block["type"] for block in assistant] == ["thinking", "tool_use"]
        assert assistant[0]["thinking"] == "I need the weather"
        assert stage.sent["thinking"]["type"] != "disabled"
