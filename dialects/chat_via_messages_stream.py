"""Anthropic's stream of events as chunks of chat completions."""

from __future__ import annotations

import time
from typing import Any

import orjson

from dialects import parts_openrouter
from dialects.chat_via_messages_request import JSON_TOOL, Plan
from dialects.messages import anthropic_usage
from dialects.parts import FINISH_OF_STOP, chat_usage, new_id, tool_arguments, truncated_answer
from dialects.sse import escape
from dialects.types import JsonObject

# Anthropic's words for the tier that served a call, as OpenAI's; a batch has no counterpart.
_TIERS = {"standard": "default", "priority": "priority"}


class ChatChunks:
    """One stream's state. Chunks are put together from bytes that are the same for the whole stream, which
    makes the usual chunk several times cheaper than writing an object out."""

    def __init__(self, plan: Plan, model: str, *, include_usage: bool) -> None:
        self._plan = plan
        self._model = model
        self._include_usage = include_usage
        self._head = b""
        # A client that asked for usage gets the field in every chunk, as the API documents.
        self._tail = b',"usage":null}\n\n' if include_usage else b"}\n\n"
        self._plain_tail = b'},"logprobs":null,"finish_reason":null}]' + self._tail
        self._counts: JsonObject = {}
        self._kind = ""
        self._calls = 0
        self._silent = True
        # Characters of text so far, and what the open block cites with the place where it begins.
        self._chars = 0
        self._begins = 0
        self._cited: list[JsonObject] = []
        self._thought: list[str] = []
        self._signature: list[str] = []
        # Blocks of thinking that are over.
        self._blocks = 0
        self._input: Any = None
        self._finished = False

    def event(self, event: JsonObject) -> bytes:
        """The chunks for one event, b"" for none."""
        kind = event["type"]
        if kind == "content_block_delta":
            return self._on_delta(event["delta"])
        if kind == "content_block_start":
            return self._on_start(event["content_block"])
        if kind == "content_block_stop":
            return self._on_stop()
        if kind == "message_start":
            return self._begin(event["message"])
        if kind == "message_delta":
            return self._on_message_delta(event)
        if kind == "message_stop" and not self._finished:
            raise truncated_answer()
        return b""

    def finish(self) -> bytes:
        """The usage chunk, if asked for and known, and the end."""
        usage = anthropic_usage(self._counts)
        if not self._include_usage or usage is None:
            return b"data: [DONE]\n\n"
        # The head ends within the list of choices; here it is empty.
        head = self._head[: self._head.rindex(b"[") + 1]
        return head + b'],"usage":' + orjson.dumps(chat_usage(usage)) + b"}\n\ndata: [DONE]\n\n"

    def _begin(self, message: JsonObject) -> bytes:
        model = message.get("model")
        start: JsonObject = {
            "id": new_id("chatcmpl-"),
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": model if model and type(model) is str else self._model,
            "system_fingerprint": None,
        }
        tier = served_tier(message.get("usage"))
        if tier:
            start["service_tier"] = tier
        # The choices come last: the head ends within their list.
        start["choices"] = []
        self._head = b"data: " + escape(orjson.dumps(start))[:-2] + b'{"index":0,"delta":{'
        self._count(message.get("usage"))
        return self._delta(b'"role":"assistant","content":""')

    def _delta(self, fields: bytes) -> bytes:
        if not self._head:
            # A provider that leaves out message_start.
            return self._begin({}) + self._delta(fields)
        return self._head + fields + self._plain_tail

    # --- Blocks ---

    def _on_start(self, block: JsonObject) -> bytes:
        kind = block["type"]
        self._kind = kind
        if kind == "text":
            self._begins = self._chars
            return self._say(block.get("text"))
        if kind == "thinking":
            self._thought = []
            self._signature = [block.get("signature") or ""]
            return self._think(block.get("thinking"))
        if kind == "redacted_thinking":
            return self._replayable({"type": kind, "data": block["data"]})
        if kind != "tool_use":
            return b""
        self._silent = True
        self._input = block.get("input")
        if self._plan.json_tool and block["name"] == JSON_TOOL:
            self._kind = "answer"
            return b""
        index = self._calls
        self._calls += 1
        function = {"name": self._plan.names.back(block["name"]), "arguments": ""}
        if self._plan.functions:
            return self._delta(b'"function_call":' + escape(orjson.dumps(function))) if not index else b""
        call = {"index": index, "id": block["id"], "type": "function", "function": function}
        return self._delta(b'"tool_calls":[' + escape(orjson.dumps(call)) + b"]")

    def _on_delta(self, delta: JsonObject) -> bytes:
        kind = delta["type"]
        if kind == "text_delta":
            return self._say(delta["text"])
        if kind == "input_json_delta":
            return self._arguments(delta["partial_json"])
        if kind == "thinking_delta":
            return self._think(delta["thinking"])
        if kind == "signature_delta":
            self._signature.append(delta["signature"])
        if kind == "citations_delta":
            self._cited.append(delta["citation"])
        return b""

    def _on_stop(self) -> bytes:
        kind = self._kind
        self._kind = ""
        if kind == "thinking":
            thought, signature = "".join(self._thought), "".join(self._signature)
            return self._replayable({"type": kind, "thinking": thought, "signature": signature})
        if self._cited:
            made = citations(self._cited, self._begins, self._chars)
            self._cited = []
            return self._delta(b'"annotations":' + escape(orjson.dumps(made))) if made else b""
        if kind in ("tool_use", "answer") and self._silent:
            self._kind = kind
            out = self._arguments(tool_arguments(self._input))
            self._kind = ""
            return out
        return b""

    def _say(self, text: Any) -> bytes:
        self._chars += len(text or "")
        return self._text(b'"content":', text)

    def _text(self, name: bytes, text: Any) -> bytes:
        if not text:
            return b""
        return self._delta(name + escape(orjson.dumps(text)))

    def _think(self, text: Any) -> bytes:
        if not text:
            return b""
        self._thought.append(text)
        written = escape(orjson.dumps(text))
        fields = b'"reasoning_content":' + written + b',"reasoning":' + written
        if self._plan.details:
            fields += b',"reasoning_details":[' + parts_openrouter.piece(written, self._blocks) + b"]"
        return self._delta(fields)

    def _replayable(self, block: JsonObject) -> bytes:
        """A whole block of thinking with its signature, for clients that can send it back."""
        fields = b'"thinking_blocks":[' + escape(orjson.dumps(block)) + b"]"
        if self._plan.details:
            last = parts_openrouter.closing(block, self._blocks)
            fields += b',"reasoning_details":[' + escape(last) + b"]"
        self._blocks += 1
        return self._delta(fields)

    def _arguments(self, text: Any) -> bytes:
        if not text:
            return b""
        self._silent = False
        written = escape(orjson.dumps(text))
        if self._kind == "answer":
            self._chars += len(text)
            return self._delta(b'"content":' + written)
        if self._kind != "tool_use":
            # The input of a tool that the provider runs itself.
            return b""
        if self._plan.functions:
            return self._delta(b'"function_call":{"arguments":%b}' % written) if self._calls == 1 else b""
        return self._delta(
            b'"tool_calls":[{"index":%d,"function":{"arguments":%b}}]' % (self._calls - 1, written)
        )

    # --- The end ---

    def _on_message_delta(self, event: JsonObject) -> bytes:
        self._count(event.get("usage"))
        delta = event["delta"]
        reason = delta.get("stop_reason")
        if reason is None or self._finished:
            return b""
        self._finished = True
        out = b""
        said = explanation(delta) if reason == "refusal" else None
        if said:
            out = self._text(b'"refusal":', said)
        finish = finish_reason(reason, self._plan, tools=self._calls > 0)
        if not self._head:
            out += self._begin({})
        return out + self._head + b'},"logprobs":null,"finish_reason":"%b"}]' % finish.encode() + self._tail

    def _count(self, usage: Any) -> None:
        if type(usage) is dict:
            # Cumulative: a later count replaces an earlier one.
            self._counts.update((name, value) for name, value in usage.items() if value is not None)


def citations(cited: Any, begins: int, ends: int) -> list[JsonObject]:
    """What a block cites of the web, as annotations of the text from `begins` to `ends` in characters."""
    return [
        {
            "type": "url_citation",
            "url_citation": {
                "url": citation["url"],
                "title": citation.get("title") or "",
                "start_index": begins,
                "end_index": ends,
            },
        }
        for citation in cited or ()
        if citation.get("url")
    ]


def served_tier(usage: Any) -> str | None:
    """The tier that served a call in OpenAI's word; None where it has none or nothing is said."""
    tier = usage.get("service_tier") if type(usage) is dict else None
    return _TIERS.get(tier) if type(tier) is str else None


def finish_reason(stop_reason: Any, plan: Plan, *, tools: bool) -> str:
    """OpenAI's word for a stop reason; an unknown one is a plain stop. `tools`: the client gets a call."""
    if type(stop_reason) is not str:
        raise truncated_answer()
    finish = FINISH_OF_STOP.get(stop_reason, "stop")
    if finish == "tool_calls":
        # When the answer itself came by a tool there is nothing for the client to call.
        if not tools:
            return "stop"
        return "function_call" if plan.functions else finish
    return finish


def explanation(body: JsonObject) -> str | None:
    """What a refusal says of itself."""
    details = body.get("stop_details")
    explanation = details.get("explanation") if type(details) is dict else None
    return explanation if type(explanation) is str else None
