"""Two pairs in a row whose whole answers go the way of streams, so that parts keep their order.

A message of chat completions has one text, one reasoning and its calls. Anthropic's turns and OpenAI's items
have many of each in an order of their own, and thinking that is sent back out of order is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import orjson

from dialects.as_stream import AS_STREAM
from dialects.composed import Composed, Outer
from dialects.parts import Losses, answered_input, invalid_answer
from dialects.sse import SseFramer
from dialects.types import Dialect, JsonObject, Translator

# The whole answer is in memory already: what it is cut into on its way needs no bound of its own.
_NO_LIMIT = 1 << 40


@dataclass(frozen=True, slots=True)
class Ends:
    """The two dialects at the ends, by their names."""

    client: str
    provider: str


class InOrder(Composed):
    """One attempt across both pairs."""

    def __init__(
        self, outer: Callable[[], Outer], middle: Dialect, inner: Callable[[], Translator], ends: Ends
    ) -> None:
        super().__init__(outer, middle, inner)
        self._framer = SseFramer(_NO_LIMIT)
        self._ends = ends

    def response(self, body: JsonObject) -> JsonObject:
        # Refuses what is no answer, or one that has failed.
        self._inner.response(body)
        try:
            events = SseFramer(_NO_LIMIT).feed(AS_STREAM[self._ends.provider](body))
        except (AttributeError, KeyError, TypeError):
            raise invalid_answer() from None
        frames = b"".join(map(self.event, events)) + self.finish()
        return _GATHERED[self._ends.client](_data(frames), self._losses)


def _data(frames: bytes) -> Iterable[JsonObject]:
    """The events in frames of our own writing: a name, and JSON in one line."""
    for frame in frames.split(b"\n\n"):
        _, found, data = frame.partition(b"\ndata: ")
        if found:
            yield orjson.loads(data)


def _response(events: Iterable[JsonObject], _losses: Losses) -> JsonObject:
    *_, last = events
    response: JsonObject = last["response"]
    return response


# Where the pieces of an Anthropic block go, by their type.
_FIELDS: Mapping[str, str] = {
    "text_delta": "text",
    "thinking_delta": "thinking",
    "signature_delta": "signature",
    "input_json_delta": "partial_json",
}


def _message(events: Iterable[JsonObject], losses: Losses) -> JsonObject:
    message: JsonObject = {}
    blocks: list[JsonObject] = []
    pieces: dict[str, list[str]] = {}
    for event in events:
        kind = event["type"]
        if kind == "message_start":
            message = event["message"]
        elif kind == "content_block_start":
            blocks.append(event["content_block"])
        elif kind == "content_block_delta":
            name = _FIELDS[event["delta"]["type"]]
            pieces.setdefault(name, []).append(event["delta"][name])
        elif kind == "content_block_stop":
            _put(blocks[-1], {name: "".join(said) for name, said in pieces.items()}, losses)
            pieces = {}
        elif kind == "message_delta":
            message |= {**event["delta"], "usage": event["usage"]}
    return {**message, "content": blocks}


def _put(block: JsonObject, said: JsonObject, losses: Losses) -> None:
    """Make a block whole that is over."""
    if block["type"] == "tool_use":
        block["input"] = answered_input(said.get("partial_json"), losses)
    else:
        block |= said


_GATHERED: Mapping[str, Callable[[Iterable[JsonObject], Losses], JsonObject]] = {
    "messages": _message,
    "responses": _response,
}
