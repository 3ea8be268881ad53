"""Responses by the official SDK, every way, from every provider: text, tools, forms, thinking, ends."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import openai
import pytest
from openai.types.responses import Response
from pydantic import BaseModel

from tests.e2e.prompts import PLACE, order
from tests.e2e.sdks import KINDS, MODELS, ODD, PATHS, Kind, Sdks, Stage

ResponseWay = Callable[..., Response]
WEATHER: Any = {"type": "function", "name": "weather", "parameters": PLACE, "strict": False}


def whole(sdks: Sdks, **fields: Any) -> Response:
    answer: Response = sdks.openai.responses.create(**fields)
    return answer


def stream(sdks: Sdks, **fields: Any) -> Response:
    with sdks.openai.responses.create(**fields, stream=True) as events:
        return checked(list(events))


def helper(sdks: Sdks, **fields: Any) -> Response:
    with sdks.openai.responses.stream(**fields) as events:
        for _ in events:
            pass
        return events.get_final_response()


def async_stream(sdks: Sdks, **fields: Any) -> Response:
    async def ask() -> list[Any]:
        async with await sdks.async_openai.responses.create(**fields, stream=True) as events:
            return [event async for event in events]

    return checked(sdks.run(ask()))


WAYS: Mapping[str, ResponseWay] = {
    "whole": whole,
    "stream": stream,
    "helper": helper,
    "async-stream": async_stream,
}
every_way = pytest.mark.parametrize("ask", [pytest.param(way, id=name) for name, way in WAYS.items()])
every_kind = pytest.mark.parametrize("kind", KINDS)


def checked(events: list[Any]) -> Response:
    """The response that the events end with. They are numbered, begin and end once, and tell the same."""
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [event.type for event in events[:2]] == ["response.created", "response.in_progress"]
    ends = ("response.completed", "response.incomplete", "response.failed")
    assert [event.type for event in events if event.type in ends] == [events[-1].type]
    final: Response = events[-1].response
    deltas = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert deltas == final.output_text
    done = [event.item.model_dump() for event in events if event.type == "response.output_item.done"]
    assert done == [item.model_dump() for item in final.output]
    added = [event.item.id for event in events if event.type == "response.output_item.added"]
    assert added == [item["id"] for item in done]
    return final


def calls_of(answer: Response) -> list[tuple[str, Any]]:
    return [(item.name, json.loads(item.arguments)) for item in answer.output if item.type == "function_call"]


@every_way
@every_kind
def test_a_plain_question(stage: Stage, kind: Kind, ask: ResponseWay) -> None:
    answer = ask(stage.sdks, model=MODELS[kind], input="say:" + ODD, instructions="Be brief.")
    assert (answer.output_text, answer.status, answer.object) == (ODD, "completed", "response")
    assert answer.id.startswith("resp_")
    assert answer.usage is not None
    assert answer.usage.input_tokens > 0
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens
    # OpenAI itself speaks this dialect; the others are asked in their own.
    assert stage.last.path == ("/v1/responses" if kind == "openai" else PATHS[kind])
    assert "Be brief." in json.dumps(stage.sent)


# The helper takes only a completed response for an end.
@pytest.mark.parametrize("ask", [whole, stream, async_stream])
@every_kind
def test_the_length_ends_an_answer(stage: Stage, kind: Kind, ask: ResponseWay) -> None:
    answer = ask(stage.sdks, model=MODELS[kind], input="say:" + "word " * 60, max_output_tokens=16)
    assert answer.status == "incomplete"
    assert answer.incomplete_details is not None
    assert answer.incomplete_details.reason == "max_output_tokens"
    assert answer.output_text == ("word " * 60)[:64]


@every_way
@every_kind
def test_a_whole_tool_loop(stage: Stage, kind: Kind, ask: ResponseWay) -> None:
    prompt = order(city="Ulm") + "\n" + order(city="Köln")
    items: list[Any] = [{"role": "user", "content": prompt}]
    first = ask(stage.sdks, model=MODELS[kind], input=items, tools=[WEATHER], store=False)
    assert calls_of(first) == [("weather", {"city": "Ulm"}), ("weather", {"city": "Köln"})]
    for item in first.output:
        assert item.type == "function_call"
        items.append(
            {"type": "function_call", "call_id": item.call_id, "name": item.name, "arguments": item.arguments}
        )
    for item, result in zip(list(items[1:]), ("sun", "rain"), strict=True):
        items.append({"type": "function_call_output", "call_id": item["call_id"], "output": result})
    second = ask(stage.sdks, model=MODELS[kind], input=items, tools=[WEATHER], store=False)
    assert second.output_text == "The tool said: sun | rain"


class Thing(BaseModel):
    """What the model is asked for."""

    title: str
    sold: bool


@every_kind
def test_the_sdk_parses_an_answer_into_a_model(stage: Stage, kind: Kind) -> None:
    answer = stage.sdks.openai.responses.parse(model=MODELS[kind], input="A thing", text_format=Thing)
    assert answer.output_parsed == Thing(title="text", sold=True)


@every_way
@pytest.mark.parametrize("model", ["claude-opus-4-5", "claude-opus-4-7", "qwen3:8b"])
def test_thinking_is_a_reasoning_item(stage: Stage, model: str, ask: ResponseWay) -> None:
    answer = ask(
        stage.sdks,
        model=model,
        input="think:deep\nsay:shallow",
        reasoning={"effort": "high", "summary": "auto"},
    )
    assert [item.type for item in answer.output] == ["reasoning", "message"]
    thought: Any = answer.output[0]
    assert "".join(part.text for part in thought.summary) == "deep"
    assert answer.output_text == "shallow"


@pytest.mark.parametrize("kind", ["anthropic", "ollama"])
def test_an_earlier_response_is_not_there(stage: Stage, kind: Kind) -> None:
    """The gateway keeps no conversations, and says so instead of answering without the context."""
    with pytest.raises(openai.BadRequestError) as caught:
        whole(stage.sdks, model=MODELS[kind], input="hi", previous_response_id="resp_1")
    assert caught.value.param == "previous_response_id"
    assert stage.fake.requests == []


def test_openai_keeps_its_own_conversations(stage: Stage) -> None:
    first = whole(stage.sdks, model=MODELS["openai"], input="say:one")
    second = whole(
        stage.sdks, model=MODELS["openai"], input="say:two", previous_response_id=first.id, store=True
    )
    assert second.output_text == "two"
    assert second.previous_response_id == first.id
