"""What OpenAI refuses of the messages: roles, content, pictures, tool calls, and the order of calls and
results."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args, get_type_hints

from openai.types.chat import ChatCompletionContentPartParam, ChatCompletionMessageParam

from tests.support.upstream.openai_shapes import (
    check_length,
    check_name,
    check_only,
    check_type,
    empty,
    missing,
)
from tests.support.upstream.refused import RefusedError, image_type, tag, unbase64

_FIELDS = {
    get_args(hints["role"])[0]: frozenset(hints)
    for hints in map(get_type_hints, get_args(ChatCompletionMessageParam))
}
_PARTS = {
    get_args(hints["type"])[0]: frozenset(hints)
    for hints in map(get_type_hints, get_args(ChatCompletionContentPartParam))
}
_PARTS_OF = {
    "user": ("text", "image_url", "input_audio", "file"),
    "assistant": ("text", "refusal"),
}
_ID_LENGTH = 40


def check_messages(messages: list[Any]) -> None:
    """Each message by itself."""
    if not messages:
        raise empty("messages")
    for index, message in enumerate(messages):
        where = f"messages[{index}]"
        check_type(message, "object", where)
        role = tag(message.get("role"))
        if message.get("role") is None:
            raise missing(f"{where}.role")
        if role is None or role not in _FIELDS:
            listed = ", ".join(f"'{known}'" for known in _FIELDS)
            raise RefusedError(
                f"Invalid value: '{message['role']}'. Supported values are: {listed}.",
                param=f"{where}.role",
                code="invalid_value",
            )
        check_only(message, _FIELDS[role], where)
        if message.get("name") is not None:
            check_name(message["name"], f"{where}.name")
        _check_content(message, role, where)
        if role == "assistant":
            _check_calls(message, where)


def _check_content(message: dict[str, Any], role: str, where: str) -> None:
    content = message.get("content")
    if content is None:
        if role != "assistant" or not any(
            message.get(key) for key in ("tool_calls", "function_call", "refusal", "audio")
        ):
            raise RefusedError(
                "Invalid value for 'content': expected a string, got null.",
                param=where.replace("[", ".[") + ".content",
            )
        return
    if isinstance(content, str):
        return
    if not isinstance(content, list):
        raise RefusedError(
            f"Invalid type for '{where}.content': expected one of a string or array of objects, "
            f"but got {'an object' if isinstance(content, dict) else 'another type'} instead.",
            param=f"{where}.content",
            code="invalid_type",
        )
    if not content:
        raise empty(f"{where}.content")
    for index, part in enumerate(content):
        check_type(part, "object", f"{where}.content[{index}]")
        _check_part(part, role, f"{where}.content[{index}]")


def _check_part(part: dict[str, Any], role: str, where: str) -> None:
    kind = tag(part.get("type"))
    allowed = _PARTS_OF.get(role, ("text",))
    if kind == "image_url" and role != "user":
        raise RefusedError(
            f"Invalid '{where}'. Image URLs are only allowed for messages with role 'user', but this message "
            "with role "
            f"'{role}' contains an image URL.",
            param=where,
            code="invalid_value",
        )
    if kind is None or kind not in allowed:
        listed = ", ".join(f"'{known}'" for known in allowed)
        raise RefusedError(
            f"Invalid value: '{kind}'. Supported values are: {listed}.",
            param=f"{where}.type",
            code="invalid_value",
        )
    check_only(part, _PARTS.get(kind, frozenset(("type", "refusal"))), where)
    checks: dict[str, Callable[[dict[str, Any], str], None]] = {
        "text": _check_text,
        "image_url": _check_image,
        "file": _check_file,
        "input_audio": _check_audio,
    }
    if kind in checks:
        checks[kind](part, where)


def _check_text(part: dict[str, Any], where: str) -> None:
    if part.get("text") is None:
        raise missing(f"{where}.text")
    check_type(part["text"], "string", f"{where}.text")


def _check_image(part: dict[str, Any], where: str) -> None:
    check_type(part.get("image_url"), "object", f"{where}.image_url")
    check_only(part["image_url"], ("url", "detail"), f"{where}.image_url")
    url = part["image_url"].get("url")
    check_type(url, "string", f"{where}.image_url.url")
    if url.startswith(("http://", "https://")):
        return
    head, _, data = url.partition(",")
    raw = unbase64(data) if head.startswith("data:") and head.endswith(";base64") else None
    if raw is None:
        raise RefusedError(
            f"Invalid '{where}.image_url.url'. Expected a base64-encoded data URL with an image MIME type "
            "(e.g. 'data:image/png;base64,aW1nIGJ5dGVzIGhlcmU='), or a valid URL.",
            param=f"{where}.image_url.url",
            code="invalid_value",
        )
    if image_type(raw) is None:
        raise RefusedError(
            "You uploaded an unsupported image. Please make sure your image has of one the following "
            "formats: "
            "['png', 'jpeg', 'gif', 'webp'].",
            code="invalid_image_format",
        )


def _check_file(part: dict[str, Any], where: str) -> None:
    check_type(part.get("file"), "object", f"{where}.file")
    check_only(part["file"], ("file_data", "file_id", "filename"), f"{where}.file")
    data, filename = part["file"].get("file_data"), part["file"].get("filename")
    if data is None and part["file"].get("file_id") is None:
        raise missing(f"{where}.file.file_id")
    if data is not None:
        check_type(data, "string", f"{where}.file.file_data")
    if data is not None and not filename:
        raise missing(f"{where}.file.filename")
    if data is not None and (not data.startswith("data:") or unbase64(data.partition(",")[2]) is None):
        raise RefusedError(
            f"Invalid '{where}.file.file_data'. Expected a base64-encoded data URL with an application/pdf "
            "MIME type.",
            param=f"{where}.file.file_data",
            code="invalid_value",
        )


def _check_audio(part: dict[str, Any], where: str) -> None:
    check_type(part.get("input_audio"), "object", f"{where}.input_audio")
    if part["input_audio"].get("format") not in ("wav", "mp3"):
        raise RefusedError(
            "Invalid value. Supported values are: 'wav' and 'mp3'.",
            param=f"{where}.input_audio.format",
            code="invalid_value",
        )


def _check_calls(message: dict[str, Any], where: str) -> None:
    calls = message.get("tool_calls")
    if calls is None:
        return
    check_type(calls, "array", f"{where}.tool_calls")
    if not calls:
        raise empty(f"{where}.tool_calls")
    for index, call in enumerate(calls):
        at = f"{where}.tool_calls[{index}]"
        check_type(call, "object", at)
        for key in ("id", "type"):
            if call.get(key) is None:
                raise missing(f"{at}.{key}")
        check_type(call["id"], "string", f"{at}.id")
        check_length(call["id"], _ID_LENGTH, f"{at}.id")
        if call["type"] == "function":
            _check_called(call, at)
        elif call["type"] != "custom":
            raise RefusedError(f"Invalid value: '{call['type']}'.", param=f"{at}.type", code="invalid_value")


def _check_called(call: dict[str, Any], at: str) -> None:
    check_only(call, ("id", "type", "function"), at)
    check_type(call.get("function"), "object", f"{at}.function")
    check_only(call["function"], ("name", "arguments"), f"{at}.function")
    for key in ("name", "arguments"):
        if call["function"].get(key) is None:
            raise missing(f"{at}.function.{key}")
    check_name(call["function"]["name"], f"{at}.function.name")
    check_type(call["function"]["arguments"], "string", f"{at}.function.arguments")


def check_message_order(messages: list[dict[str, Any]]) -> None:
    """Each assistant message with calls is followed by one tool message per call, and no others exist."""
    waiting: list[str] = []
    known: set[str] = set()
    for index, message in enumerate(messages):
        if message["role"] == "tool":
            _check_tool_message(message, known, index)
            waiting = [call_id for call_id in waiting if call_id != message["tool_call_id"]]
            continue
        if waiting:
            raise _unanswered(waiting, index)
        known = {call["id"] for call in message.get("tool_calls") or ()}
        waiting = [call["id"] for call in message.get("tool_calls") or ()]
    if waiting:
        raise _unanswered(waiting, len(messages))


def _check_tool_message(message: dict[str, Any], known: set[str], index: int) -> None:
    call_id = message.get("tool_call_id")
    if call_id is None:
        raise missing(f"messages[{index}].tool_call_id")
    check_type(call_id, "string", f"messages[{index}].tool_call_id")
    check_length(call_id, _ID_LENGTH, f"messages[{index}].tool_call_id")
    if not known:
        raise RefusedError(
            "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with "
            "'tool_calls'.",
            param=f"messages.[{index}].role",
        )
    if call_id not in known:
        raise RefusedError(
            f"Invalid parameter: 'tool_call_id' of '{call_id}' not found in 'tool_calls' of previous "
            "message.",
            param=f"messages.[{index}].tool_call_id",
        )


def _unanswered(waiting: list[str], index: int) -> RefusedError:
    return RefusedError(
        "An assistant message with 'tool_calls' must be followed by tool messages responding to each "
        "'tool_call_id'. "
        f"The following tool_call_ids did not have response messages: {', '.join(waiting)}",
        param=f"messages.[{index}].role",
    )
