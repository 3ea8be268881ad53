"""A complete stream in a client's dialect as the whole answer that it tells: the inverse of `as_stream`.

One function per dialect, over the events of a stream that has ended as it should. An event or a field that
cannot be put together with the others raises TypeError, KeyError or the like: then nobody can tell what the
whole would be.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from dialects.types import Event, JsonObject


def as_whole(dialect: str, events: Sequence[Event]) -> JsonObject | None:
    """The answer that these events tell; None where they do not add up to one."""
    try:
        return _WHOLE[dialect]([event.json() for event in events if event.data not in (b"", b"[DONE]")])
    except (KeyError, TypeError, AttributeError, IndexError, ValueError):
        return None


# --- Chat completions, and legacy ones

# What is said piece by piece.
_PIECES = frozenset({"content", "refusal", "reasoning_content", "reasoning"})
_CALL_PIECES = frozenset({"arguments", "input"})


def _chat(chunks: Sequence[JsonObject]) -> JsonObject:
    head = _head(chunks)
    choices: dict[int, JsonObject] = {}
    for chunk in chunks:
        for piece in chunk.get("choices") or ():
            index = piece.get("index") or 0
            begun = {"index": index, "message": {"role": "assistant", "content": None}}
            choice = choices.setdefault(index, begun)
            _add_delta(choice["message"], piece.get("delta") or {})
            _add_ending(choice, piece)
    for choice in choices.values():
        _settle_calls(choice["message"])
    return {**head, "object": "chat.completion", "choices": [choices[index] for index in sorted(choices)]}


def _head(chunks: Sequence[JsonObject]) -> JsonObject:
    """What is said beside the choices: by the first, or by the first that says it."""
    head: JsonObject = {}
    for chunk in chunks:
        for name, value in chunk.items():
            # Padding against those who count bytes on the wire has no meaning of its own.
            if name not in ("choices", "obfuscation") and (value is not None or name not in head):
                head[name] = value if head.get(name) is None else head[name]
    return {name: value for name, value in head.items() if name != "usage" or value is not None}


def _add_delta(message: JsonObject, delta: JsonObject) -> None:
    for name, value in delta.items():
        if value is None or name == "role":
            continue
        if name in _PIECES:
            message[name] = (message.get(name) or "") + value
        elif name == "tool_calls":
            calls = message.setdefault("tool_calls", {})
            for call in value:
                _add_call(calls.setdefault(call["index"], {}), call)
        elif name == "function_call":
            _add_function(message.setdefault("function_call", {}), value)
        elif name == "annotations":
            message.setdefault(name, []).extend(value)
        else:
            raise TypeError("a delta that is not known")


def _add_call(call: JsonObject, piece: JsonObject) -> None:
    for name, value in piece.items():
        if name in ("function", "custom"):
            _add_function(call.setdefault(name, {}), value)
        elif name != "index" and value is not None:
            call[name] = value


def _add_function(function: JsonObject, piece: JsonObject) -> None:
    for name, value in piece.items():
        if value is not None:
            function[name] = function.get(name, "") + value if name in _CALL_PIECES else value


def _settle_calls(message: JsonObject) -> None:
    calls = message.get("tool_calls")
    if calls is not None:
        message["tool_calls"] = [calls[index] for index in sorted(calls)]


def _add_ending(choice: JsonObject, piece: JsonObject) -> None:
    """What stands beside a delta: the reason to finish, probabilities, and whatever comes once."""
    for name, value in piece.items():
        if name in ("index", "delta"):
            continue
        if name == "logprobs" and value is not None:
            choice[name] = _joined(choice.get(name), value)
        elif value is not None or name not in choice:
            choice[name] = value


def _joined(before: Any, more: JsonObject) -> JsonObject:
    joined = dict(before or {})
    for name, values in more.items():
        if values is not None:
            joined[name] = [*(joined.get(name) or ()), *values]
        else:
            joined.setdefault(name, None)
    return joined


def _completions(chunks: Sequence[JsonObject]) -> JsonObject:
    choices: dict[int, JsonObject] = {}
    for chunk in chunks:
        for piece in chunk.get("choices") or ():
            index = piece.get("index") or 0
            choice = choices.setdefault(index, {"index": index, "text": ""})
            choice["text"] += piece.get("text") or ""
            if piece.get("logprobs") is not None:
                # Offsets into a text that is put together anew.
                raise TypeError("probabilities of legacy completions")
            _add_ending(choice, {name: value for name, value in piece.items() if name != "text"})
    return {**_head(chunks), "choices": [choices[index] for index in sorted(choices)]}


# --- Messages

_DELTAS: Mapping[str, str] = {
    "text_delta": "text",
    "thinking_delta": "thinking",
    "signature_delta": "signature",
    "input_json_delta": "partial_json",
}


def _messages(events: Sequence[JsonObject]) -> JsonObject:
    message: JsonObject = {}
    blocks: list[JsonObject] = []
    written: dict[int, str] = {}
    for event in events:
        kind = event["type"]
        if kind == "message_start":
            message = dict(event["message"])
        elif kind == "content_block_start":
            blocks.append(dict(event["content_block"]))
        elif kind == "content_block_delta":
            _add_to_block(blocks[event["index"]], event["delta"], written, event["index"])
        elif kind == "message_delta":
            message |= event["delta"]
            message["usage"] = {**(message.get("usage") or {}), **(event.get("usage") or {})}
        elif kind not in ("content_block_stop", "message_stop", "ping"):
            raise TypeError("an event that is not known")
    for index, text in written.items():
        blocks[index]["input"] = orjson.loads(text) if text else {}
    return {**message, "content": blocks}


def _add_to_block(block: JsonObject, delta: JsonObject, written: dict[int, str], index: int) -> None:
    kind = delta["type"]
    if kind == "citations_delta":
        block["citations"] = [*(block.get("citations") or ()), delta["citation"]]
        return
    field = _DELTAS[kind]
    if field == "partial_json":
        written[index] = written.get(index, "") + delta[field]
    else:
        block[field] = (block.get(field) or "") + delta[field]


# --- Responses


def _responses(events: Sequence[JsonObject]) -> JsonObject:
    """Its last event holds all of it."""
    last = events[-1]
    if last["type"] not in ("response.completed", "response.incomplete"):
        raise TypeError("a stream without its end")
    response: JsonObject = last["response"]
    return response


_WHOLE: Mapping[str, Callable[[Sequence[JsonObject]], JsonObject]] = {
    "chat": _chat,
    "completions": _completions,
    "messages": _messages,
    "responses": _responses,
}
