"""What OpenAI refuses of the items of a responses request: types, fields, ids, content, and their order."""

from __future__ import annotations

from collections.abc import Callable, Collection
from itertools import zip_longest
from typing import Any, get_args

from openai.types.responses import response_input_param
from typing_extensions import get_type_hints, is_typeddict

from tests.support.upstream.openai_shapes import check_length, check_only, check_type, missing
from tests.support.upstream.refused import RefusedError, image_type, tag, unbase64
from tests.support.upstream.signing import redacted_is_ours

_PARTS_OF = {
    "user": ("input_text", "input_image", "input_file"),
    "assistant": ("output_text", "refusal"),
}
_ID_OF = {"message": "msg", "function_call": "fc", "custom_tool_call": "ctc", "reasoning": "rs"}
_CALLS = {"function_call": "function_call_output", "custom_tool_call": "custom_tool_call_output"}


def _item_fields() -> dict[str, frozenset[str]]:
    """The fields of each type of input item, as the SDK's types have them."""
    fields: dict[str, frozenset[str]] = {}
    for item in get_args(response_input_param.ResponseInputItemParam):
        if is_typeddict(item):
            hints = get_type_hints(item)
            for kind in [k for k in get_args(hints["type"]) if isinstance(k, str)] or get_args(
                get_args(hints["type"])[0]
            ):
                fields[kind] = fields.get(kind, frozenset()) | frozenset(hints)
    return fields


_ITEMS = _item_fields()


def check_order(items: list[dict[str, Any]]) -> None:
    """Calls have outputs and outputs have calls, reasoning is followed by what it led to."""
    calls = {item.get("call_id"): item["type"] for item in items if item.get("type") in _CALLS}
    outputs = {item.get("call_id") for item in items if item.get("type") in _CALLS.values()}
    for item in items:
        kind = item.get("type", "message")
        call_id = item.get("call_id")
        if kind in _CALLS and call_id not in outputs:
            raise RefusedError(f"No tool output found for function call {call_id}.", param="input")
        if kind in _CALLS.values() and _CALLS.get(calls.get(call_id, "")) != kind:
            raise RefusedError(
                f"No tool call found for function call output with call_id {call_id}.", param="input"
            )
    nothing: dict[str, Any] = {}
    for item, after in zip_longest(items, items[1:], fillvalue=nothing):
        follows = after.get("role") == "assistant" or after.get("type") in (*_CALLS, "reasoning")
        if item.get("type") == "reasoning" and not follows:
            raise RefusedError(
                f"Item '{item.get('id')}' of type 'reasoning' was provided without its required following "
                "item.",
                param="input",
            )


def check_item(item: Any, where: str) -> None:
    """One item by itself."""
    check_type(item, "object", where)
    kind = tag(item.get("type")) or ("message" if "role" in item else "item_reference")
    if kind not in _ITEMS:
        raise RefusedError(f"Invalid value: '{kind}'.", param=f"{where}.type", code="invalid_value")
    # Every item of an answer has a status and may come back as it was, whatever the SDK's types say.
    check_only(item, _ITEMS[kind] | {"status"}, where)
    prefix = _ID_OF.get(kind)
    if prefix and item.get("id") is not None and not str(item["id"]).startswith(prefix):
        raise RefusedError(
            f"Invalid '{where}.id': '{item['id']}'. Expected an ID that begins with '{prefix}'.",
            param=f"{where}.id",
            code="invalid_value",
        )
    check = _CHECKS.get(kind)
    if check is not None:
        check(item, where)


def _check_message(item: dict[str, Any], where: str) -> None:
    role = item.get("role")
    if role not in ("user", "assistant", "system", "developer"):
        raise RefusedError(
            f"Invalid value: '{role}'. Supported values are: 'assistant', 'system', 'developer', and 'user'.",
            param=f"{where}.role",
            code="invalid_value",
        )
    _check_content(item.get("content"), _PARTS_OF.get(role, ("input_text",)), f"{where}.content")


def _check_content(content: Any, allowed: Collection[str], where: str) -> None:
    if content is None:
        raise missing(where)
    if isinstance(content, str):
        return
    check_type(content, "array", where)
    for index, part in enumerate(content):
        at = f"{where}[{index}]"
        check_type(part, "object", at)
        kind = tag(part.get("type"))
        if kind not in allowed:
            listed = " and ".join(f"'{known}'" for known in allowed)
            raise RefusedError(
                f"Invalid value: '{kind}'. Supported values are: {listed}.",
                param=f"{at}.type",
                code="invalid_value",
            )
        if kind in ("input_text", "output_text"):
            check_type(part.get("text"), "string", f"{at}.text")
        elif kind == "input_image":
            _check_image(part, at)
        elif kind == "input_file" and not any(part.get(k) for k in ("file_data", "file_url", "file_id")):
            raise missing(f"{at}.file_id")


def _check_image(part: dict[str, Any], where: str) -> None:
    url = part.get("image_url")
    if part.get("file_id"):
        return
    check_type(url, "string", f"{where}.image_url")
    if str(url).startswith("data:"):
        data = unbase64(str(url).partition(",")[2])
        if data is None or image_type(data) is None:
            raise RefusedError(
                f"Invalid '{where}.image_url'. Expected a base64-encoded data URL with an image MIME type.",
                param=f"{where}.image_url",
                code="invalid_value",
            )


def _check_call(item: dict[str, Any], where: str) -> None:
    for key in ("call_id", "name", "input" if item["type"] == "custom_tool_call" else "arguments"):
        if item.get(key) is None:
            raise missing(f"{where}.{key}")
        check_type(item[key], "string", f"{where}.{key}")
    check_length(item["call_id"], 64, f"{where}.call_id")


def _check_output(item: dict[str, Any], where: str) -> None:
    if item.get("call_id") is None:
        raise missing(f"{where}.call_id")
    _check_content(item.get("output"), _PARTS_OF["user"], f"{where}.output")


def _check_reasoning_item(item: dict[str, Any], where: str) -> None:
    if item.get("summary") is None:
        raise missing(f"{where}.summary")
    sealed = item.get("encrypted_content")
    if sealed is not None and not (sealed.startswith("gAAAA") and redacted_is_ours(sealed[5:])):
        raise RefusedError(
            f"The encrypted content {sealed[:8]}... could not be verified.", code="invalid_encrypted_content"
        )


_CHECKS: dict[str, Callable[[dict[str, Any], str], None]] = {
    "message": _check_message,
    "function_call": _check_call,
    "custom_tool_call": _check_call,
    "function_call_output": _check_output,
    "custom_tool_call_output": _check_output,
    "reasoning": _check_reasoning_item,
}
