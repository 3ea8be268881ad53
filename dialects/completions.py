"""The dialect of OpenAI's legacy completions: what the gateway reads of its requests, answers and streams."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dialects import sse, upstream_errors
from dialects.chat import (
    ChatTap,
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
from dialects.types import Facts, Framer, Framing, JsonObject, StreamTap, Usage


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
        suffix = body.get("suffix")
        if not isinstance(suffix, str | None):
            raise wrong_type("suffix", "a string", suffix)
        return Facts(
            model=model,
            stream=read_flag(body, "stream"),
            # 0 is legal: it scores a prompt that is echoed.
            max_tokens=read_int(body, "max_tokens", minimum=0),
            n=read_int(body, "n", minimum=1) or 1,
            include_usage=read_include_usage(body),
            prompt_chars=text_or_token_chars(prompt, "prompt") + length(suffix),
            end_user=read_user(body),
            needs=frozenset(("insert",)) if suffix else frozenset(),
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


class CompletionsTap(ChatTap):
    """Notes of a stream of text chunks, which is one of chat but for where the text is."""

    __slots__ = ()

    def _choice(self, choice: dict[str, Any]) -> None:
        chars = length(choice.get("text"))
        if chars:
            self.output_chars += chars
            self.content = True


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
