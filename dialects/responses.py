"""The dialect of OpenAI's responses: what the gateway reads of its requests, answers and streams."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from dialects import sse, upstream_errors
from dialects.chat import not_a_chunk, read_flag, read_int, read_model, read_user, wrong_type
from dialects.errors import Family, GatewayError, bad_request, envelope
from dialects.fields import DOCUMENT_CHARS, IMAGE_CHARS, count, detail, length, part, strings
from dialects.responses_failed import Progress
from dialects.types import Event, Facts, Framer, Framing, JsonObject, StreamTap, Usage

ROLES = ("assistant", "system", "developer", "user")
_ROLE_LIST = "'assistant', 'system', 'developer', and 'user'"

# What a content part needs of a target, and its part in the estimate of the prompt.
_PARTS: Mapping[str, tuple[str, int]] = {
    "input_image": ("vision", IMAGE_CHARS),
    "input_file": ("documents", DOCUMENT_CHARS),
    "input_audio": ("audio", DOCUMENT_CHARS),
}
# Where a conversation may come from besides `input`: the provider keeps it.
KEPT_ELSEWHERE = ("previous_response_id", "conversation", "prompt")

_STRING: tuple[tuple[type, ...], str] = ((str,), "a string")
_INTEGER: tuple[tuple[type, ...], str] = ((int,), "an integer")
_NUMBER: tuple[tuple[type, ...], str] = ((int, float), "a decimal")
_FLAG: tuple[tuple[type, ...], str] = ((bool,), "a boolean")
_OBJECT: tuple[tuple[type, ...], str] = ((dict,), "an object")
_STRING_OR_OBJECT: tuple[tuple[type, ...], str] = ((str, dict), "a string or an object")
_TYPES: Mapping[str, tuple[tuple[type, ...], str]] = {
    "instructions": _STRING,
    "previous_response_id": _STRING,
    "prompt_cache_key": _STRING,
    "service_tier": _STRING,
    "truncation": _STRING,
    "max_tool_calls": _INTEGER,
    "top_logprobs": _INTEGER,
    "temperature": _NUMBER,
    "top_p": _NUMBER,
    "background": _FLAG,
    "parallel_tool_calls": _FLAG,
    "store": _FLAG,
    "metadata": _OBJECT,
    "prompt": _OBJECT,
    "reasoning": _OBJECT,
    "stream_options": _OBJECT,
    "text": _OBJECT,
    "conversation": _STRING_OR_OBJECT,
    "tool_choice": _STRING_OR_OBJECT,
}

# An event that goes out when a stream breaks knows nothing of those before it. Readers skip what they have
# seen by its number, so this one is larger than that of any event that went before.
_LAST_NUMBER = (1 << 31) - 1


class ResponsesDialect:
    """Responses. Unknown fields, items and tools pass; known ones have the types that the API documents."""

    name = "responses"
    family: Family = "openai"
    framing: Framing = "sse"

    def facts(self, body: JsonObject) -> Facts:
        model = read_model(body)
        for name, (types, expected) in _TYPES.items():
            value = body.get(name)
            if value is not None and type(value) not in types:
                raise wrong_type(name, expected, value)
        _check_strings(body)
        if body.get("background") is True:
            # Not even OpenAI's: its answer would wait under an id for which the gateway has no address.
            raise bad_request(
                "The gateway keeps no responses, so one that is made in the background could not be fetched.",
                "background",
                "unsupported_value",
            )
        needs: set[str] = set()
        chars = length(body.get("instructions")) + _input(body, needs) + _tools(body, needs)
        _format(body, needs)
        return Facts(
            model=model,
            stream=read_flag(body, "stream"),
            max_tokens=read_int(body, "max_output_tokens", minimum=1),
            # A stream of this dialect always carries its usage.
            include_usage=True,
            prompt_chars=chars,
            end_user=read_user(body),
            needs=frozenset(needs),
            one_prompt=True,
        )

    def usage(self, body: JsonObject) -> Usage | None:
        return read_usage(body.get("usage"))

    def is_answer(self, body: JsonObject) -> bool:
        output = body.get("output")
        return (
            body.get("object") == "response"
            and type(output) is list
            and all(type(item) is dict for item in output)
        )

    def framer(self) -> Framer:
        return sse.SseFramer()

    def tap(self, *, strip_usage: bool) -> StreamTap:  # noqa: ARG002 - usage is part of every such stream
        return ResponsesTap()

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> GatewayError:
        return upstream_errors.from_reply(status, headers, body)

    def error_event(self, error: GatewayError, request_id: str) -> bytes:
        """An `error` event of the API's own form, with the envelope in it: by that the SDKs raise."""
        event = {
            "type": "error",
            "code": error.code,
            "message": error.message,
            "param": error.detail.param,
            "sequence_number": _LAST_NUMBER,
            **envelope("openai", error, request_id),
        }
        return sse.frame_json(event, "error")


class ResponsesTap:
    """Notes of an event stream. The stream is over when its response is completed or incomplete."""

    __slots__ = ("_progress", "content", "finished", "output_chars", "usage")

    def __init__(self) -> None:
        self._progress = Progress()
        self.usage: Usage | None = None
        self.content = False
        self.finished = False
        self.output_chars = 0

    def see(self, event: Event) -> None:
        data = event.data
        # Some servers end with chat's terminator: it is none here, where a response must be completed.
        if not data or data == b"[DONE]":
            return
        body = event.json()
        try:
            self._event(body)
        except (AttributeError, TypeError, KeyError):
            raise not_a_chunk() from None

    def keep(self, event: Event) -> bool:  # noqa: ARG002 - the protocol's signature; nothing is stripped
        return True

    def fail(self, error: GatewayError, request_id: str) -> bytes:
        """The response as failed, under its own id and with the next number."""
        return self._progress.fail(error, request_id)

    def _event(self, body: Any) -> None:
        kind = body.get("type")
        if kind is None and body.get("error"):
            # The form of chat, in which some servers fail here too.
            kind = "error"
        if kind.endswith(".delta"):
            delta = body.get("delta")
            if delta:
                self.content = True
                # A sound's length in base64 says nothing of its tokens.
                if kind != "response.audio.delta":
                    self.output_chars += length(delta)
        elif kind.startswith("response.output_item."):
            self._item(body.get("item"), is_whole=kind.endswith(".done"))
        elif kind in ("response.completed", "response.incomplete"):
            self._count(body["response"])
            self.finished = True
        elif kind == "response.failed":
            self._count(body["response"])
            raise upstream_errors.from_event(body["response"].get("error") or {})
        elif kind == "error":
            raise upstream_errors.from_event(body.get("error") or body)
        self._progress.see(kind, body)

    def _item(self, item: Any, *, is_whole: bool) -> None:
        if type(item) is not dict:
            return
        # A message and reasoning begin empty; any other item is an act of the model already.
        if is_whole or item.get("type") not in ("message", "reasoning"):
            self.content = True
        if not is_whole:
            self.output_chars += length(item.get("name"))

    def _count(self, response: JsonObject) -> None:
        self.usage = read_usage(response.get("usage")) or self.usage


def read_usage(usage: Any) -> Usage | None:
    """Usage in this dialect's form. None unless input and output are counted."""
    if type(usage) is not dict:
        return None
    given = count(usage.get("input_tokens"))
    output = count(usage.get("output_tokens"))
    if given is None or output is None:
        return None
    cache_read = part(detail(usage, "input_tokens_details", "cached_tokens"), given)
    return Usage(
        input_tokens=given,
        output_tokens=output,
        cache_read=cache_read,
        cache_write=part(detail(usage, "input_tokens_details", "cache_write_tokens"), given - cache_read),
        reasoning=part(detail(usage, "output_tokens_details", "reasoning_tokens"), output),
    )


# --- The request's checks


def _check_strings(body: JsonObject) -> None:
    """`include`, a list of strings, and `metadata`, whose values are strings."""
    include = body.get("include")
    if include is not None and (type(include) is not list or not all(type(i) is str for i in include)):
        raise wrong_type("include", "an array of strings", include)
    for value in (body.get("metadata") or {}).values():
        if type(value) is not str:
            raise wrong_type("metadata", "an object of strings", value)


def _input(body: JsonObject, needs: set[str]) -> int:
    """Check the conversation; its characters."""
    given = body.get("input")
    if given is None:
        if any(body.get(name) for name in KEPT_ELSEWHERE):
            return 0
        raise bad_request("Missing required parameter: 'input'.", "input", "missing_required_parameter")
    if type(given) is str:
        return len(given)
    if type(given) is not list:
        raise wrong_type("input", "a string or an array of objects", given)
    return sum(_item(item, f"input[{index}]", needs) for index, item in enumerate(given))


def _item(item: Any, where: str, needs: set[str]) -> int:
    """Check one item; its characters."""
    if type(item) is not dict:
        raise wrong_type(where, "an object", item)
    kind = item.get("type")
    if kind is not None and type(kind) is not str:
        raise wrong_type(f"{where}.type", "a string", kind)
    if kind == "message" or (kind is None and "role" in item):
        return _message(item, where, needs)
    check = _CHECKS.get(kind or "")
    return check(item, where, needs) if check else strings(item)


def _message(item: JsonObject, where: str, needs: set[str]) -> int:
    role = item.get("role")
    if role is None:
        raise _missing(f"{where}.role")
    if type(role) is not str or role not in ROLES:
        raise bad_request(
            f"Invalid value for '{where}.role'. Supported values are: {_ROLE_LIST}.",
            f"{where}.role",
            "invalid_value",
        )
    if item.get("content") is None:
        raise _missing(f"{where}.content")
    return _content(item["content"], f"{where}.content", needs)


def _content(content: Any, where: str, needs: set[str]) -> int:
    """Check a string or a list of parts; its characters."""
    if type(content) is str:
        return len(content)
    if type(content) is not list:
        raise wrong_type(where, "a string or an array of objects", content)
    return sum(_part(p, f"{where}[{index}]", needs) for index, p in enumerate(content))


def _part(content: Any, where: str, needs: set[str]) -> int:
    if type(content) is not dict:
        raise wrong_type(where, "an object", content)
    kind = content.get("type")
    if type(kind) is not str:
        raise _missing(f"{where}.type")
    if kind in _PARTS:
        need, chars = _PARTS[kind]
        needs.add(need)
        return chars
    if kind in ("input_text", "output_text") and type(content.get("text")) is not str:
        raise wrong_type(f"{where}.text", "a string", content.get("text"))
    return length(content.get("text")) or length(content.get("refusal"))


def _call(item: JsonObject, where: str, needs: set[str]) -> int:  # noqa: ARG001 - one signature for all checks
    written = "input" if item["type"] == "custom_tool_call" else "arguments"
    chars = 0
    for name in ("call_id", "name", written):
        value = item.get(name)
        if value is None:
            raise _missing(f"{where}.{name}")
        if type(value) is not str:
            raise wrong_type(f"{where}.{name}", "a string", value)
        chars += len(value)
    return chars


def _output(item: JsonObject, where: str, needs: set[str]) -> int:
    call_id = item.get("call_id")
    if call_id is not None and type(call_id) is not str:
        raise wrong_type(f"{where}.call_id", "a string", call_id)
    if item.get("output") is None:
        raise _missing(f"{where}.output")
    return _content(item["output"], f"{where}.output", needs)


def _reasoning(item: JsonObject, where: str, needs: set[str]) -> int:  # noqa: ARG001 - as above
    summary = item.get("summary")
    if summary is not None and (type(summary) is not list or not all(type(s) is dict for s in summary)):
        raise wrong_type(f"{where}.summary", "an array of objects", summary)
    sealed = item.get("encrypted_content")
    if sealed is not None and type(sealed) is not str:
        raise wrong_type(f"{where}.encrypted_content", "a string", sealed)
    return sum(length(s.get("text")) for s in summary or ())


_CHECKS: Mapping[str, Callable[[JsonObject, str, set[str]], int]] = {
    "function_call": _call,
    "custom_tool_call": _call,
    "function_call_output": _output,
    "custom_tool_call_output": _output,
    "reasoning": _reasoning,
}


def _tools(body: JsonObject, needs: set[str]) -> int:
    tools = body.get("tools")
    if tools is None:
        return 0
    if type(tools) is not list:
        raise wrong_type("tools", "an array of objects", tools)
    for index, tool in enumerate(tools):
        if type(tool) is not dict:
            raise wrong_type(f"tools[{index}]", "an object", tool)
        if type(tool.get("type")) is not str:
            raise _missing(f"tools[{index}].type")
    if tools:
        needs.add("tools")
    return strings(tools)


def _format(body: JsonObject, needs: set[str]) -> None:
    wanted = (body.get("text") or {}).get("format")
    if wanted is not None:
        if type(wanted) is not dict:
            raise wrong_type("text.format", "an object", wanted)
        if wanted.get("type") == "json_schema":
            needs.add("json_schema")


def _missing(where: str) -> GatewayError:
    return bad_request(f"Missing required parameter: '{where}'.", where, "missing_required_parameter")


RESPONSES = ResponsesDialect()
