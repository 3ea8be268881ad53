"""The dialect of Ollama's native /api/chat: what the gateway reads of its requests, answers and streams."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from dialects import sse, upstream_errors
from dialects.chat import not_a_chunk, read_model, wrong_type
from dialects.errors import Family, GatewayError, bad_request
from dialects.fields import IMAGE_CHARS, count, length, strings
from dialects.types import Event, Facts, Framer, Framing, JsonObject, StreamTap, Usage


class OllamaChatDialect:
    """Ollama's chat. Unknown fields pass; the known ones have the types that the API documents."""

    name = "ollama_chat"
    family: Family = "ollama"
    framing: Framing = "ndjson"

    def facts(self, body: JsonObject) -> Facts:
        model = read_model(body)
        messages = body.get("messages")
        if type(messages) is not list:
            raise wrong_type("messages", "an array of objects", messages)
        needs: set[str] = set()
        chars = sum(_message(message, f"messages[{i}]", needs) for i, message in enumerate(messages))
        stream = body.get("stream")
        if stream is not None and type(stream) is not bool:
            raise wrong_type("stream", "a boolean", stream)
        return Facts(
            model=model,
            # Streaming is the default here.
            stream=stream is not False,
            max_tokens=ollama_cap(body),
            include_usage=True,
            prompt_chars=chars + _wishes(body, needs),
            needs=frozenset(needs),
        )

    def usage(self, body: JsonObject) -> Usage | None:
        return ollama_usage(body)

    def is_answer(self, body: JsonObject) -> bool:
        return is_message(body.get("message")) and body.get("done") is True

    def framer(self) -> Framer:
        return sse.NdjsonFramer()

    def tap(self, *, strip_usage: bool) -> StreamTap:  # noqa: ARG002 - usage is part of the last line
        return OllamaChatTap()

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> GatewayError:
        return upstream_errors.from_reply(status, headers, body)

    def error_event(self, error: GatewayError, request_id: str) -> bytes:
        return orjson.dumps({"error": error.message, "request_id": request_id}) + b"\n"


class OllamaChatTap:
    """Notes of a stream of lines. The stream is over at the line that says `done`.

    What passes `see` is well-formed, so that a translator behind it needs no checks of its own.
    """

    __slots__ = ("content", "finished", "output_chars", "usage")

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.content = False
        self.finished = False
        self.output_chars = 0

    def see(self, event: Event) -> None:
        if not event.data:
            return
        line = event.json()
        if type(line) is not dict:
            raise not_a_chunk()
        if line.get("error"):
            raise upstream_errors.from_event(line["error"])
        chars = self._said(line)
        if chars:
            self.content = True
            self.output_chars += chars
        if line.get("done") is True:
            self.finished = True
            self.usage = ollama_usage(line)
        elif chars is None:
            raise not_a_chunk()

    def keep(self, event: Event) -> bool:  # noqa: ARG002 - the protocol's signature; nothing is stripped
        return True

    def _said(self, line: JsonObject) -> int | None:
        """Characters of content in a line, None where it has no message; the one thing in which streams of
        generate differ."""
        message = line.get("message")
        if message is None:
            return None
        if not is_message(message):
            raise not_a_chunk()
        chars = length(message.get("content")) + length(message.get("thinking"))
        calls = message.get("tool_calls")
        return chars + strings(calls) if calls else chars


def ollama_usage(body: JsonObject) -> Usage | None:
    """Usage of a whole answer or last line. Ollama leaves out a count that is 0 (a prompt that was all
    cached); None where it says neither."""
    prompt = count(body.get("prompt_eval_count"))
    output = count(body.get("eval_count"))
    if prompt is None and output is None:
        return None
    return Usage(input_tokens=prompt or 0, output_tokens=output or 0)


def is_message(message: Any) -> bool:
    """True for an object whose texts are strings and whose calls are named."""
    if type(message) is not dict:
        return False
    if not isinstance(message.get("content"), str | None) or not isinstance(
        message.get("thinking"), str | None
    ):
        return False
    calls = message.get("tool_calls")
    return calls is None or (type(calls) is list and all(map(_is_call, calls)))


def _is_call(call: Any) -> bool:
    if type(call) is not dict:
        return False
    function = call.get("function")
    return type(function) is dict and type(function.get("name")) is str


def _message(message: Any, where: str, needs: set[str]) -> int:
    """Check one message; its characters."""
    if type(message) is not dict:
        raise wrong_type(where, "an object", message)
    if type(message.get("role")) is not str:
        raise wrong_type(f"{where}.role", "a string", message.get("role"))
    content = message.get("content")
    if content is not None and type(content) is not str:
        raise wrong_type(f"{where}.content", "a string", content)
    images = message.get("images")
    if images is not None and type(images) is not list:
        raise wrong_type(f"{where}.images", "an array", images)
    if images:
        needs.add("vision")
    return length(content) + IMAGE_CHARS * len(images or ()) + strings(message.get("tool_calls"))


def _wishes(body: JsonObject, needs: set[str]) -> int:
    """Note what tools, format and thinking need; the tools' characters."""
    tools = body.get("tools")
    if tools is not None and type(tools) is not list:
        raise wrong_type("tools", "an array of objects", tools)
    if tools:
        needs.add("tools")
    if type(body.get("format")) is dict:
        needs.add("json_schema")
    return strings(tools)


def ollama_cap(body: JsonObject) -> int | None:
    """The cap on output tokens in a request's options; None for none."""
    options = body.get("options")
    if options is None:
        return None
    if type(options) is not dict:
        raise wrong_type("options", "an object", options)
    cap = options.get("num_predict")
    if cap is None:
        return None
    if type(cap) is not int:
        raise bad_request(
            'option "num_predict" must be of type integer', "options.num_predict", "invalid_type"
        )
    # Negative means: no cap.
    return cap if cap >= 0 else None


OLLAMA_CHAT = OllamaChatDialect()
