"""The dialect of OpenAI's legacy completions: what the gateway reads of its requests, answers and streams."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dialects import sse, upstream_errors
from dialects.chat import (
    not_a_chunk,
    openai_usage,
    read_flag,
    read_include_usage,
    read_int,
    read_model,
    read_user,
    wrong_type,
)
from dialects.errors import Family, GatewayError, bad_request, envelope
from dialects.estimate import CHARS_PER_TOKEN
from dialects.fields import length
from dialects.types import Event, Facts, Framer, Framing, JsonObject, StreamTap, Usage


class CompletionsDialect:
    """Legacy completions. A prompt of token ids is legal here: only a translation has to refuse it."""

    name = "completions"
    family: Family = "openai"
    framing: Framing = "sse"

    def facts(self, body: JsonObject) -> Facts:
        model = read_model(body)
        prompt = body.get("prompt")
        # vLLM takes embeddings in place of a prompt.
        if prompt is None and "prompt_embeds" not in body:
            raise bad_request("Missing required parameter: 'prompt'.", "prompt", "missing_required_parameter")
        return Facts(
            model=model,
            stream=read_flag(body, "stream"),
            # 0 is legal: it scores a prompt that is echoed.
            max_tokens=read_int(body, "max_tokens", minimum=0),
            n=read_int(body, "n", minimum=1) or 1,
            include_usage=read_include_usage(body),
            prompt_chars=text_or_token_chars(prompt, "prompt"),
            end_user=read_user(body),
        )

    def usage(self, body: JsonObject) -> Usage | None:
        return openai_usage(body.get("usage"))

    def is_answer(self, body: JsonObject) -> bool:
        choices = body.get("choices")
        return (
            type(choices) is list
            and bool(choices)
            and all(type(c) is dict and type(c.get("text")) is str for c in choices)
        )

    def framer(self) -> Framer:
        return sse.SseFramer()

    def tap(self, *, strip_usage: bool) -> StreamTap:
        return CompletionsTap(strip_usage=strip_usage)

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> GatewayError:
        return upstream_errors.from_reply(status, headers, body)

    def error_event(self, error: GatewayError, request_id: str) -> bytes:
        return sse.frame_json(envelope("openai", error, request_id))


class CompletionsTap:
    """Notes of a stream of text chunks. The stream is over at `[DONE]`."""

    __slots__ = ("_keep", "_strip", "content", "finished", "output_chars", "usage")

    def __init__(self, *, strip_usage: bool) -> None:
        self.usage: Usage | None = None
        self.content = False
        self.finished = False
        self.output_chars = 0
        self._strip = strip_usage
        self._keep = True

    def see(self, event: Event) -> None:
        self._keep = True
        if event.data == b"[DONE]":
            self.finished = True
        elif event.data:
            try:
                self._chunk(event.json(), event.name)
            except (AttributeError, TypeError, KeyError):
                raise not_a_chunk() from None

    def keep(self, event: Event) -> bool:  # noqa: ARG002 - the protocol's signature; see() has decided
        return self._keep

    def _chunk(self, chunk: Any, name: str) -> None:
        choices = chunk.get("choices")
        if not choices and (chunk.get("error") or name == "error"):
            raise upstream_errors.from_event(chunk.get("error") or chunk)
        for choice in choices or ():
            chars = length(choice.get("text"))
            if chars:
                self.output_chars += chars
                self.content = True
        usage = chunk.get("usage")
        if usage:
            self.usage = openai_usage(usage) or self.usage
            # Only the chunk that exists for usage goes; one that also carries an answer stays.
            self._keep = bool(choices) or not self._strip


def text_or_token_chars(value: Any, name: str) -> int:
    """Characters of a text, several texts, or lists of token ids (each token counted as its usual
    characters). 400 that names the field for any other form; None is 0."""
    if value is None:
        return 0
    if type(value) is str:
        return len(value)
    if type(value) is not list:
        raise wrong_type(name, "a string or an array", value)
    chars = 0
    for index, entry in enumerate(value):
        kind = type(entry)
        if kind is str:
            chars += len(entry)
        elif kind is int:
            chars += CHARS_PER_TOKEN
        elif kind is list and all(type(token) is int for token in entry):
            chars += CHARS_PER_TOKEN * len(entry)
        else:
            raise wrong_type(f"{name}[{index}]", "a string, an integer or an array of integers", entry)
    return chars


COMPLETIONS = CompletionsDialect()
