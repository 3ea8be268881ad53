"""A provider's whole answer as the stream that it should have been: for those that ignore `stream`.

One function per dialect, from an answer that `is_answer` has accepted to the bytes of the provider's own
stream. KeyError, TypeError and the like: the answer is not of its dialect's form after all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import orjson

from dialects.sse import frame_json
from dialects.types import JsonObject

_DONE = b"data: [DONE]\n\n"


# --- Chat completions, and legacy ones

# What a message says last: before it goes what was thought, all in one chunk because some say it twice.
_SAID_LAST = ("annotations", "refusal", "audio", "tool_calls", "function_call")


def _chat(answer: JsonObject) -> bytes:
    head = {**answer, "object": "chat.completion.chunk"}
    usage = head.pop("usage", None)
    chunks: list[JsonObject] = []
    for choice in answer["choices"]:
        for delta in _deltas(choice["message"]):
            # The probabilities are those of the text's tokens.
            is_said = "role" not in delta and ("content" in delta or "refusal" in delta)
            logprobs = choice.get("logprobs") if is_said else None
            chunks.append({**head, "choices": [_choice(choice, delta, logprobs)]})
        end = {**_choice(choice, {}, None), "finish_reason": choice.get("finish_reason")}
        chunks.append({**head, "choices": [end]})
    return _chunks(chunks, {**head, "choices": []}, usage)


def _choice(choice: JsonObject, delta: JsonObject, logprobs: Any) -> JsonObject:
    return {"index": choice.get("index") or 0, "delta": delta, "logprobs": logprobs, "finish_reason": None}


def _deltas(message: JsonObject) -> Iterator[JsonObject]:
    said = {name: value for name, value in message.items() if value not in (None, "", []) and name != "role"}
    content = said.pop("content", None)
    calls = "tool_calls" in said or "function_call" in said
    yield {"role": "assistant", "content": None if calls and content is None else ""}
    last = {name: said.pop(name) for name in _SAID_LAST if name in said}
    if said:
        yield said
    if content is not None:
        yield {"content": content}
    for name, value in last.items():
        if name == "tool_calls":
            value = [{**call, "index": index} for index, call in enumerate(value)]
        yield {name: value}


def _completions(answer: JsonObject) -> bytes:
    head = dict(answer)
    usage = head.pop("usage", None)
    chunks = [{**head, "choices": [choice]} for choice in answer["choices"]]
    return _chunks(chunks, {**head, "choices": []}, usage)


def _chunks(chunks: Iterable[JsonObject], last: JsonObject, usage: Any) -> bytes:
    out = b"".join(map(frame_json, chunks))
    # Its own chunk, which goes only to a client that asked for it.
    return out + (frame_json({**last, "usage": usage}) if usage else b"") + _DONE


# --- Messages

# A block as it begins, and the pieces that make it whole: the kind of delta and its field.
_BLOCKS: Mapping[str, tuple[JsonObject, tuple[tuple[str, str], ...]]] = {
    "text": ({"text": ""}, (("text_delta", "text"),)),
    "thinking": (
        {"thinking": "", "signature": ""},
        (("thinking_delta", "thinking"), ("signature_delta", "signature")),
    ),
}


def _messages(answer: JsonObject) -> bytes:
    usage = answer.get("usage") or {}
    message = {**answer, "content": [], "stop_reason": None, "stop_sequence": None, "usage": usage}
    message.pop("stop_details", None)
    events: list[JsonObject] = [{"type": "message_start", "message": message}]
    for index, block in enumerate(answer["content"]):
        begun, deltas = _block(block)
        events.append({"type": "content_block_start", "index": index, "content_block": begun})
        events += ({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas)
        events.append({"type": "content_block_stop", "index": index})
    names = ("stop_reason", "stop_sequence", "stop_details")
    ending = {name: answer[name] for name in names if name in answer}
    events.append({"type": "message_delta", "delta": ending, "usage": usage})
    events.append({"type": "message_stop"})
    return b"".join(frame_json(event, event["type"]) for event in events)


def _block(block: JsonObject) -> tuple[JsonObject, list[JsonObject]]:
    """A block as it begins, and its deltas."""
    kind = block["type"]
    if kind in _BLOCKS:
        empty, pieces = _BLOCKS[kind]
        deltas = [{"type": delta, name: block[name]} for delta, name in pieces if block.get(name)]
        cited = ({"type": "citations_delta", "citation": one} for one in block.get("citations") or ())
        begun = {**block, **empty}
        if begun.get("citations"):
            begun["citations"] = []
        return begun, [*deltas, *cited]
    if type(block.get("input")) is dict:
        written = orjson.dumps(block["input"]).decode()
        return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": written}]
    # Redacted thinking and results of the provider's own tools come whole.
    return block, []


# --- Responses

# A part of a message or of reasoning: its field with text, and the events around its deltas.
_PARTS: Mapping[str, tuple[str, str]] = {
    "output_text": ("text", "output_text"),
    "refusal": ("refusal", "refusal"),
    "reasoning_text": ("text", "reasoning_text"),
    "summary_text": ("text", "reasoning_summary_text"),
}
_CALLS: Mapping[str, tuple[str, str]] = {
    "function_call": ("arguments", "function_call_arguments"),
    "custom_tool_call": ("input", "custom_tool_call_input"),
}
_ENDS = ("completed", "incomplete", "failed")


def _responses(answer: JsonObject) -> bytes:
    status = answer.get("status")
    if status not in _ENDS:
        raise TypeError("an answer that is not over")
    begun = {**answer, "status": "in_progress", "output": [], "usage": None}
    begun |= {name: None for name in ("completed_at", "incomplete_details", "error") if name in answer}
    events: list[JsonObject] = [
        {"type": "response.created", "response": begun},
        {"type": "response.in_progress", "response": begun},
    ]
    for index, item in enumerate(answer["output"]):
        events.append({"type": "response.output_item.added", "output_index": index, "item": _added(item)})
        events += _inside(item, {"item_id": item.get("id"), "output_index": index})
        events.append({"type": "response.output_item.done", "output_index": index, "item": item})
    events.append({"type": f"response.{status}", "response": answer})
    return b"".join(
        frame_json({"type": event["type"], "sequence_number": number, **event}, event["type"])
        for number, event in enumerate(events)
    )


def _added(item: JsonObject) -> JsonObject:
    """An item as it begins."""
    begun = dict(item)
    if "status" in item:
        begun["status"] = "in_progress"
    for name in ("content", "summary"):
        if type(item.get(name)) is list:
            begun[name] = []
    if item["type"] in _CALLS:
        begun[_CALLS[item["type"]][0]] = ""
    return begun


def _inside(item: JsonObject, place: JsonObject) -> Iterator[JsonObject]:
    """The events between the beginning of an item and its end."""
    if item["type"] in _CALLS:
        field, name = _CALLS[item["type"]]
        written = item[field]
        if written:
            yield {"type": f"response.{name}.delta", **place, "delta": written}
        yield {"type": f"response.{name}.done", **place, field: written}
        return
    for index, part in enumerate(item.get("summary") or ()):
        yield from _part(part, {**place, "summary_index": index}, "reasoning_summary_part")
    for index, part in enumerate(item.get("content") or ()):
        yield from _part(part, {**place, "content_index": index}, "content_part")


def _part(part: JsonObject, place: JsonObject, around: str) -> Iterator[JsonObject]:
    if part["type"] not in _PARTS:
        return
    field, name = _PARTS[part["type"]]
    text = part[field]
    lists: JsonObject = {key: [] for key in ("annotations", "logprobs") if key in part}
    more = {"logprobs": part.get("logprobs") or []} if name == "output_text" else {}
    yield {"type": f"response.{around}.added", **place, "part": {**part, field: "", **lists}}
    if text:
        yield {"type": f"response.{name}.delta", **place, "delta": text, **more}
    for index, annotation in enumerate(part.get("annotations") or ()):
        kind = "response.output_text.annotation.added"
        yield {"type": kind, **place, "annotation_index": index, "annotation": annotation}
    yield {"type": f"response.{name}.done", **place, field: text, **more}
    yield {"type": f"response.{around}.done", **place, "part": part}


# Ollama's answers are not among them: one line is a stream of lines already.
AS_STREAM: Mapping[str, Callable[[JsonObject], bytes]] = {
    "chat": _chat,
    "completions": _completions,
    "messages": _messages,
    "responses": _responses,
}
