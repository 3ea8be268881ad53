"""What OpenAI refuses of a responses request, in its own words: fields, ranges, tools, formats."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from openai.types.responses import response_create_params
from typing_extensions import get_type_hints

from tests.support.upstream.models import OpenAIModel
from tests.support.upstream.openai_responses_items import check_item
from tests.support.upstream.openai_rules import known_model
from tests.support.upstream.openai_shapes import (
    check_length,
    check_name,
    check_only,
    check_type,
    missing,
    unsupported,
)
from tests.support.upstream.refused import RefusedError, is_number, tag
from tests.support.upstream.schemas import openai_strict_fault, schema_fault

_FIELDS = frozenset(get_type_hints(response_create_params.ResponseCreateParamsBase)) | {
    "stream",
    "client_metadata",
}
_TYPES = {
    "model": "string",
    "instructions": "string",
    "max_output_tokens": "integer",
    "temperature": "number",
    "top_p": "number",
    "top_logprobs": "integer",
    "stream": "boolean",
    "store": "boolean",
    "background": "boolean",
    "parallel_tool_calls": "boolean",
    "tools": "array",
    "include": "array",
    "text": "object",
    "reasoning": "object",
    "metadata": "object",
    "stream_options": "object",
    "previous_response_id": "string",
    "user": "string",
    "safety_identifier": "string",
    "prompt_cache_key": "string",
}
_RANGES: dict[str, tuple[float, float]] = {
    "temperature": (0, 2),
    "top_p": (0, 1),
    "top_logprobs": (0, 20),
    "max_output_tokens": (16, 1e9),
}
_FUNCTION = ("type", "name", "description", "parameters", "strict", "defer_loading")
_CUSTOM = ("type", "name", "description", "format", "defer_loading")
_HOSTED = (
    "web_search",
    "file_search",
    "code_interpreter",
    "image_generation",
    "mcp",
    "computer",
    "tool_search",
)


def check_responses(body: dict[str, Any], extra_models: Collection[str]) -> None:
    """Everything that /v1/responses checks of the request by itself; stored conversations come later."""
    _check_fields(body)
    model = known_model(body, extra_models)
    if model.kind != "chat":
        raise RefusedError(
            f"The requested model '{body['model']}' cannot be used with the Responses API.",
            param="model",
            code="unsupported_model",
        )
    _check_ranges(body, model)
    _check_stream_options(body)
    _check_reasoning(body, model)
    _check_tools(body.get("tools") or [])
    _check_choice(body)
    _check_format(body)
    _check_input(body)


# -- fields


def _check_fields(body: dict[str, Any]) -> None:
    for key in body:
        if key not in _FIELDS:
            raise RefusedError(f"Unknown parameter: '{key}'.", param=key, code="unknown_parameter")
    if not body.get("model"):
        raise missing("model")
    for key, kind in _TYPES.items():
        if body.get(key) is not None:
            check_type(body[key], kind, key)


def _check_input(body: dict[str, Any]) -> None:
    given = body.get("input")
    if given is None:
        if not any(body.get(key) for key in ("previous_response_id", "conversation", "prompt")):
            raise missing("input")
    elif not isinstance(given, str):
        check_type(given, "array", "input")
        for index, item in enumerate(given):
            check_item(item, f"input[{index}]")


def _check_ranges(body: dict[str, Any], model: OpenAIModel) -> None:
    for key, (low, high) in _RANGES.items():
        value = body.get(key)
        if is_number(value) and not low <= value <= high:
            which, name = ("below minimum", "min") if value < low else ("above maximum", "max")
            bound, sign = (low, ">=") if value < low else (high, "<=")
            raise RefusedError(
                f"Invalid '{key}': integer {which} value. Expected a value {sign} {bound}, but got {value} "
                "instead.",
                param=key,
                code=f"integer_{which.partition(' ')[0]}_{name}_value",
            )
    if (body.get("max_output_tokens") or 0) > model.max_output:
        raise RefusedError(
            f"max_output_tokens is too large: {body['max_output_tokens']}. This model supports at most "
            f"{model.max_output} output tokens.",
            param="max_output_tokens",
            code="invalid_value",
        )
    check_length(body.get("safety_identifier") or "", 128, "safety_identifier")


def _check_stream_options(body: dict[str, Any]) -> None:
    options = body.get("stream_options")
    if options is None:
        return
    if not body.get("stream"):
        raise RefusedError(
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.", param="stream_options"
        )
    check_only(options, ("include_obfuscation",), "stream_options")


def _check_reasoning(body: dict[str, Any], model: OpenAIModel) -> None:
    reasoning = body.get("reasoning") or {}
    check_only(reasoning, ("effort", "summary", "generate_summary", "context", "mode"), "reasoning")
    effort = reasoning.get("effort")
    if not model.reasons:
        for key in ("effort", "summary"):
            if reasoning.get(key) not in (None, "none"):
                raise unsupported(f"reasoning.{key}")
        return
    if effort is not None and effort not in model.efforts:
        listed = ", ".join(f"'{choice}'" for choice in model.efforts)
        raise RefusedError(
            f"Unsupported value: '{effort}' is not supported with this model. Supported values are: "
            f"{listed}.",
            param="reasoning.effort",
            code="unsupported_value",
        )
    for key in ("temperature", "top_p", "top_logprobs"):
        if effort != "none" and body.get(key) not in (None, 0 if key == "top_logprobs" else 1):
            raise unsupported(key)


def _check_tools(tools: list[Any]) -> None:
    for index, tool in enumerate(tools):
        where = f"tools[{index}]"
        check_type(tool, "object", where)
        kind = tag(tool.get("type"))
        if kind == "namespace":
            _check_tools(tool.get("tools") or [])
        elif kind in ("function", "custom"):
            if tool.get("name") is None:
                raise missing(f"{where}.name")
            check_name(tool["name"], f"{where}.name")
            check_only(tool, _FUNCTION if kind == "function" else _CUSTOM, where)
            if kind == "function":
                _check_schema(tool, where)
        elif kind not in _HOSTED:
            raise RefusedError(f"Invalid value: '{kind}'.", param=f"{where}.type", code="invalid_value")


def _check_schema(tool: dict[str, Any], where: str) -> None:
    if "parameters" not in tool:
        raise missing(f"{where}.parameters")
    schema = tool["parameters"]
    if schema is None:
        return
    check_type(schema, "object", f"{where}.parameters")
    # Left out, strict is tried and not insisted on.
    fault = (openai_strict_fault if tool.get("strict") else schema_fault)(schema)
    if fault:
        raise RefusedError(
            f"Invalid schema for function '{tool['name']}': {fault}",
            param=f"{where}.parameters",
            code="invalid_function_parameters",
        )


def _check_choice(body: dict[str, Any]) -> None:
    choice = body.get("tool_choice")
    tools = body.get("tools") or []
    if isinstance(choice, dict):
        kind, name = tag(choice.get("type")), choice.get("name")
        if kind in ("function", "custom"):
            check_only(choice, ("type", "name", "namespace"), "tool_choice")
            names = [one.get("name") for tool in tools for one in (tool, *(tool.get("tools") or ()))]
            if name not in names:
                raise RefusedError(
                    f"Tool choice '{kind}' not found in 'tools' parameter.", param="tool_choice"
                )
        elif kind == "allowed_tools":
            check_only(choice, ("type", "mode", "tools"), "tool_choice")
        elif kind not in [tool.get("type") for tool in tools]:
            raise RefusedError(f"Tool choice '{kind}' not found in 'tools' parameter.", param="tool_choice")
    elif choice not in (None, "none", "auto", "required"):
        raise RefusedError(
            f"Invalid value: '{choice}'. Supported values are: 'none', 'auto', and 'required'.",
            param="tool_choice",
            code="invalid_value",
        )


def _check_format(body: dict[str, Any]) -> None:
    text = body.get("text") or {}
    check_only(text, ("format", "verbosity"), "text")
    form = text.get("format")
    if form is None:
        return
    kind = tag(form.get("type"))
    if kind == "json_schema":
        check_only(form, ("type", "name", "schema", "strict", "description"), "text.format")
        for key in ("name", "schema"):
            if form.get(key) is None:
                raise missing(f"text.format.{key}")
        check_name(form["name"], "text.format.name")
        fault = (openai_strict_fault if form.get("strict") else schema_fault)(form["schema"])
        if fault:
            raise RefusedError(
                f"Invalid schema for response_format '{form['name']}': {fault}",
                param="text.format.schema",
                code="invalid_json_schema",
            )
    elif kind == "json_object" and "json" not in str(body.get("input")).lower():
        raise RefusedError(
            "Response input messages must contain the word 'json' in some form to use 'text.format' of type "
            "'json_object'.",
            param="input",
        )
    elif kind not in ("text", "json_object"):
        raise RefusedError(f"Invalid value: '{kind}'.", param="text.format.type", code="invalid_value")
