"""What OpenAI refuses of tools, tool choices and response formats."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.support.upstream.openai_shapes import check_name, check_only, check_type, empty, missing
from tests.support.upstream.refused import RefusedError, tag
from tests.support.upstream.schemas import openai_strict_fault, schema_fault


def check_tools(body: dict[str, Any]) -> None:
    for group in ("tools", "functions"):
        entries = body.get(group)
        if entries is None:
            continue
        if not entries:
            raise empty(group)
        for index, entry in enumerate(entries):
            where = f"{group}[{index}]"
            check_type(entry, "object", where)
            _check_function(entry, where) if group == "functions" else _check_tool(entry, where)


def _check_tool(tool: dict[str, Any], where: str) -> None:
    kind = tag(tool.get("type"))
    if kind not in ("function", "custom"):
        raise RefusedError(
            f"Invalid value: '{kind}'. Supported values are: 'function' and 'custom'.",
            param=f"{where}.type",
            code="invalid_value",
        )
    check_only(tool, ("type", kind), where)
    check_type(tool.get(kind), "object", f"{where}.{kind}")
    if kind == "function":
        _check_function(tool["function"], f"{where}.function")


def _check_function(function: dict[str, Any], where: str) -> None:
    check_only(function, ("name", "description", "parameters", "strict"), where)
    name = function.get("name")
    if name is None:
        raise missing(f"{where}.name")
    check_name(name, f"{where}.name")
    schema = function.get("parameters")
    if schema is None:
        return
    check_type(schema, "object", f"{where}.parameters")
    fault = (openai_strict_fault if function.get("strict") else schema_fault)(schema)
    if fault is None and schema and schema.get("type") != "object":
        fault = f"schema must be a JSON Schema of 'type: \"object\"', got 'type: \"{schema.get('type')}\"'."
    if fault:
        raise RefusedError(
            f"Invalid schema for function '{name}': {fault}",
            param=f"{where}.parameters",
            code="invalid_function_parameters",
        )


def check_tool_choice(body: dict[str, Any]) -> None:
    for key, owner in (
        ("tool_choice", "tools"),
        ("parallel_tool_calls", "tools"),
        ("function_call", "functions"),
    ):
        if body.get(key) is not None and not body.get(owner):
            raise RefusedError(
                f"Invalid value for '{key}': '{key}' is only allowed when '{owner}' are specified.", param=key
            )
    choice = body.get("tool_choice")
    if isinstance(choice, dict):
        _check_named_choice(choice, body["tools"])
    elif choice not in (None, "none", "auto", "required"):
        raise _invalid_choice(choice)


def _invalid_choice(choice: Any) -> RefusedError:
    return RefusedError(
        f"Invalid value: '{choice}'. Supported values are: 'none', 'auto', and 'required'.",
        param="tool_choice",
        code="invalid_value",
    )


def _check_named_choice(choice: dict[str, Any], tools: list[dict[str, Any]]) -> None:
    kind = tag(choice.get("type"))
    if kind not in ("function", "custom", "allowed_tools"):
        raise _invalid_choice(kind)
    check_only(choice, ("type", kind), "tool_choice")
    check_type(choice.get(kind), "object", f"tool_choice.{kind}")
    if kind == "allowed_tools":
        if choice[kind].get("mode") not in ("auto", "required"):
            raise _invalid_choice(choice[kind].get("mode"))
        return
    name = choice[kind].get("name")
    if name not in [tool[tool["type"]].get("name") for tool in tools]:
        raise RefusedError(
            f"Tool choice '{kind}' not found in 'tools' parameter: '{name}'.",
            param="tool_choice",
            code="invalid_value",
        )


def check_format(body: dict[str, Any]) -> None:
    wish = body.get("response_format")
    if wish is None:
        return
    checks: dict[Any, Callable[[dict[str, Any], Any], None]] = {
        "text": lambda _wish, _messages: None,
        "json_object": _check_json_object,
        "json_schema": _check_json_schema,
    }
    kind = tag(wish.get("type"))
    if kind not in checks:
        raise RefusedError(
            f"Invalid value: '{wish.get('type')}'. Supported values are: 'json_object', 'json_schema', and "
            "'text'.",
            param="response_format.type",
            code="invalid_value",
        )
    checks[kind](wish, body["messages"])


def _check_json_object(_wish: dict[str, Any], messages: Any) -> None:
    if "json" not in str(messages).lower():
        raise RefusedError(
            "'messages' must contain the word 'json' in some form, to use 'response_format' of type "
            "'json_object'.",
            param="messages",
        )


def _check_json_schema(wish: dict[str, Any], _messages: Any) -> None:
    form = wish.get("json_schema")
    where = "response_format.json_schema"
    if not isinstance(form, dict) or not form.get("name"):
        raise missing(f"{where}.name" if isinstance(form, dict) else where)
    check_only(form, ("name", "description", "schema", "strict"), where)
    check_name(form["name"], f"{where}.name")
    check_type(form.get("schema", {}), "object", f"{where}.schema")
    fault = (openai_strict_fault if form.get("strict") else schema_fault)(form.get("schema", {}))
    if fault:
        raise RefusedError(
            f"Invalid schema for response_format '{form['name']}': {fault}", param="response_format"
        )
