"""Reasoning asked for in the form of OpenRouter is given in it, and signed thinking survives a tool loop."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from tests.e2e.prompts import PLACE, order, user
from tests.e2e.sdks import Sdks, Stage

whole_and_stream = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
FUNCTION: Any = {"type": "function", "function": {"name": "weather", "parameters": PLACE}}
FORMAT = "anthropic-claude-v1"


def ask(sdks: Sdks, *, streamed: bool, reasoning: Any, **fields: Any) -> dict[str, Any]:
    """The message of the answer; the details of a stream are put together as its clients do: by index."""
    given = {
        "max_tokens": 4000,
        "extra_body": {"reasoning": reasoning} if reasoning is not None else {},
        **fields,
    }
    create: Any = sdks.openai.chat.completions.create
    if not streamed:
        made = create(**given)
        assert getattr(made, "provider", None) == ("Anthropic" if reasoning is not None else None)
        message: dict[str, Any] = made.choices[0].message.to_dict()
        return message
    details: dict[int, dict[str, Any]] = {}
    calls: list[Any] = []
    for chunk in create(**given, stream=True):
        delta = chunk.choices[0].delta.to_dict()
        for piece in delta.get("reasoning_details", ()):
            known = details.setdefault(piece["index"], {**piece, "text": "", "signature": None})
            known["text"] += piece.get("text", "")
            known["signature"] = piece.get("signature") or known["signature"]
        for call in delta.get("tool_calls", ()):
            if "id" in call:
                calls.append(call)
            else:
                calls[call["index"]]["function"]["arguments"] += call["function"]["arguments"]
    whole: dict[str, Any] = {"role": "assistant", "content": None, "tool_calls": calls}
    if details:
        whole["reasoning_details"] = [details[index] for index in sorted(details)]
    return whole


@whole_and_stream
@pytest.mark.parametrize("reasoning", [{"effort": "medium"}, {"max_tokens": 2000}, {"enabled": True}])
def test_a_tool_loop_keeps_its_thinking(stage: Stage, reasoning: Any, streamed: bool) -> None:
    fields: Any = {"model": "claude-sonnet-4-5", "tools": [FUNCTION]}
    turns = user("think:first the weather\n" + order(city="Ulm"))
    first = ask(stage.sdks, streamed=streamed, reasoning=reasoning, messages=turns, **fields)
    budget = stage.sent["thinking"]["budget_tokens"]
    (detail,) = first["reasoning_details"]
    assert (detail["type"], detail["format"], detail["text"]) == (
        "reasoning.text",
        FORMAT,
        "first the weather",
    )
    # What such clients send back, and no more.
    kept = {name: first[name] for name in ("role", "content", "tool_calls", "reasoning_details")}
    turns += [
        kept,
        {"role": "tool", "tool_call_id": kept["tool_calls"][0]["id"], "name": "weather", "content": "sun"},
    ]
    second = ask(stage.sdks, streamed=False, reasoning=reasoning, messages=turns, **fields)
    assert second["content"] == "The tool said: sun"
    assert stage.gateway.wait_record(2).dropped == []
    assert stage.sent["thinking"] == {"type": "enabled", "budget_tokens": budget}
    assert stage.sent["messages"][1]["content"][0] == {
        "type": "thinking",
        "thinking": "first the weather",
        "signature": detail["signature"],
    }


@whole_and_stream
def test_what_cannot_be_read_goes_there_and_back(stage: Stage, streamed: bool) -> None:
    fields: Any = {"model": "claude-sonnet-4-5", "reasoning": {"effort": "low"}}
    first = ask(stage.sdks, streamed=streamed, messages=user("redact:\nsay:well"), **fields)
    (detail,) = first["reasoning_details"]
    assert (detail["type"], detail["format"]) == ("reasoning.encrypted", FORMAT)
    said = {"role": "assistant", "content": "well", "reasoning_details": [detail]}
    ask(stage.sdks, streamed=False, messages=[*user("x"), said, *user("say:bye")], **fields)
    assert stage.sent["messages"][1]["content"][0] == {"type": "redacted_thinking", "data": detail["data"]}


@whole_and_stream
@pytest.mark.parametrize(
    ("reasoning", "thinks"),
    [(None, True), ({}, True), ({"enabled": False}, False), ({"effort": "none"}, False)],
)
def test_only_who_asks_so_is_answered_so(stage: Stage, reasoning: Any, thinks: bool, streamed: bool) -> None:
    """And an object that asks for nothing leaves the older field in force."""
    made = ask(
        stage.sdks,
        streamed=streamed,
        reasoning=reasoning,
        model="claude-sonnet-4-5",
        messages=user("think:hm\nsay:hi"),
        reasoning_effort="low",
    )
    assert ("thinking" in stage.sent) == thinks
    assert ("reasoning_details" in made) == (reasoning == {})


def test_an_effort_that_does_not_exist(stage: Stage) -> None:
    with pytest.raises(openai.BadRequestError) as told:
        ask(
            stage.sdks,
            streamed=False,
            reasoning={"effort": "lots"},
            model="claude-sonnet-4-5",
            messages=user("hi"),
        )
    assert told.value.param == "reasoning.effort"
