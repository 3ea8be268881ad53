"""The dialect of OpenAI's chat completions: what the gateway reads of its requests, answers and streams."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dialects import sse, upstream_errors
from dialects.errors import UPSTREAM_BAD, Detail, Family, GatewayError, bad_request, envelope
from dialects.fields import DOCUMENT_CHARS, IMAGE_CHARS, count, detail, length, part, strings, type_name
from dialects.types import Event, Facts, Framer, Framing, JsonObject, StreamTap, Usage

ROLES = ("developer", "system", "user", "assistant", "tool", "function")
_ROLE_LIST = "'system', 'assistant', 'user', 'function', 'tool', and 'developer'"

# What a content part needs of a target, and its part in the estimate of the prompt.
_PARTS: Mapping[str, tuple[str, int]] = {
    "image_url": ("vision", IMAGE_CHARS),
    "file": ("documents", DOCUMENT_CHARS),
    "input_audio": ("audio", DOCUMENT_CHARS),
}
_LISTS = ("tools", "functions")


class ChatDialect:
    """Chat completions. Unknown fields pass; the known ones have the types that the API documents."""

    name = "chat"
    family: Family = "openai"
    framing: Framing = "sse"

    def facts(self, body: JsonObject) -> Facts:
        model = read_model(body)
        messages = body.get("messages")
        if messages is None:
            raise bad_request(
                "Missing required parameter: 'messages'.", "messages", "missing_required_parameter"
            )
        if type(messages) is not list:
            raise wrong_type("messages", "an array of objects", messages)
        if not messages:
            raise bad_request(
                "Invalid 'messages': empty array. Expected an array with minimum length 1.",
                "messages",
                "empty_array",
            )
        needs: set[str] = set()
        chars = sum(_message(message, index, needs) for index, message in enumerate(messages))
        chars += _tools(body, needs)
        _format(body, needs)
        stream = read_flag(body, "stream")
        return Facts(
            model=model,
            stream=stream,
            max_tokens=_cap(body),
            n=read_int(body, "n", minimum=1) or 1,
            include_usage=read_include_usage(body),
            prompt_chars=chars,
            end_user=read_user(body),
            needs=frozenset(needs),
            one_prompt=True,
        )

    def usage(self, body: JsonObject) -> Usage | None:
        return openai_usage(body.get("usage"))

    def is_answer(self, body: JsonObject) -> bool:
        choices = body.get("choices")
        return (
            type(choices) is list
            and bool(choices)
            and all(type(c) is dict and type(c.get("message")) is dict for c in choices)
        )

    def framer(self) -> Framer:
        return sse.SseFramer()

    def tap(self, *, strip_usage: bool) -> StreamTap:
        return ChatTap(strip_usage=strip_usage)

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> GatewayError:
        return upstream_errors.from_reply(status, headers, body)

    def error_event(self, error: GatewayError, request_id: str) -> bytes:
        return sse.frame_json(envelope("openai", error, request_id))


class ChatTap:
    """Notes of a chunk stream. The stream is over at `[DONE]`. `ended`: the choices that have said why
    they end, after which some servers leave `[DONE]` out."""

    __slots__ = ("_keep", "_strip", "content", "ended", "finished", "output_chars", "usage")

    def __init__(self, *, strip_usage: bool) -> None:
        self.usage: Usage | None = None
        self.ended: set[int] = set()
        self.content = False
        self.finished = False
        self.output_chars = 0
        self._strip = strip_usage
        self._keep = True

    def see(self, event: Event) -> None:
        self._keep = True
        data = event.data
        if not data:
            return
        if data == b"[DONE]":
            self.finished = True
            return
        chunk = event.json()
        try:
            self._chunk(chunk, event.name)
        except (AttributeError, TypeError, KeyError):
            raise not_a_chunk() from None

    def keep(self, event: Event) -> bool:  # noqa: ARG002 - the protocol's signature; see() has decided
        return self._keep

    def _chunk(self, chunk: Any, name: str) -> None:
        choices = chunk.get("choices")
        error = chunk.get("error")
        if error or (name == "error" and not choices):
            # OpenRouter puts it beside a last choice, whose reason to finish is "error".
            raise upstream_errors.from_event(error or chunk)
        if choices:
            for choice in choices:
                self._choice(choice)
                if choice.get("finish_reason"):
                    self.ended.add(choice.get("index", 0))
        usage = chunk.get("usage")
        if usage:
            self.usage = openai_usage(usage) or self.usage
            # Only the chunk that exists for usage goes; one that also carries an answer stays.
            self._keep = bool(choices) or not self._strip

    def _choice(self, choice: dict[str, Any]) -> None:
        """What one choice of a chunk adds; the one thing in which streams of legacy completions differ."""
        delta = choice.get("delta")
        if not delta:
            return
        chars = len(delta.get("content") or "")
        if not chars or len(delta) > 1:
            chars += _other_chars(delta)
        if chars:
            self.output_chars += chars
            self.content = True
        elif delta.get("tool_calls") or delta.get("function_call") or delta.get("audio"):
            self.content = True


def _other_chars(delta: dict[str, Any]) -> int:
    """Characters of a delta apart from its content: reasoning, refusal, tool calls."""
    chars = length(delta.get("reasoning_content") or delta.get("reasoning")) + length(delta.get("refusal"))
    for call in delta.get("tool_calls") or ():
        function = call.get("function")
        if function:
            chars += length(function.get("arguments")) + length(function.get("name"))
    return chars


def openai_usage(usage: Any) -> Usage | None:
    """Usage in OpenAI's form. None unless prompt and completion are counted, directly or by the total."""
    if type(usage) is not dict:
        return None
    prompt = count(usage.get("prompt_tokens"))
    completion = count(usage.get("completion_tokens"))
    total = count(usage.get("total_tokens"))
    if prompt is not None and completion is None and total is not None and total >= prompt:
        completion = total - prompt
    if prompt is None or completion is None:
        return None
    cache_read = part(_cached(usage), prompt)
    return Usage(
        input_tokens=prompt,
        output_tokens=completion,
        cache_read=cache_read,
        cache_write=part(detail(usage, "prompt_tokens_details", "cache_write_tokens"), prompt - cache_read),
        reasoning=part(detail(usage, "completion_tokens_details", "reasoning_tokens"), completion),
    )


def _cached(usage: JsonObject) -> Any:
    """Tokens of the prompt that a cache gave: where OpenAI says it, DeepSeek, or Moonshot."""
    given = detail(usage, "prompt_tokens_details", "cached_tokens")
    if given is None:
        given = usage.get("prompt_cache_hit_tokens")
    return usage.get("cached_tokens") if given is None else given


def not_a_chunk() -> GatewayError:
    return GatewayError(
        UPSTREAM_BAD,
        "The provider sent an event that is not of the expected form.",
        Detail(code="upstream_invalid_response"),
    )


def wrong_type(name: str, expected: str, value: Any) -> GatewayError:
    """A 400 in OpenAI's words for a field of the wrong type. The value itself is never shown."""
    return bad_request(
        f"Invalid type for '{name}': expected {expected}, but got {type_name(value)} instead.",
        name,
        "invalid_type",
    )


def read_model(body: JsonObject) -> str:
    """The model's name, a non-empty string."""
    model = body.get("model")
    if model is None or model == "":
        raise bad_request("you must provide a model parameter", "model", "missing_required_parameter")
    if type(model) is not str:
        raise wrong_type("model", "a string", model)
    return model


def read_flag(body: JsonObject, name: str) -> bool:
    """A boolean that may be absent or null."""
    value = body.get(name)
    if value is not None and type(value) is not bool:
        raise wrong_type(name, "a boolean", value)
    return bool(value)


def read_int(body: JsonObject, name: str, *, minimum: int) -> int | None:
    """An integer that may be absent or null."""
    value = body.get(name)
    if value is None:
        return None
    if type(value) is not int:
        raise wrong_type(name, "an integer", value)
    if value < minimum:
        raise bad_request(
            f"Invalid '{name}': integer below minimum value. Expected a value >= {minimum}.",
            name,
            "integer_below_min_value",
        )
    return value


def read_include_usage(body: JsonObject) -> bool:
    """`stream_options.include_usage`."""
    options = body.get("stream_options")
    if options is None:
        return False
    if type(options) is not dict:
        raise wrong_type("stream_options", "an object", options)
    wanted = options.get("include_usage")
    if wanted is not None and type(wanted) is not bool:
        raise wrong_type("stream_options.include_usage", "a boolean", wanted)
    return bool(wanted)


def read_user(body: JsonObject) -> str | None:
    """The end user's id: `safety_identifier`, or its older name `user`."""
    for name in ("safety_identifier", "user"):
        value = body.get(name)
        if value is not None:
            if type(value) is not str:
                raise wrong_type(name, "a string", value)
            return value
    return None


def _cap(body: JsonObject) -> int | None:
    newer = read_int(body, "max_completion_tokens", minimum=1)
    older = read_int(body, "max_tokens", minimum=1)
    return older if newer is None else newer


def _message(message: Any, index: int, needs: set[str]) -> int:
    """Check one message; its characters."""
    where = f"messages[{index}]"
    if type(message) is not dict:
        raise wrong_type(where, "an object", message)
    role = message.get("role")
    if role is None:
        raise bad_request(
            f"Missing required parameter: '{where}.role'.", f"{where}.role", "missing_required_parameter"
        )
    if type(role) is not str:
        raise wrong_type(f"{where}.role", f"one of {_ROLE_LIST}", role)
    if role not in ROLES:
        raise bad_request(
            f"Invalid value for '{where}.role'. Supported values are: {_ROLE_LIST}.",
            f"{where}.role",
            "invalid_value",
        )
    content = message.get("content")
    if isinstance(content, str):
        chars = len(content)
    elif isinstance(content, list):
        chars = sum(_part(p, f"{where}.content[{i}]", needs) for i, p in enumerate(content))
    elif content is None:
        chars = _without_content(message, role, where)
    else:
        raise wrong_type(f"{where}.content", "a string or an array of objects", content)
    calls = message.get("tool_calls")
    return chars + _calls(calls, f"{where}.tool_calls") if calls is not None else chars


def _without_content(message: JsonObject, role: str, where: str) -> int:
    # An assistant's message may consist of calls, and a replayed one of nothing at all.
    if role in ("assistant", "function"):
        return 0
    if "content" in message:
        raise wrong_type(f"{where}.content", "a string or an array of objects", None)
    raise bad_request(
        f"Missing required parameter: '{where}.content'.", f"{where}.content", "missing_required_parameter"
    )


def _part(content: Any, where: str, needs: set[str]) -> int:
    if type(content) is not dict:
        raise wrong_type(where, "an object", content)
    kind = content.get("type")
    if type(kind) is not str:
        raise bad_request(
            f"Missing required parameter: '{where}.type'.", f"{where}.type", "missing_required_parameter"
        )
    if kind in _PARTS:
        need, chars = _PARTS[kind]
        needs.add(need)
        return chars
    if kind == "text" and type(content.get("text")) is not str:
        raise wrong_type(f"{where}.text", "a string", content.get("text"))
    return length(content.get("text"))


def _calls(calls: Any, where: str) -> int:
    if type(calls) is not list:
        raise wrong_type(where, "an array of objects", calls)
    chars = 0
    for index, call in enumerate(calls):
        if type(call) is not dict:
            raise wrong_type(f"{where}[{index}]", "an object", call)
        chars += strings(call)
    return chars


def _tools(body: JsonObject, needs: set[str]) -> int:
    chars = 0
    for name in _LISTS:
        tools = body.get(name)
        if tools is None:
            continue
        if type(tools) is not list:
            raise wrong_type(name, "an array of objects", tools)
        for index, tool in enumerate(tools):
            if type(tool) is not dict:
                raise wrong_type(f"{name}[{index}]", "an object", tool)
        if tools:
            needs.add("tools")
            chars += strings(tools)
    return chars


def _format(body: JsonObject, needs: set[str]) -> None:
    wanted = body.get("response_format")
    if wanted is not None:
        if type(wanted) is not dict:
            raise wrong_type("response_format", "an object", wanted)
        if wanted.get("type") == "json_schema":
            needs.add("json_schema")
    modalities = body.get("modalities")
    if type(modalities) is list and "audio" in modalities:
        needs.add("audio")


CHAT = ChatDialect()
