"""What OpenAI refuses, in its own words: keys, fields, types, limits, message order, tools, schemas."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, get_type_hints

from openai.types import completion_create_params, embedding_create_params
from openai.types.chat import completion_create_params as chat_create_params

from tests.support.upstream.models import OpenAIModel, openai_model
from tests.support.upstream.openai_messages import check_message_order, check_messages
from tests.support.upstream.openai_shapes import check_length, check_type, missing, unsupported
from tests.support.upstream.openai_tools import check_format, check_tool_choice, check_tools
from tests.support.upstream.refused import RefusedError, is_int, is_number
from tests.support.upstream.wire import Received

_CHAT_FIELDS = frozenset(get_type_hints(chat_create_params.CompletionCreateParamsBase)) | {"stream"}
_COMPLETION_FIELDS = frozenset(get_type_hints(completion_create_params.CompletionCreateParamsBase)) | {
    "stream"
}
_EMBEDDING_FIELDS = frozenset(get_type_hints(embedding_create_params.EmbeddingCreateParams))

_CHAT_TYPES = {
    "model": "string",
    "messages": "array",
    "max_tokens": "integer",
    "max_completion_tokens": "integer",
    "temperature": "number",
    "top_p": "number",
    "n": "integer",
    "stream": "boolean",
    "stream_options": "object",
    "presence_penalty": "number",
    "frequency_penalty": "number",
    "logprobs": "boolean",
    "top_logprobs": "integer",
    "logit_bias": "object",
    "user": "string",
    "seed": "integer",
    "tools": "array",
    "parallel_tool_calls": "boolean",
    "functions": "array",
    "response_format": "object",
    "reasoning_effort": "string",
    "metadata": "object",
    "store": "boolean",
    "service_tier": "string",
    "verbosity": "string",
    "prompt_cache_key": "string",
    "safety_identifier": "string",
    "modalities": "array",
}
_RANGES: dict[str, tuple[float, float]] = {
    "temperature": (0, 2),
    "top_p": (0, 1),
    "presence_penalty": (-2, 2),
    "frequency_penalty": (-2, 2),
    "n": (1, 128),
    "top_logprobs": (0, 20),
    "max_tokens": (1, 1e9),
    "max_completion_tokens": (1, 1e9),
}
_LENGTHS = {"user": 256, "safety_identifier": 64, "prompt_cache_key": 64}
_CHOICES = {
    "service_tier": ("auto", "default", "flex", "scale", "priority", "fast"),
    "verbosity": ("low", "medium", "high"),
    "reasoning_effort": ("none", "minimal", "low", "medium", "high", "xhigh", "max"),
}
_REASONING_DEFAULTS: dict[str, Any] = {
    "temperature": 1,
    "top_p": 1,
    "presence_penalty": 0,
    "frequency_penalty": 0,
}
_REASONING_REFUSED = ("logprobs", "top_logprobs", "logit_bias", "stop")


def check_key(request: Received, refused: Collection[str]) -> None:
    """A key, as a bearer token, that this provider knows."""
    scheme, _, key = (request.header("authorization") or "").partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        raise RefusedError(
            "You didn't provide an API key. You need to provide your API key in an Authorization header "
            "using Bearer "
            "auth (i.e. Authorization: Bearer YOUR_KEY).",
            status=401,
        )
    if key.startswith(tuple(refused)):
        raise RefusedError(
            f"Incorrect API key provided: {key[:3]}***{key[-4:]}. You can find your API key at "
            "https://platform.openai.com/account/api-keys.",
            status=401,
            code="invalid_api_key",
        )


def check_chat(body: dict[str, Any], extra_models: Collection[str]) -> None:
    """Everything that /v1/chat/completions checks."""
    _check_fields(body, _CHAT_FIELDS, ("messages", "model"))
    _check_types(body, _CHAT_TYPES)
    model = known_model(body, extra_models)
    if model.kind != "chat":
        raise RefusedError(
            "This is not a chat model and thus not supported in the v1/chat/completions endpoint. "
            "Did you mean to use v1/completions?",
            status=404,
            param="model",
        )
    for check in (
        _check_ranges,
        _check_stop,
        _check_stream_options,
        _check_logprobs,
        check_tools,
        check_tool_choice,
        check_format,
    ):
        check(body)
    _check_limits(body, model)
    _check_reasoning(body, model)
    check_messages(body["messages"])
    check_message_order(body["messages"])
    _check_context(body["messages"], model)


def check_completions(body: dict[str, Any], extra_models: Collection[str]) -> None:
    """Everything that /v1/completions checks."""
    _check_fields(body, _COMPLETION_FIELDS, ("model",))
    if "prompt" not in body:
        body["prompt"] = "<|endoftext|>"
    _check_types(
        body, {key: kind for key, kind in _CHAT_TYPES.items() if key not in ("messages", "logprobs")}
    )
    if known_model(body, extra_models).kind == "embedding" or _is_chat(body["model"]):
        raise RefusedError(
            "This is a chat model and not supported in the v1/completions endpoint. Did you mean to use "
            "v1/chat/completions?",
            status=404,
            param="model",
        )
    for check in (_check_ranges, _check_stop, _check_stream_options):
        check(body)
    if (body.get("best_of") or 1) < (body.get("n") or 1):
        body_of = f"best_of={body.get('best_of')}"
        if body.get("best_of") is not None:
            raise RefusedError(
                f"You requested that the server return more choices than it will generate ({body_of}).",
                param="best_of",
            )


def check_embeddings(body: dict[str, Any], extra_models: Collection[str]) -> None:
    """Everything that /v1/embeddings checks."""
    _check_fields(body, _EMBEDDING_FIELDS, ("input", "model"))
    _check_types(
        body, {"model": "string", "dimensions": "integer", "encoding_format": "string", "user": "string"}
    )
    model = known_model(body, extra_models)
    if model.kind != "embedding" and body["model"] not in extra_models:
        raise RefusedError(
            f"You are not allowed to generate embeddings from this model: {body['model']}", status=403
        )
    if body.get("encoding_format") not in (None, "float", "base64"):
        raise RefusedError(
            f"'{body['encoding_format']}' is not one of ['float', 'base64'] - 'encoding_format'"
        )
    given = body["input"]
    inputs = [given] if isinstance(given, str) else given
    if not isinstance(inputs, list) or not inputs or "" in inputs or len(inputs) > 2048:
        raise RefusedError(
            "'$.input' is invalid. Please check the API reference: "
            "https://platform.openai.com/docs/api-reference."
        )
    if not all(isinstance(one, str | list) or is_int(one) for one in inputs):
        raise RefusedError(
            "'$.input' is invalid. Please check the API reference: "
            "https://platform.openai.com/docs/api-reference."
        )
    dimensions = body.get("dimensions")
    if dimensions is not None and (
        body["model"].endswith("ada-002") or not 1 <= dimensions <= (model.width or dimensions)
    ):
        raise RefusedError("This model does not support specifying dimensions.", param="dimensions")


# -- fields, types, ranges


def _check_fields(body: Mapping[str, Any], known: Collection[str], required: Collection[str]) -> None:
    unknown = [key for key in body if key not in known]
    if unknown:
        plural = "s" if len(unknown) > 1 else ""
        raise RefusedError(f"Unrecognized request argument{plural} supplied: {', '.join(sorted(unknown))}")
    if "model" in required and not body.get("model"):
        raise RefusedError("you must provide a model parameter")
    for key in required:
        if body.get(key) is None:
            raise missing(key)


def _check_types(body: Mapping[str, Any], types: Mapping[str, str]) -> None:
    for key, kind in types.items():
        if body.get(key) is not None:
            check_type(body[key], kind, key)


def known_model(body: Mapping[str, Any], extra: Collection[str]) -> OpenAIModel:
    """The facts of the model that the body names. RefusedError: there is none."""
    name = body["model"]
    model = openai_model(name)
    if model is None and name in extra:
        return OpenAIModel("chat", 128_000, 16_384)
    if model is None:
        raise RefusedError(
            f"The model `{name}` does not exist or you do not have access to it.",
            status=404,
            code="model_not_found",
        )
    return model


def _is_chat(name: str) -> bool:
    model = openai_model(name)
    return model is not None and model.kind == "chat"


def _check_ranges(body: dict[str, Any]) -> None:
    for key, (low, high) in _RANGES.items():
        value = body.get(key)
        if not is_number(value):
            continue
        noun = "integer" if is_int(value) else "decimal"
        if value < low:
            raise RefusedError(
                f"Invalid '{key}': {noun} below minimum value. Expected a value >= {low}, but got {value} "
                "instead.",
                param=key,
                code=f"{noun}_below_min_value",
            )
        if value > high:
            raise RefusedError(
                f"Invalid '{key}': {noun} above maximum value. Expected a value <= {high}, but got {value} "
                "instead.",
                param=key,
                code=f"{noun}_above_max_value",
            )
    for key, length in _LENGTHS.items():
        check_length(body.get(key) or "", length, key)
    for key, choices in _CHOICES.items():
        if body.get(key) is not None and body[key] not in choices:
            listed = ", ".join(f"'{choice}'" for choice in choices)
            raise RefusedError(
                f"Invalid value: '{body[key]}'. Supported values are: {listed}.",
                param=key,
                code="invalid_value",
            )


def _check_stop(body: dict[str, Any]) -> None:
    stop = body.get("stop")
    if stop is None or isinstance(stop, str):
        return
    if not isinstance(stop, list) or not all(isinstance(one, str) for one in stop):
        raise RefusedError(
            "Invalid type for 'stop': expected one of an array of strings or a string.",
            param="stop",
            code="invalid_type",
        )
    if len(stop) > 4:
        raise RefusedError(
            "Invalid 'stop': array too long. Expected an array with maximum length 4, "
            f"but got an array with length {len(stop)} instead.",
            param="stop",
            code="array_above_max_length",
        )


def _check_stream_options(body: dict[str, Any]) -> None:
    options = body.get("stream_options")
    if options is None:
        return
    if not body.get("stream"):
        raise RefusedError(
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.", param="stream_options"
        )
    for key in options:
        if key not in ("include_usage", "include_obfuscation"):
            raise RefusedError(
                f"Unknown parameter: 'stream_options.{key}'.",
                param=f"stream_options.{key}",
                code="unknown_parameter",
            )


def _check_logprobs(body: dict[str, Any]) -> None:
    if body.get("top_logprobs") is not None and not body.get("logprobs"):
        raise RefusedError(
            "The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled.", param="top_logprobs"
        )


def _check_limits(body: dict[str, Any], model: OpenAIModel) -> None:
    if body.get("max_tokens") is not None and body.get("max_completion_tokens") is not None:
        raise RefusedError(
            "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.",
            code="invalid_parameter_combination",
        )
    for key in ("max_tokens", "max_completion_tokens"):
        if (body.get(key) or 0) > model.max_output:
            raise RefusedError(
                f"{key} is too large: {body[key]}. This model supports at most {model.max_output} completion "
                "tokens, "
                f"whereas you provided {body[key]}.",
                param=key,
                code="invalid_value",
            )


def _check_context(messages: Any, model: OpenAIModel) -> None:
    count = len(str(messages)) // 4
    if count > model.context:
        raise RefusedError(
            f"This model's maximum context length is {model.context} tokens. However, your messages resulted "
            f"in {count} "
            "tokens. Please reduce the length of the messages.",
            param="messages",
            code="context_length_exceeded",
        )


# -- reasoning


def _check_reasoning(body: dict[str, Any], model: OpenAIModel) -> None:
    effort = body.get("reasoning_effort")
    if not model.reasons:
        if effort is not None:
            raise RefusedError("Unrecognized request argument supplied: reasoning_effort")
        return
    if body.get("max_tokens") is not None:
        raise unsupported("max_tokens", " Use 'max_completion_tokens' instead.")
    if effort is not None and effort not in model.efforts:
        listed = ", ".join(f"'{choice}'" for choice in model.efforts)
        raise RefusedError(
            f"Unsupported value: 'reasoning_effort' does not support '{effort}' with this model. Supported "
            f"values are: {listed}.",
            param="reasoning_effort",
            code="unsupported_value",
        )
    if effort != "none":
        _check_reasoning_sampling(body)
        _check_reasoning_tools(body, model)


def _check_reasoning_sampling(body: dict[str, Any]) -> None:
    for key, default in _REASONING_DEFAULTS.items():
        if body.get(key) not in (None, default):
            raise RefusedError(
                f"Unsupported value: '{key}' does not support {body[key]} with this model. "
                f"Only the default ({default}) value is supported.",
                param=key,
                code="unsupported_value",
            )
    for key in _REASONING_REFUSED:
        if body.get(key):
            raise unsupported(key)


def _check_reasoning_tools(body: dict[str, Any], model: OpenAIModel) -> None:
    clashes = model.tools_clash == "always" or (
        model.tools_clash == "set" and body.get("reasoning_effort") is not None
    )
    if clashes and any(tool.get("type") == "function" for tool in body.get("tools") or ()):
        raise RefusedError(
            f"Function tools with reasoning_effort are not supported for {body['model']} in "
            "/v1/chat/completions. "
            "To use function tools, use /v1/responses or set reasoning_effort to 'none'.",
            param="reasoning_effort",
        )
