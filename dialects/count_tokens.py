"""Anthropic's request to count the tokens of a prompt: the body of messages without a cap on the answer."""

from __future__ import annotations

import math
from collections.abc import Mapping

from msgspec.structs import replace

from dialects.errors import Family, GatewayError
from dialects.messages import MESSAGES
from dialects.types import Facts, Framer, Framing, JsonObject, StreamTap, Usage


class CountTokensDialect:
    """Reads like messages and answers one number."""

    name = "count_tokens"
    family: Family = "anthropic"
    framing: Framing = "sse"

    def facts(self, body: JsonObject) -> Facts:
        # Counting never streams, whatever else the body asks for.
        return replace(MESSAGES.count_facts(body), stream=False)

    def usage(self, body: JsonObject) -> Usage | None:  # noqa: ARG002 - counting uses and costs nothing
        return None

    def is_answer(self, body: JsonObject) -> bool:
        return type(body.get("input_tokens")) is int

    def framer(self) -> Framer:
        return MESSAGES.framer()

    def tap(self, *, strip_usage: bool) -> StreamTap:
        return MESSAGES.tap(strip_usage=strip_usage)

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> GatewayError:
        return MESSAGES.error(status, headers, body)

    def error_event(self, error: GatewayError, request_id: str) -> bytes:
        return MESSAGES.error_event(error, request_id)


# Fewer than English has, so that the estimate errs to the high side: agents count to know when to shorten a
# conversation, and one that is shortened too late is refused.
_CHARS_PER_TOKEN = 3.5


def estimated(facts: Facts) -> JsonObject:
    """The answer where the provider has no such call: an estimate from the length, at least 1."""
    return {"input_tokens": max(1, math.ceil(facts.prompt_chars / _CHARS_PER_TOKEN))}


COUNT_TOKENS = CountTokensDialect()
