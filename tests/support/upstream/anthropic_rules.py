"""What Anthropic refuses, in its own words: keys, versions, fields, limits, thinking, tools; messages are
checked beside."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any, get_args, get_type_hints

from anthropic.types import ToolParam, ToolUnionParam, message_create_params
from anthropic.types.beta import message_create_params as beta_create_params

from tests.support.upstream.anthropic_messages import (
    check_messages_list,
    check_system,
    check_thinking_history,
)
from tests.support.upstream.models import ClaudeModel, claude_model
from tests.support.upstream.refused import RefusedError, is_int, is_number, tag
from tests.support.upstream.schemas import claude_format_fault, schema_fault
from tests.support.upstream.wire import Received

VERSIONS = ("2023-01-01", "2023-06-01", "2026-10-21")
_SAMPLING = (
    "temperature",
    "top_p",
    "top_k",
)  # gone from the SDK's types with the API version that refuses them
_FIELDS = frozenset(get_type_hints(message_create_params.MessageCreateParamsBase)) | {"stream", *_SAMPLING}
_BETA_FIELDS = frozenset(get_type_hints(beta_create_params.MessageCreateParamsBase)) - _FIELDS - {"betas"}
_SERVER_TOOLS = tuple(
    str(get_args(get_type_hints(tool)["type"])[0])
    for tool in get_args(ToolUnionParam)
    if tool is not ToolParam
)
_TOOL_FIELDS = frozenset(get_type_hints(ToolParam))
_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_THINKING = {
    "enabled": ("type", "budget_tokens", "display"),
    "disabled": ("type",),
    "adaptive": ("type", "display"),
    "between_tools": ("type",),
}
_CHOICES = {
    "auto": ("type", "disable_parallel_tool_use"),
    "any": ("type", "disable_parallel_tool_use"),
    "tool": ("type", "name", "disable_parallel_tool_use"),
    "none": ("type",),
}
_CACHE_MARKS = 4


def check_headers(request: Received, refused: Collection[str]) -> None:
    """A known key, by x-api-key (which wins) or as a bearer token, and a known API version."""
    bearer = request.header("authorization") or ""
    key = request.header("x-api-key") or (bearer[7:] if bearer.lower().startswith("bearer ") else "")
    if not key:
        raise RefusedError("x-api-key header is required", status=401)
    if key.startswith(tuple(refused)):
        raise RefusedError("invalid x-api-key", status=401)
    version = request.header("anthropic-version")
    if version is None:
        raise RefusedError("anthropic-version: header is required")
    if version not in VERSIONS:
        raise RefusedError(f'anthropic-version: "{version}" is not a valid version')
    if (
        request.method == "POST"
        and (request.header("content-type") or "").partition(";")[0].strip() != "application/json"
    ):
        raise RefusedError("content-type: must be application/json")


def check_messages(request: Received, body: dict[str, Any]) -> None:
    """Everything that /v1/messages checks."""
    _check_fields(request, body)
    model = claude_model(body["model"])
    if model is None:
        raise RefusedError(f"model: {body['model']}", status=404)
    if body.get("thread"):
        # As an account without the beta is answered; this fake keeps no conversations.
        raise RefusedError("thread: not available for this request", code="thread_unsupported_request")
    _check_scalars(body)
    if body["max_tokens"] > model.max_output:
        raise RefusedError(
            f"max_tokens: {body['max_tokens']} > {model.max_output}, which is the maximum allowed number of "
            "output "
            f"tokens for {body['model']}"
        )
    check_system(body.get("system"))
    check_messages_list(body["messages"], model)
    _check_sampling(body, model, request.header("anthropic-version") or "")
    _check_thinking(body, model)
    _check_tools(body)
    _check_tool_choice(body, model)
    _check_output(body, model)
    _check_cache_marks(body)
    _check_context(body, model)


def _extra(where: str) -> RefusedError:
    return RefusedError(f"{where}: Extra inputs are not permitted")


def _check_only(given: dict[str, Any], known: Collection[str], where: str) -> None:
    for key in given:
        if key not in known:
            raise _extra(f"{where}.{key}")


def _check_fields(request: Received, body: dict[str, Any]) -> None:
    """Beta fields are known only to requests that carry a beta header."""
    known = _FIELDS | _BETA_FIELDS if request.header("anthropic-beta") else _FIELDS
    for key in body:
        if key not in known:
            raise _extra(key)
    for key in ("model", "messages", "max_tokens"):
        if key not in body:
            raise RefusedError(f"{key}: Field required")
    if not isinstance(body["model"], str):
        raise RefusedError("model: Input should be a valid string")
    if not body["model"]:
        raise RefusedError("model: String should have at least 1 character")


def _check_scalars(body: dict[str, Any]) -> None:
    if not is_int(body["max_tokens"]):
        raise RefusedError("max_tokens: Input should be a valid integer")
    if body["max_tokens"] < 0:
        raise RefusedError("max_tokens: Input should be greater than or equal to 0")
    if not isinstance(body.get("stream", False), bool):
        raise RefusedError("stream: Input should be a valid boolean")
    for key, low, high in (("temperature", 0, 1), ("top_p", 0, 1), ("top_k", 0, None)):
        _check_number(body.get(key), key, low, high)
    stops = body.get("stop_sequences")
    if stops is not None and not isinstance(stops, list):
        raise RefusedError("stop_sequences: Input should be a valid array")
    for index, stop in enumerate(stops or ()):
        if not isinstance(stop, str):
            raise RefusedError(f"stop_sequences.{index}: Input should be a valid string")
        if not stop.strip():
            raise RefusedError("stop_sequences: each stop sequence must contain non-whitespace")
    if body.get("service_tier") not in (None, "auto", "standard_only"):
        raise RefusedError("service_tier: Input should be 'auto' or 'standard_only'")
    _check_metadata(body.get("metadata"))


def _check_number(value: Any, key: str, low: float, high: float | None) -> None:
    if value is None:
        return
    if not is_number(value):
        raise RefusedError(f"{key}: Input should be a valid number")
    if value < low:
        raise RefusedError(f"{key}: Input should be greater than or equal to {low}")
    if high is not None and value > high:
        raise RefusedError(f"{key}: Input should be less than or equal to {high}")


def _check_metadata(metadata: Any) -> None:
    if metadata is None:
        return
    if not isinstance(metadata, dict):
        raise RefusedError("metadata: Input should be a valid dictionary")
    _check_only(metadata, ("user_id",), "metadata")
    user = metadata.get("user_id")
    if user is not None and not isinstance(user, str):
        raise RefusedError("metadata.user_id: Input should be a valid string")
    if len(user or "") > 256:
        raise RefusedError("metadata.user_id: String should have at most 256 characters")
    if re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+|\+?\d[\d -]{7,}", user or ""):
        raise RefusedError("metadata.user_id: user_id appears to contain an email address or phone number")


def _check_sampling(body: dict[str, Any], model: ClaudeModel, version: str) -> None:
    for key in _SAMPLING:
        if key in body and version >= "2026-10-21":
            raise _extra(key)
        if (
            model.generation == "M"
            and body.get(key) is not None
            and not (key == "temperature" and body[key] == 1)
        ):
            raise RefusedError(f"`{key}` is deprecated for this model.")
    if model.one_sampling_knob and body.get("temperature") is not None and body.get("top_p") is not None:
        raise RefusedError(
            "`temperature` and `top_p` cannot both be specified for this model. Please use only one."
        )


def _check_thinking(body: dict[str, Any], model: ClaudeModel) -> None:
    thinking = body.get("thinking")
    if thinking is None:
        return
    kind = tag(thinking.get("type")) if isinstance(thinking, dict) else None
    if kind is None or kind not in _THINKING:
        tags = ", ".join(f"'{tag}'" for tag in _THINKING)
        raise RefusedError(
            f"thinking: Input tag '{kind}' found using 'type' does not match any of the expected tags: {tags}"
        )
    _check_only(thinking, _THINKING[kind], f"thinking.{kind}")
    if thinking.get("display") not in (None, "summarized", "omitted"):
        raise RefusedError(f"thinking.{kind}.display: Input should be 'summarized' or 'omitted'")
    if kind == "enabled":
        _check_legacy_thinking(body, thinking, model)
    elif kind == "adaptive" and model.generation == "L":
        raise RefusedError("adaptive thinking is not supported on this model")


def _check_legacy_thinking(body: dict[str, Any], thinking: dict[str, Any], model: ClaudeModel) -> None:
    if model.generation == "M":
        raise RefusedError(
            '"thinking.type.enabled" is not supported for this model. Use "thinking.type.adaptive" and '
            '"output_config.effort" to control thinking behavior.'
        )
    if not model.thinks:
        raise RefusedError(f"'{body['model']}' does not support thinking.")
    budget = thinking.get("budget_tokens")
    if budget is None:
        raise RefusedError("thinking.enabled.budget_tokens: Field required")
    if not is_int(budget):
        raise RefusedError("thinking.enabled.budget_tokens: Input should be a valid integer")
    if budget < 1024:
        raise RefusedError("thinking.enabled.budget_tokens: Input should be greater than or equal to 1024")
    if budget >= body["max_tokens"]:
        raise RefusedError("`max_tokens` must be greater than `thinking.budget_tokens`.")
    _check_sampling_while_thinking(body)
    check_thinking_history(body["messages"])


def _check_sampling_while_thinking(body: dict[str, Any]) -> None:
    if body.get("temperature") not in (None, 1):
        raise RefusedError("`temperature` may only be set to 1 when thinking is enabled.")
    if body.get("top_p") is not None and body["top_p"] < 0.95:
        raise RefusedError("`top_p` must be greater than or equal to 0.95 or unset when thinking is enabled.")
    if body.get("top_k") is not None:
        raise RefusedError("`top_k` must be unset when thinking is enabled.")
    choice = body.get("tool_choice")
    if isinstance(choice, dict) and choice.get("type") in ("any", "tool"):
        raise RefusedError("Thinking may not be enabled when tool_choice forces tool use.")


def _check_tools(body: dict[str, Any]) -> None:
    tools = body.get("tools")
    if tools is None:
        return
    if not isinstance(tools, list):
        raise RefusedError("tools: Input should be a valid array")
    for index, tool in enumerate(tools):
        if not isinstance(tool, dict):
            raise RefusedError(f"tools.{index}: Input should be a valid dictionary")
        kind = tool.get("type") or "custom"
        if kind == "custom":
            _check_custom_tool(tool, f"tools.{index}.custom")
        elif kind not in _SERVER_TOOLS:
            tags = ", ".join(f"'{tag}'" for tag in ("custom", *_SERVER_TOOLS))
            raise RefusedError(
                f"tools.{index}: Input tag '{kind}' found using 'type' does not match any of the expected "
                f"tags: {tags}"
            )
    names = [str(tool.get("name")) for tool in tools]
    if len(set(names)) < len(names):
        raise RefusedError("tools: Tool names must be unique.")


def _check_custom_tool(tool: dict[str, Any], where: str) -> None:
    _check_only(tool, _TOOL_FIELDS, where)
    for key in ("name", "input_schema"):
        if key not in tool:
            raise RefusedError(f"{where}.{key}: Field required")
    if not isinstance(tool["name"], str) or not _TOOL_NAME.fullmatch(tool["name"]):
        raise RefusedError(f"{where}.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'")
    if not isinstance(tool.get("description") or "", str):
        raise RefusedError(f"{where}.description: Input should be a valid string")
    _check_input_schema(tool["input_schema"], f"{where}.input_schema")


def _check_input_schema(schema: Any, where: str) -> None:
    if not isinstance(schema, dict):
        raise RefusedError(f"{where}: Input should be a valid dictionary")
    if "type" not in schema:
        raise RefusedError(f"{where}.type: Field required")
    if schema["type"] != "object":
        raise RefusedError(f"{where}.type: Input should be 'object'")
    if schema_fault(schema):
        raise RefusedError(
            f"{where}: JSON schema is invalid. It must match JSON Schema draft 2020-12 "
            "(https://json-schema.org/draft/2020-12)."
        )
    for word in ("oneOf", "allOf", "anyOf"):
        if word in schema:
            raise RefusedError(
                f"{where}: input_schema does not support oneOf, allOf, or anyOf at the top level"
            )


def _check_tool_choice(body: dict[str, Any], model: ClaudeModel) -> None:
    choice = body.get("tool_choice")
    if choice is None:
        return
    kind = tag(choice.get("type")) if isinstance(choice, dict) else None
    if kind is None or kind not in _CHOICES:
        tags = ", ".join(f"'{tag}'" for tag in _CHOICES)
        raise RefusedError(
            f"tool_choice: Input tag '{kind}' found using 'type' does not match any of the expected tags: "
            f"{tags}"
        )
    _check_only(choice, _CHOICES[kind], f"tool_choice.{kind}")
    if not body.get("tools"):
        raise RefusedError("tool_choice: tool_choice may only be specified while providing tools")
    if kind == "tool" and "name" not in choice:
        raise RefusedError("tool_choice.tool.name: Field required")
    if kind == "tool" and choice["name"] not in [tool.get("name") for tool in body["tools"]]:
        raise RefusedError(f"Tool '{choice['name']}' not found in provided tools")
    if kind in ("any", "tool") and not model.forced_tools:
        raise RefusedError(f'tool_choice: "{kind}" is not supported for this model.')


def _check_output(body: dict[str, Any], model: ClaudeModel) -> None:
    config = body.get("output_config")
    if config is None:
        return
    if not isinstance(config, dict):
        raise RefusedError("output_config: Input should be a valid dictionary")
    _check_only(config, ("effort", "format"), "output_config")
    effort, form = config.get("effort"), config.get("format")
    if effort not in (None, "low", "medium", "high", "xhigh", "max"):
        raise RefusedError("output_config.effort: Input should be 'low', 'medium', 'high', 'xhigh' or 'max'")
    if effort is not None and not model.efforts:
        raise RefusedError("This model does not support the effort parameter.")
    if effort is not None and effort not in model.efforts:
        listed = ", ".join(model.efforts)
        raise RefusedError(
            f"This model does not support effort level '{effort}'. Supported levels: {listed}."
        )
    if form is not None:
        _check_output_format(form, body["model"], model)


def _check_output_format(form: Any, name: str, model: ClaudeModel) -> None:
    if not isinstance(form, dict) or form.get("type") != "json_schema":
        raise RefusedError("output_config.format.type: Input should be 'json_schema'")
    _check_only(form, ("type", "schema"), "output_config.format")
    if not isinstance(form.get("schema"), dict):
        raise RefusedError("output_config.format.schema: Field required")
    if not model.structured:
        raise RefusedError(f"'{name}' does not support output format.")
    if fault := claude_format_fault(form["schema"]):
        raise RefusedError(f"output_config.format.schema: {fault}")


def _check_cache_marks(body: dict[str, Any]) -> None:
    """At most four marks in tools, system and messages, wherever they are nested."""

    def count(value: Any) -> int:
        if isinstance(value, list):
            return sum(count(one) for one in value)
        if not isinstance(value, dict):
            return 0
        own = 1 if value.get("cache_control") is not None else 0
        return own + count(value.get("content")) + (count(value["messages"]) if "messages" in value else 0)

    found = count(body.get("tools")) + count(body.get("system")) + count(body["messages"])
    found += 1 if body.get("cache_control") is not None else 0
    if found > _CACHE_MARKS:
        raise RefusedError(
            f"A maximum of {_CACHE_MARKS} blocks with cache_control may be provided. Found {found}."
        )


def _check_context(body: dict[str, Any], model: ClaudeModel) -> None:
    count = sum(len(str(body.get(key) or "")) for key in ("messages", "system", "tools")) // 4
    if count > model.context:
        raise RefusedError(f"prompt is too long: {count} tokens > {model.context} maximum")
