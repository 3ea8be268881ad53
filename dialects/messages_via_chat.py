"""The pair for a client of Anthropic's messages and a provider of chat completions."""

from __future__ import annotations

from typing import Any

from dialects.capabilities import resolve
from dialects.chat import openai_usage
from dialects.messages_via_chat_request import Plan, RequestBuilder
from dialects.messages_via_chat_stream import MessageEvents, refusal_details, stop_reason
from dialects.parts import invalid_answer, messages_usage, new_id, parsed_arguments
from dialects.types import Event, JsonObject, ModelFacts, Usage


class MessagesViaChat:
    """Translator. An instance serves one attempt."""

    def __init__(self) -> None:
        self._plan = Plan()
        self.dropped: list[str] = self._plan.losses
        self._model = ""
        self._events: MessageEvents | None = None

    def request(self, body: JsonObject, model: ModelFacts) -> JsonObject:
        self._model = model.name
        return RequestBuilder(body, model, resolve(model), self._plan).build()

    def response(self, body: JsonObject) -> JsonObject:
        try:
            return self._message(body)
        except (AttributeError, IndexError, KeyError, TypeError):
            raise invalid_answer() from None

    def event(self, event: Event) -> bytes:
        data = event.data
        if not data or data == b"[DONE]":
            return b""
        try:
            return self._stream().chunk(event.json())
        except (AttributeError, KeyError, TypeError):
            raise invalid_answer() from None

    def finish(self) -> bytes:
        return self._stream().finish()

    def _stream(self) -> MessageEvents:
        if self._events is None:
            self._events = MessageEvents(self._plan.names, self._model)
        return self._events

    def _message(self, body: JsonObject) -> JsonObject:
        choice = body["choices"][0]
        message = choice["message"]
        content: list[JsonObject] = []
        thoughts = message.get("reasoning_content") or message.get("reasoning")
        if type(thoughts) is str and thoughts:
            content.append({"type": "thinking", "thinking": thoughts, "signature": ""})
        text = _text(message.get("content"))
        if text:
            content.append({"type": "text", "text": text})
        refusal = message.get("refusal")
        if refusal:
            content.append({"type": "text", "text": str(refusal)})
        calls = [self._call(call.get("id"), call["function"]) for call in message.get("tool_calls") or ()]
        if message.get("function_call"):
            calls.append(self._call(None, message["function_call"]))
        content += calls
        reason = stop_reason(choice.get("finish_reason"), calls=bool(calls), refused=bool(refusal))
        return {
            "id": new_id("msg_"),
            "type": "message",
            "role": "assistant",
            "model": body.get("model") or self._model,
            "content": content,
            "stop_reason": reason,
            "stop_sequence": None,
            "stop_details": refusal_details(refusal) if reason == "refusal" else None,
            # The type requires it; a provider that does not count gets zeros on the wire, not in the books.
            "usage": messages_usage(openai_usage(body.get("usage")) or Usage()),
        }

    def _call(self, call_id: Any, function: JsonObject) -> JsonObject:
        return {
            "type": "tool_use",
            "id": call_id if call_id and type(call_id) is str else new_id("toolu_"),
            "name": self._plan.names.back(function["name"]),
            # Broken text cannot be an input, and the client is not to run what the model did not say.
            "input": parsed_arguments(function.get("arguments")) or {},
        }


def _text(content: Any) -> str:
    """An answer's text: a string, or the parts that some servers give."""
    if type(content) is list:
        return "".join(part["text"] for part in content if part.get("type") == "text")
    if content is not None and type(content) is not str:
        raise invalid_answer()
    return content or ""
