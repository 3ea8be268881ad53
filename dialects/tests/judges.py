"""What the official SDKs and the strict fake providers say of what the translators write."""

from __future__ import annotations

from typing import Any

from anthropic.types import Message, RawMessageStreamEvent
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from tests.support.upstream import anthropic_rules, ollama_rules, openai_responses_rules, openai_rules
from tests.support.upstream.openai_responses_items import check_order
from tests.support.upstream.wire import Received

_EVENTS: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
_RESPONSE_EVENTS: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


def anthropic_accepts(body: dict[str, Any]) -> None:
    """RefusedError when Anthropic would refuse the body."""
    request = Received(
        1, 1, 1, "POST", "/v1/messages", "HTTP/1.1", [("anthropic-version", "2023-06-01")], b"", 0.0
    )
    anthropic_rules.check_messages(request, body)


def openai_accepts(body: dict[str, Any]) -> None:
    """RefusedError when OpenAI would refuse the body."""
    openai_rules.check_chat(body, ("llama-3.3-70b",))


def responses_accepts(body: dict[str, Any]) -> None:
    """RefusedError when OpenAI would refuse the body of a response."""
    openai_responses_rules.check_responses(body, ())
    check_order(body["input"])


def ollama_accepts(body: dict[str, Any]) -> None:
    """RefusedError when Ollama would refuse the body, and AssertionError for a field that it would ignore."""
    request = Received(1, 1, 1, "POST", "/api/chat", "HTTP/1.1", [], b"", 0.0)
    ollama_rules.check_chat(request, body, ())
    # Ollama itself reads `tool_name`, the newer servers the id too.
    assert [name for name in request.ignored if not name.endswith("tool_call_id")] == []


def is_completion(body: dict[str, Any]) -> ChatCompletion:
    return ChatCompletion.model_validate(body, strict=True)


def is_chunk(body: dict[str, Any]) -> ChatCompletionChunk:
    return ChatCompletionChunk.model_validate(body, strict=True)


def is_message(body: dict[str, Any]) -> Message:
    return Message.model_validate(body, strict=True)


def is_event(body: dict[str, Any]) -> Any:
    return _EVENTS.validate_python(body, strict=True)


def is_response(body: dict[str, Any]) -> Response:
    return Response.model_validate(body, strict=True)


def is_response_event(body: dict[str, Any]) -> Any:
    return _RESPONSE_EVENTS.validate_python(body, strict=True)
