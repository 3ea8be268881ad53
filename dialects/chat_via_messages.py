"""The pair for a client of chat completions and a provider of Anthropic's messages."""

from __future__ import annotations

import time

from dialects.capabilities import resolve
from dialects.chat_via_messages_request import JSON_TOOL, Plan, RequestBuilder
from dialects.chat_via_messages_stream import ChatChunks, citations, explanation, finish_reason, served_tier
from dialects.messages import anthropic_usage
from dialects.parts import chat_usage, invalid_answer, new_id, tool_arguments
from dialects.parts_openrouter import detail
from dialects.types import Event, JsonObject, ModelFacts


class ChatViaMessages:
    """Translator. An instance serves one attempt."""

    def __init__(self) -> None:
        self._plan = Plan()
        self.dropped: list[str] = self._plan.losses
        self._model = ""
        self._include_usage = False
        self._chunks: ChatChunks | None = None

    def request(self, body: JsonObject, model: ModelFacts) -> JsonObject:
        self._model = model.name
        options = body.get("stream_options")
        self._include_usage = type(options) is dict and options.get("include_usage") is True
        return RequestBuilder(body, model, resolve(model), self._plan).build()

    def response(self, body: JsonObject) -> JsonObject:
        try:
            return self._completion(body)
        except (AttributeError, KeyError, TypeError):
            raise invalid_answer() from None

    def event(self, event: Event) -> bytes:
        if not event.data:
            return b""
        try:
            return self._stream().event(event.json())
        except (AttributeError, KeyError, TypeError):
            raise invalid_answer() from None

    def finish(self) -> bytes:
        return self._stream().finish()

    def _stream(self) -> ChatChunks:
        if self._chunks is None:
            self._chunks = ChatChunks(self._plan, self._model, include_usage=self._include_usage)
        return self._chunks

    def _completion(self, body: JsonObject) -> JsonObject:
        reader = _Blocks(self._plan)
        for block in body["content"]:
            reader.read(block)
        reason = body.get("stop_reason")
        answer: JsonObject = {
            "id": new_id("chatcmpl-"),
            "object": "chat.completion",
            "created": int(time.time()),
            "model": body.get("model") or self._model,
            "choices": [
                {
                    "index": 0,
                    "message": reader.message(explanation(body) if reason == "refusal" else None),
                    "logprobs": None,
                    "finish_reason": finish_reason(reason, self._plan, tools=bool(reader.calls)),
                }
            ],
            "system_fingerprint": None,
        }
        if self._plan.details:
            # OpenRouter's clients take no answer without it.
            answer["provider"] = "Anthropic"
        usage = anthropic_usage(body.get("usage"))
        if usage is not None:
            answer["usage"] = chat_usage(usage)
            tier = served_tier(body["usage"])
            if tier:
                answer["service_tier"] = tier
        return answer


class _Blocks:
    """Gathers the content blocks of one answer."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._texts: list[str] = []
        self._thoughts: list[str] = []
        self._thinking: list[JsonObject] = []
        self._annotations: list[JsonObject] = []
        self._chars = 0
        self.calls: list[JsonObject] = []

    def read(self, block: JsonObject) -> None:
        kind = block["type"]
        if kind == "text":
            begins = self._chars
            self._say(block["text"])
            self._annotations += citations(block.get("citations"), begins, self._chars)
        elif kind == "thinking":
            self._thoughts.append(block["thinking"])
            self._thinking.append(
                {"type": kind, "thinking": block["thinking"], "signature": block.get("signature") or ""}
            )
        elif kind == "redacted_thinking":
            self._thinking.append({"type": kind, "data": block["data"]})
        elif kind == "tool_use":
            self._call(block)
        # Whatever else is a tool that the provider ran itself: not for the client to run again.

    def message(self, refusal: str | None) -> JsonObject:
        content = "".join(self._texts)
        message: JsonObject = {
            "role": "assistant",
            "content": content if content or not self.calls else None,
            "refusal": refusal,
        }
        if self._annotations:
            message["annotations"] = self._annotations
        if self._thinking:
            thoughts = "".join(self._thoughts)
            if thoughts:
                # The two names in use for it.
                message["reasoning_content"] = thoughts
                message["reasoning"] = thoughts
            message["thinking_blocks"] = self._thinking
            if self._plan.details:
                message["reasoning_details"] = [detail(b, i) for i, b in enumerate(self._thinking)]
        if self.calls and self._plan.functions:
            message["function_call"] = self.calls[0]["function"]
        elif self.calls:
            message["tool_calls"] = self.calls
        return message

    def _say(self, text: str) -> None:
        self._texts.append(text)
        self._chars += len(text)

    def _call(self, block: JsonObject) -> None:
        arguments = tool_arguments(block.get("input"))
        if self._plan.json_tool and block["name"] == JSON_TOOL:
            self._say(arguments)
            return
        function = {"name": self._plan.names.back(block["name"]), "arguments": arguments}
        self.calls.append({"id": block["id"], "type": "function", "function": function})
