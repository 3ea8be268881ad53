"""Every way in which a program asks for a message, each with the same result: an SDK's Message.

What streams is read event by event; that the events are Anthropic's own, in its order, is checked here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from anthropic.types import Message, RawMessageStreamEvent

from tests.e2e.sdks import Sdks

MessageWay = Callable[..., Message]


def whole(sdks: Sdks, **fields: Any) -> Message:
    answer: Message = sdks.anthropic.messages.create(**_filled(fields))
    return answer


def stream(sdks: Sdks, **fields: Any) -> Message:
    with sdks.anthropic.messages.create(**_filled(fields), stream=True) as events:
        return gathered(list(events))


def helper(sdks: Sdks, **fields: Any) -> Message:
    with sdks.anthropic.messages.stream(**_filled(fields)) as events:
        return events.get_final_message()


def async_whole(sdks: Sdks, **fields: Any) -> Message:
    answer: Message = sdks.run(sdks.async_anthropic.messages.create(**_filled(fields)))
    return answer


def async_stream(sdks: Sdks, **fields: Any) -> Message:
    async def ask() -> list[RawMessageStreamEvent]:
        async with await sdks.async_anthropic.messages.create(**_filled(fields), stream=True) as events:
            return [event async for event in events]

    return gathered(sdks.run(ask()))


def async_helper(sdks: Sdks, **fields: Any) -> Message:
    async def ask() -> Message:
        async with sdks.async_anthropic.messages.stream(**_filled(fields)) as events:
            return await events.get_final_message()

    return sdks.run(ask())


WAYS: Mapping[str, MessageWay] = {
    "whole": whole,
    "stream": stream,
    "helper": helper,
    "async-whole": async_whole,
    "async-stream": async_stream,
    "async-helper": async_helper,
}


def _filled(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {"max_tokens": 500, **fields}


def gathered(events: list[RawMessageStreamEvent]) -> Message:
    """The message that the events tell."""
    told = [event.model_dump() for event in events]
    first, *middle, delta, last = told
    assert first["type"] == "message_start"
    assert (delta["type"], last["type"]) == ("message_delta", "message_stop")
    message: dict[str, Any] = first["message"]
    assert message["content"] == []
    assert message["stop_reason"] is None
    message["content"] = _blocks(middle)
    message |= delta["delta"]
    # What is counted at the end is the whole, not an addition.
    message["usage"] |= {key: value for key, value in delta["usage"].items() if value is not None}
    return Message.model_validate(message)


def _blocks(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The content blocks: one open at a time, numbered from 0, each closed."""
    blocks: list[dict[str, Any]] = []
    opened = False
    for event in events:
        kind = event["type"]
        if kind == "content_block_start":
            assert not opened
            assert event["index"] == len(blocks)
            opened = True
            blocks.append({**event["content_block"], "_json": ""})
        elif kind == "content_block_stop":
            assert opened
            assert event["index"] == len(blocks) - 1
            opened = False
            _close(blocks[-1])
        else:
            assert kind == "content_block_delta"
            assert opened
            assert event["index"] == len(blocks) - 1
            _grow(blocks[-1], event["delta"])
    assert not opened
    return blocks


def _grow(block: dict[str, Any], delta: dict[str, Any]) -> None:
    field, name = {
        "text_delta": ("text", "text"),
        "thinking_delta": ("thinking", "thinking"),
        "signature_delta": ("signature", "signature"),
        "input_json_delta": ("_json", "partial_json"),
    }[delta["type"]]
    assert field == "_json" or field in block, "a delta of another kind than its block"
    block[field] += delta[name]


def _close(block: dict[str, Any]) -> None:
    text = block.pop("_json")
    if block["type"] == "tool_use":
        assert block["input"] == {}, "arguments come in deltas"
        block["input"] = json.loads(text or "{}")


def text_of(message: Message) -> str:
    """The text of all its blocks of text."""
    return "".join(block.text for block in message.content if block.type == "text")


def calls_of(message: Message) -> list[tuple[str, Any]]:
    """Name and input of each tool use."""
    return [(block.name, block.input) for block in message.content if block.type == "tool_use"]
