"""How a whole answer ends: said to its end, with calls of tools, or in some way that is no answer to keep."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from dialects.types import JsonObject

# "complete": the model has said all it wanted to; "tools": it, or its provider, uses tools; "other":
# truncated, refused, filtered, paused, empty, or nothing that is known.
Ending = Literal["complete", "tools", "other"]


def ending(dialect: str, answer: JsonObject) -> Ending:
    """How an answer that the dialect's `is_answer` has accepted ends. An answer of a form that is not known
    is "other"."""
    try:
        return _ENDINGS[dialect](answer)
    except (KeyError, TypeError, AttributeError):
        return "other"


def _worst(endings: list[Ending]) -> Ending:
    if not endings or "other" in endings:
        return "other"
    return "tools" if "tools" in endings else "complete"


def _chat(answer: JsonObject) -> Ending:
    return _worst([_chat_choice(choice) for choice in answer["choices"]])


def _chat_choice(choice: JsonObject) -> Ending:
    message: JsonObject = choice["message"]
    # Sound and pictures lapse at their providers; a refusal may come with any reason to finish.
    if message.get("refusal") or message.get("audio") or message.get("images"):
        return "other"
    called = bool(message.get("tool_calls") or message.get("function_call"))
    finish = choice["finish_reason"]
    if finish in ("tool_calls", "function_call") or (finish == "stop" and called):
        return "tools"
    return "complete" if finish == "stop" and _said(message.get("content")) else "other"


def _said(content: Any) -> bool:
    """True for a text. Some providers answer in parts, of which only text is kept."""
    if type(content) is list:
        return bool(content) and all(part["type"] in ("text", "thinking") for part in content)
    return type(content) is str and bool(content)


def _completions(answer: JsonObject) -> Ending:
    return _worst(
        [
            "complete" if choice["finish_reason"] == "stop" and choice["text"] else "other"
            for choice in answer["choices"]
        ]
    )


def _messages(answer: JsonObject) -> Ending:
    stop = answer["stop_reason"]
    if stop not in ("end_turn", "stop_sequence", "tool_use"):
        return "other"
    kinds = {block["type"] for block in answer["content"]}
    if stop == "tool_use" or kinds - {"text", "thinking", "redacted_thinking"} or answer.get("container"):
        return "tools"
    said = any(block["text"] for block in answer["content"] if block["type"] == "text")
    return "complete" if said else "other"


def _responses(answer: JsonObject) -> Ending:
    if answer["status"] != "completed" or answer.get("error") or answer.get("incomplete_details"):
        return "other"
    parts = [part for item in answer["output"] if item["type"] == "message" for part in item["content"]]
    if any(part["type"] != "output_text" for part in parts):
        return "other"
    if any(item["type"] not in ("message", "reasoning") for item in answer["output"]):
        return "tools"
    return "complete" if any(part["text"] for part in parts) else "other"


_ENDINGS: Mapping[str, Callable[[JsonObject], Ending]] = {
    "chat": _chat,
    "completions": _completions,
    "messages": _messages,
    "responses": _responses,
}
