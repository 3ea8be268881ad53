"""What Ollama refuses, in its own words, and what it silently ignores (written on the request, for tests to
assert)."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from ollama._types import ChatRequest, EmbedRequest, GenerateRequest, Options

from tests.support.upstream.models import ollama_capabilities
from tests.support.upstream.refused import RefusedError, is_int, is_number, unbase64
from tests.support.upstream.schemas import schema_fault
from tests.support.upstream.wire import Received

_CHAT_FIELDS = frozenset(ChatRequest.model_fields) | {"truncate", "shift"}
_GENERATE_FIELDS = frozenset(GenerateRequest.model_fields) | {"truncate", "shift"}
_EMBED_FIELDS = frozenset(EmbedRequest.model_fields)
_MESSAGE_FIELDS = frozenset(
    ("role", "content", "thinking", "images", "tool_calls", "tool_name", "tool_call_id")
)
_TOOL_FIELDS = frozenset(("type", "function", "items"))
_FUNCTION_FIELDS = frozenset(("name", "description", "parameters"))
# Ollama's templates silently lose a message of any other role; here it is refused, so that no test misses it.
_ROLES = ("system", "user", "assistant", "tool")
_LEVELS = ("low", "medium", "high", "max")
_INTS = frozenset(
    (
        "num_ctx",
        "num_batch",
        "num_gpu",
        "main_gpu",
        "num_thread",
        "num_keep",
        "seed",
        "num_predict",
        "top_k",
        "repeat_last_n",
        "mirostat",
    )
)
_BOOLS = frozenset(
    (
        "numa",
        "low_vram",
        "f16_kv",
        "logits_all",
        "vocab_only",
        "use_mmap",
        "use_mlock",
        "embedding_only",
        "penalize_newline",
    )
)
_OPTIONS = frozenset(Options.model_fields) | {"min_p", "num_ctx"}


def check_chat(request: Received, body: dict[str, Any], extra_models: Collection[str]) -> None:
    """Everything that /api/chat checks."""
    _ignore(request, body, _CHAT_FIELDS, "")
    capabilities = _capabilities(body, extra_models)
    _check_common(body, "ChatRequest")
    messages = _typed(body, "messages", list, "ChatRequest.messages of type []api.Message")
    for index, message in enumerate(messages or ()):
        _check_message(request, message, f"messages[{index}].", capabilities)
    _check_tools(request, body)
    if "completion" not in capabilities:
        raise RefusedError(f'"{body["model"]}" does not support chat')
    if body.get("tools") and "tools" not in capabilities:
        raise RefusedError(f"registry.ollama.ai/library/{body['model']} does not support tools")
    _check_think(body, capabilities)
    _check_options(request, body.get("options"))


def check_generate(request: Received, body: dict[str, Any], extra_models: Collection[str]) -> None:
    """Everything that /api/generate checks."""
    _ignore(request, body, _GENERATE_FIELDS, "")
    capabilities = _capabilities(body, extra_models)
    _check_common(body, "GenerateRequest")
    for key in ("prompt", "suffix", "system", "template"):
        _typed(body, key, str, f"GenerateRequest.{key} of type string")
    if body.get("raw") and any(body.get(key) for key in ("template", "system", "context")):
        raise RefusedError("raw mode does not support template, system, or context")
    for index, image in enumerate(
        _typed(body, "images", list, "GenerateRequest.images of type []api.ImageData") or ()
    ):
        _check_picture(image, f"images[{index}]")
    if "completion" not in capabilities:
        raise RefusedError(f'"{body["model"]}" does not support generate')
    if body.get("suffix") and "insert" not in capabilities:
        raise RefusedError(f"registry.ollama.ai/library/{body['model']} does not support insert")
    _check_think(body, capabilities)
    _check_options(request, body.get("options"))


def check_embed(request: Received, body: dict[str, Any], extra_models: Collection[str]) -> None:
    """Everything that /api/embed checks."""
    _ignore(request, body, _EMBED_FIELDS, "")
    capabilities = _capabilities(body, extra_models)
    given = body.get("input", [])
    if not isinstance(given, str | list) or (
        isinstance(given, list) and not all(isinstance(one, str) for one in given)
    ):
        raise RefusedError("invalid input type")
    if body.get("dimensions") is not None and not is_int(body["dimensions"]):
        raise _unmarshal(body["dimensions"], "EmbedRequest.dimensions of type int")
    if "embedding" not in capabilities and body["model"] not in extra_models:
        raise RefusedError("this model does not support embeddings")
    _check_options(request, body.get("options"))


def check_show(body: dict[str, Any], extra_models: Collection[str]) -> str:
    """The model that /api/show is asked about."""
    name = body.get("model") or body.get("name")
    if not isinstance(name, str) or not name:
        raise RefusedError("model is required")
    if ollama_capabilities(name) is None and name not in extra_models:
        raise RefusedError(f"model '{name}' not found", status=404)
    return name


def wants_thinking(body: dict[str, Any]) -> bool:
    """A model that can think does so unless it is told not to."""
    think = body.get("think")
    return "thinking" in (ollama_capabilities(body["model"]) or ()) and think is not False


def _capabilities(body: dict[str, Any], extra: Collection[str]) -> tuple[str, ...]:
    name = body.get("model")
    if name is not None and not isinstance(name, str):
        raise _unmarshal(name, "ChatRequest.model of type string")
    if not name:
        raise RefusedError("model is required")
    capabilities = ollama_capabilities(name)
    if capabilities is not None:
        return capabilities
    if name in extra:
        return ("completion", "tools")
    raise RefusedError(f"model '{name}' not found", status=404)


def _ignore(request: Received, given: dict[str, Any], known: Collection[str], where: str) -> None:
    """Go's decoder drops what it does not know; a translation that relies on such a field loses it."""
    request.ignored += [where + key for key in given if key not in known]


def _go(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    names = ((str, "string"), (int | float, "number"), (list, "array"), (dict, "object"))
    return next((name for kind, name in names if isinstance(value, kind)), "null")


def _unmarshal(value: Any, what: str) -> RefusedError:
    return RefusedError(f"json: cannot unmarshal {_go(value)} into Go struct field {what}")


def _typed(body: dict[str, Any], key: str, kind: type, what: str) -> Any:
    value = body.get(key)
    if value is not None and not isinstance(value, kind):
        raise _unmarshal(value, what)
    return value


def _check_common(body: dict[str, Any], struct: str) -> None:
    _typed(body, "stream", bool, f"{struct}.stream of type bool")
    _typed(body, "options", dict, f"{struct}.options of type map[string]interface {{}}")
    form = body.get("format")
    if isinstance(form, dict) and (fault := schema_fault(form)):
        raise RefusedError(f"invalid JSON schema in format: {fault}")
    if form is not None and form not in ("", "json") and not isinstance(form, dict):
        raise RefusedError(f'invalid format: {form!r}; expected "json" or a valid JSON Schema object')
    _typed(body, "logprobs", bool, f"{struct}.logprobs of type bool")
    top = body.get("top_logprobs")
    if top is not None and not (is_int(top) and 0 <= top <= 20):
        raise RefusedError("top_logprobs must be between 0 and 20")


def _check_message(request: Received, message: Any, where: str, capabilities: tuple[str, ...]) -> None:
    if not isinstance(message, dict):
        raise _unmarshal(message, "ChatRequest.messages of type api.Message")
    _ignore(request, message, _MESSAGE_FIELDS, where)
    for key in ("role", "content", "thinking", "tool_name", "tool_call_id"):
        _typed(message, key, str, f"ChatRequest.messages.{key} of type string")
    if message.get("role") not in _ROLES:
        raise RefusedError(
            f"invalid role: {message.get('role', '')}, role must be one of [{', '.join(_ROLES)}]"
        )
    for index, image in enumerate(
        _typed(message, "images", list, "ChatRequest.messages.images of type []api.ImageData") or ()
    ):
        _check_picture(image, f"images[{index}]")
        if "vision" not in capabilities:
            raise RefusedError("this model is missing data required for image input", status=500)
    for call in (
        _typed(message, "tool_calls", list, "ChatRequest.messages.tool_calls of type []api.ToolCall") or ()
    ):
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict):
            raise _unmarshal(call, "ChatRequest.messages.tool_calls of type api.ToolCall")
        arguments = function.get("arguments")
        if not isinstance(arguments, dict | None):
            raise _unmarshal(
                arguments,
                "ToolCallFunction.messages.tool_calls.function.arguments of type "
                "api.ToolCallFunctionArguments",
            )


def _check_picture(image: Any, where: str) -> None:
    """Bare base64: a data URL is none."""
    if not isinstance(image, str):
        raise _unmarshal(image, f"{where} of type api.ImageData")
    if unbase64(image) is None:
        raise RefusedError(f"illegal base64 data at input byte {min(len(image), 4)}")


def _check_tools(request: Received, body: dict[str, Any]) -> None:
    for index, tool in enumerate(_typed(body, "tools", list, "ChatRequest.tools of type api.Tools") or ()):
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict):
            raise _unmarshal(tool, "ChatRequest.tools of type api.Tool")
        _ignore(request, tool, _TOOL_FIELDS, f"tools[{index}].")
        _ignore(request, function, _FUNCTION_FIELDS, f"tools[{index}].function.")
        _typed(function, "name", str, "ToolFunction.tools.function.name of type string")
        _typed(
            function,
            "parameters",
            dict,
            "ToolFunction.tools.function.parameters of type api.ToolFunctionParameters",
        )


def _check_think(body: dict[str, Any], capabilities: tuple[str, ...]) -> None:
    think = body.get("think")
    if think is None:
        return
    if not isinstance(think, bool) and think not in _LEVELS:
        raise RefusedError(
            f'invalid think value: {think!r} (must be "high", "medium", "low", "max", true, or false)'
        )
    if think is not False and "thinking" not in capabilities:
        raise RefusedError(f'"{body["model"]}" does not support thinking')


def _check_options(request: Received, options: dict[str, Any] | None) -> None:
    """Options are read when the model is scheduled, so a wrong type is Ollama's own 500."""
    for key, value in (options or {}).items():
        if key not in _OPTIONS:
            request.ignored.append(f"options.{key}")
        elif value is not None:
            kind, fits = _option_kind(key)
            if not fits(value):
                raise RefusedError(f'option "{key}" must be of type {kind}', status=500)


def _option_kind(key: str) -> tuple[str, Callable[[Any], bool]]:
    if key == "stop":
        return "array", lambda value: isinstance(value, list) and all(isinstance(one, str) for one in value)
    if key in _INTS:
        return "integer", is_int
    if key in _BOOLS:
        return "boolean", lambda value: isinstance(value, bool)
    return "float32", is_number
