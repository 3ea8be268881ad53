"""The last thing that the user says in a request, and the request without it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from dialects.types import JsonObject

# Turns of these do not make a conversation: what they say stands before its first turn.
_INSTRUCTIONS = frozenset({"system", "developer"})


@dataclass(frozen=True, slots=True)
class LastTurn:
    """`text`: what the user says last; `rest`: the body with nothing in its place, not to be changed;
    `first`: nothing was said before it but instructions."""

    text: str
    rest: JsonObject
    first: bool


def last_turn(dialect: str, body: JsonObject) -> LastTurn | None:
    """None where the request does not end with a user's text alone: several parts, pictures, results of
    tools, a reply begun, or a form that is not known."""
    read = _READERS.get(dialect)
    return None if read is None else read(body)


def _of_messages(body: JsonObject) -> LastTurn | None:
    return _of_turns(body, "messages", "text")


def _of_responses(body: JsonObject) -> LastTurn | None:
    asked = body.get("input")
    if type(asked) is str:
        return LastTurn(asked, {**body, "input": None}, first=True)
    return _of_turns(body, "input", "input_text")


def _of_completions(body: JsonObject) -> LastTurn | None:
    prompt = body.get("prompt")
    return LastTurn(prompt, {**body, "prompt": None}, first=True) if type(prompt) is str else None


def _of_turns(body: JsonObject, field: str, kind: str) -> LastTurn | None:
    turns = body.get(field)
    if type(turns) is not list or not turns:
        return None
    *before, last = turns
    if type(last) is not dict or last.get("role") != "user" or last.get("type", "message") != "message":
        return None
    cut = _cut(last.get("content"), kind)
    if cut is None:
        return None
    text, left = cut
    first = all(type(turn) is dict and turn.get("role") in _INSTRUCTIONS for turn in before)
    return LastTurn(text, {**body, field: [*before, {**last, "content": left}]}, first)


def _cut(content: Any, kind: str) -> tuple[str, Any] | None:
    """The text of a content that is text alone, and the content without it."""
    if type(content) is str:
        return content, None
    if type(content) is not list or len(content) != 1 or type(content[0]) is not dict:
        return None
    part = content[0]
    text = part.get("text")
    return (text, [{**part, "text": None}]) if part.get("type") == kind and type(text) is str else None


_READERS: Mapping[str, Callable[[JsonObject], LastTurn | None]] = {
    "chat": _of_messages,
    "messages": _of_messages,
    "responses": _of_responses,
    "completions": _of_completions,
}
