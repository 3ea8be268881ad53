"""How a stream of responses ends that breaks off: `response.failed`, with what was made so far."""

from __future__ import annotations

import time
from typing import Any

from dialects.errors import GatewayError
from dialects.parts import new_id
from dialects.sse import frame_json
from dialects.types import JsonObject

# Codes that the API's own type allows, and those on which agents act; every other one is a server's error.
_CODES = frozenset({"rate_limit_exceeded", "invalid_prompt", "context_length_exceeded", "insufficient_quota"})

# Where the pieces of an open item belong, by their event: the list of parts and the part, or the field.
_PARTS: dict[str, tuple[str, JsonObject]] = {
    "response.output_text.delta": ("content", {"type": "output_text", "annotations": [], "logprobs": []}),
    "response.refusal.delta": ("content", {"type": "refusal"}),
    "response.reasoning_text.delta": ("content", {"type": "reasoning_text"}),
    "response.reasoning_summary_text.delta": ("summary", {"type": "summary_text"}),
}
_FIELDS = {
    "response.function_call_arguments.delta": "arguments",
    "response.custom_tool_call_input.delta": "input",
}


def failed(response: JsonObject, number: int, error: GatewayError, request_id: str) -> bytes:
    """The last event of a response that fails: `response` is what is known of it, `number` the event's."""
    code = error.code if error.code in _CODES else "server_error"
    ended = {
        **response,
        "status": "failed",
        "error": {"code": code, "message": error.message},
        "incomplete_details": None,
    }
    event = {
        "type": "response.failed",
        "sequence_number": number,
        "response": ended,
        "request_id": request_id,
    }
    return frame_json(event, "response.failed")


class Progress:
    """What a client has of a response whose events pass untouched: its head, its items, the last number."""

    __slots__ = ("_items", "_number", "_open", "_response")

    def __init__(self) -> None:
        self._number = -1
        self._response: JsonObject = {}
        self._items: dict[int, JsonObject] = {}
        # Pieces of the items that are not done, by item, event and part.
        self._open: dict[tuple[Any, str, Any], list[str]] = {}

    def see(self, kind: str, body: JsonObject) -> None:
        """Take note of one event that goes to the client."""
        number = body.get("sequence_number")
        self._number = number if type(number) is int else self._number + 1
        if kind.endswith(".delta"):
            self._piece(kind, body)
        elif kind.startswith("response.output_item."):
            self._item(body.get("output_index"), body.get("item"), is_whole=kind.endswith(".done"))
        elif type(body.get("response")) is dict:
            self._response = body["response"]

    def fail(self, error: GatewayError, request_id: str) -> bytes:
        """The event that ends it here."""
        start = {"id": new_id("resp_"), "object": "response", "created_at": int(time.time()), "model": ""}
        output = [self._so_far(index, self._items[index]) for index in sorted(self._items)]
        return failed({**start, **self._response, "output": output}, self._number + 1, error, request_id)

    def _piece(self, kind: str, body: JsonObject) -> None:
        delta = body.get("delta")
        if type(delta) is not str:
            return
        part = body.get("content_index")
        key = body.get("output_index"), kind, body.get("summary_index") if part is None else part
        pieces = self._open.get(key)
        if pieces is None:
            self._open[key] = [delta]
        else:
            pieces.append(delta)

    def _item(self, index: Any, item: Any, *, is_whole: bool) -> None:
        if type(index) is not int or type(item) is not dict:
            return
        self._items[index] = item
        if is_whole:
            self._open = {key: pieces for key, pieces in self._open.items() if key[0] != index}

    def _so_far(self, index: int, item: JsonObject) -> JsonObject:
        """An item with the pieces that came for it."""
        if item.get("status") == "in_progress":
            item = {**item, "status": "incomplete"}
        parts: dict[str, list[JsonObject]] = {}
        for (place, kind, _), pieces in self._open.items():
            text = "".join(pieces)
            if place != index:
                continue
            if kind in _FIELDS:
                item = {**item, _FIELDS[kind]: text}
            elif kind in _PARTS:
                name, part = _PARTS[kind]
                said = "refusal" if part["type"] == "refusal" else "text"
                parts.setdefault(name, []).append({**part, said: text})
        return {**item, **parts}
