"""The pair for a client of Anthropic's messages and a provider of chat completions."""

from __future__ import annotations

import re
from typing import Any

from dialects.capabilities import resolve
from dialects.chat import openai_usage
from dialects.messages import refuse_thread
from dialects.messages_via_chat_request import Plan, RequestBuilder
from dialects.messages_via_chat_stream import (
    MessageEvents,
    refusal_details,
    served_tier,
    stop_reason,
    with_tier,
)
from dialects.parts import (
    CallIds,
    answered_input,
    claude_id,
    invalid_answer,
    messages_usage,
    new_id,
    thought_in,
)
from dialects.types import Event, JsonObject, ModelFacts, Usage

# Fields of chat completions by their names here.
_WORDS = {
    "stop": "stop_sequences",
    "reasoning_effort": "thinking",
    "reasoning_summary": "thinking",
    "response_format": "output_config.format",
    "tools.function": "tools",
}
_WORD = re.compile(
    r"messages\[\d+\]"
    r"|(?<![\w.'])(?:reasoning_effort|reasoning_summary|response_format|tools\.function|stop)(?![\w ])"
)


class MessagesViaChat:
    """Translator. An instance serves one attempt.

    `between`: the messages go to another pair, which understands what chat completions themselves cannot say:
    thinking that the provider sealed, and pictures in results.
    """

    def __init__(self, *, between: bool = False) -> None:
        self._plan = Plan(between=between)
        self.dropped: list[str] = self._plan.losses
        self._model = ""
        self._events: MessageEvents | None = None

    def request(self, body: JsonObject, model: ModelFacts) -> JsonObject:
        refuse_thread(body)
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

    def client_words(self, text: str) -> str:
        """A text about the messages that this pair made, in the words of the client's own body."""
        return _WORD.sub(lambda found: _WORDS.get(found[0], "messages"), text)

    def _stream(self) -> MessageEvents:
        if self._events is None:
            self._events = MessageEvents(self._plan.names, self._model, between=self._plan.between)
        return self._events

    def _message(self, body: JsonObject) -> JsonObject:
        choice = body["choices"][0]
        message = choice["message"]
        content: list[JsonObject] = []
        thoughts = message.get("reasoning_content") or message.get("reasoning")
        blocks = message.get("thinking_blocks") if self._plan.between else None
        if blocks:
            content += [{"type": "thinking", **{k: b[k] for k in ("thinking", "signature")}} for b in blocks]
        elif type(thoughts) is str and thoughts:
            content.append({"type": "thinking", "thinking": thoughts, "signature": ""})
        text, thought = _text(message.get("content"))
        if thought:
            content.append({"type": "thinking", "thinking": thought, "signature": ""})
        if text:
            content.append({"type": "text", "text": text})
        refusal = message.get("refusal")
        if refusal:
            content.append({"type": "text", "text": str(refusal)})
        ids = CallIds("toolu_", claude_id)
        calls = [self._call(ids.of(call), call["function"]) for call in message.get("tool_calls") or ()]
        if message.get("function_call"):
            calls.append(self._call(ids.of({}), message["function_call"]))
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
            "usage": with_tier(messages_usage(openai_usage(body.get("usage")) or Usage()), served_tier(body)),
        }

    def _call(self, call_id: str, function: JsonObject) -> JsonObject:
        return {
            "type": "tool_use",
            "id": call_id,
            "name": self._plan.names.back(function["name"]),
            "input": answered_input(function.get("arguments"), self._plan.losses),
        }


def _text(content: Any) -> tuple[str, str]:
    """What an answer says and what was thought in it: a string, or the parts that some servers give."""
    if type(content) is list:
        said = "".join(part["text"] for part in content if part.get("type") == "text")
        return said, "".join(map(thought_in, content))
    if content is not None and type(content) is not str:
        raise invalid_answer()
    return content or "", ""
