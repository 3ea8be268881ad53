"""Reasoning in a conversation that its new provider never gave: taken out where the bytes would go untouched.

A client sends back what it was given, also by another provider. Anthropic refuses thinking that it has not
signed, OpenAI sealed reasoning that is not its own; the pairs see to that, and this to the same dialect on
both sides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from dialects.parts import SEAL
from dialects.types import JsonObject

# The fields to set in the client's body (None: to take out), and the names of what was lost.
Removal = tuple[JsonObject, list[str]]
NOTHING: Removal = ({}, [])


def foreign_reasoning(dialect: str, raw: bytes, body: JsonObject) -> Removal:
    """What has to change in a checked body of this dialect, `raw` as it arrived."""
    sign, remove = _REMOVALS.get(dialect, _NO_REMOVAL)
    return remove(body) if sign and sign in raw else NOTHING


def _is_sealed(value: Any) -> bool:
    return type(value) is str and value.startswith(SEAL)


# --- Messages


def _unsigned(body: JsonObject) -> Removal:
    messages: list[JsonObject] = []
    trimmed: JsonObject | None = None
    found = False
    for message in body["messages"]:
        content = message["content"]
        if type(content) is list and message["role"] == "assistant":
            kept = [block for block in content if not _is_unsigned(block)]
            if len(kept) < len(content):
                found = True
                # A turn of nothing else is no turn; its neighbours are the same person's.
                if not kept:
                    continue
                message = trimmed = {**message, "content": kept}
        messages.append(message)
    if not found:
        return NOTHING
    patch: JsonObject = {"messages": messages}
    lost = ["messages.content.thinking"]
    if trimmed is not None and _must_begin_with_thinking(body, messages, trimmed):
        lost.append("thinking")
        patch["thinking"] = None
        patch |= _without_clearing(body)
    return patch, lost


def _is_unsigned(block: JsonObject) -> bool:
    kind = block["type"]
    if kind == "thinking":
        signature = block.get("signature")
        return not signature or _is_sealed(signature)
    return kind == "redacted_thinking" and (not block.get("data") or _is_sealed(block["data"]))


def _must_begin_with_thinking(body: JsonObject, messages: list[JsonObject], trimmed: JsonObject) -> bool:
    """True for the turn of a running tool loop, or one to be continued, while thinking has a budget."""
    thinking = body.get("thinking")
    if type(thinking) is not dict or thinking.get("type") != "enabled":
        return False
    if trimmed["content"][0]["type"] in ("thinking", "redacted_thinking"):
        return False
    last = next(message for message in reversed(messages) if message["role"] == "assistant")
    after = messages[-1]["content"]
    goes_on = type(after) is list and any(block["type"] == "tool_result" for block in after)
    return last is trimmed and (messages[-1] is trimmed or goes_on)


def _without_clearing(body: JsonObject) -> JsonObject:
    """Clearing thinking from the context is refused where there is none."""
    managed = body.get("context_management")
    if type(managed) is not dict or type(managed.get("edits")) is not list:
        return {}
    edits = managed["edits"]
    kept = [e for e in edits if type(e) is not dict or not str(e.get("type")).startswith("clear_thinking")]
    return {"context_management": {**managed, "edits": kept} if kept else None}


# --- Chat completions, where reasoning goes back in fields that others have added


def _sealed_blocks(body: JsonObject) -> Removal:
    messages: list[JsonObject] = []
    lost: list[str] = []
    for message in body["messages"]:
        changed = dict(message)
        for name in ("thinking_blocks", "reasoning_details"):
            blocks = message.get(name)
            if type(blocks) is not list:
                continue
            kept = [b for b in blocks if type(b) is not dict or not any(map(_is_sealed, b.values()))]
            if len(kept) < len(blocks):
                changed[name] = kept
                if f"messages.{name}" not in lost:
                    lost.append(f"messages.{name}")
            if not kept:
                del changed[name]
        messages.append(changed)
    return ({"messages": messages}, lost) if lost else NOTHING


# --- Responses


def _sealed_items(body: JsonObject) -> Removal:
    given = body.get("input")
    if type(given) is not list:
        return NOTHING
    kept = [i for i in given if i.get("type") != "reasoning" or not _is_sealed(i.get("encrypted_content"))]
    return ({"input": kept}, ["input.reasoning"]) if len(kept) < len(given) else NOTHING


# What a body must contain to be looked at, which most do not, and who looks.
_NO_REMOVAL: tuple[bytes, Callable[[JsonObject], Removal]] = (b"", lambda _: NOTHING)
_REMOVALS: Mapping[str, tuple[bytes, Callable[[JsonObject], Removal]]] = {
    "messages": (b"thinking", _unsigned),
    "count_tokens": (b"thinking", _unsigned),
    "chat": (SEAL.encode(), _sealed_blocks),
    "responses": (SEAL.encode(), _sealed_items),
    "response_tokens": (SEAL.encode(), _sealed_items),
}
