"""The pair for a client of chat completions and a provider of responses."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import orjson

from dialects import upstream_errors
from dialects.capabilities import resolve
from dialects.chat_via_responses_request import RequestBuilder
from dialects.parts import Losses, chat_usage, invalid_answer, new_id, sealed, shifted, truncated_answer
from dialects.responses import read_usage
from dialects.sse import escape
from dialects.types import Event, JsonObject, ModelFacts

_FINISH_OF_REASON = {"max_output_tokens": "length", "content_filter": "content_filter"}
_CALLS = ("function_call", "custom_tool_call")
_THOUGHTS = ("response.reasoning_summary_text.delta", "response.reasoning_text.delta")


class ChatViaResponses:
    """Translator. An instance serves one attempt."""

    def __init__(self) -> None:
        self._losses = Losses()
        self.dropped: list[str] = self._losses
        self._model = ""
        self._functions = False
        self._include_usage = False
        self._chunks: ChatChunks | None = None

    def request(self, body: JsonObject, model: ModelFacts) -> JsonObject:
        self._model = model.name
        options = body.get("stream_options")
        self._include_usage = type(options) is dict and options.get("include_usage") is True
        builder = RequestBuilder(body, model, resolve(model), self._losses)
        self._functions = builder.functions
        return builder.build()

    def response(self, body: JsonObject) -> JsonObject:
        try:
            return self._completion(body)
        except (AttributeError, KeyError, TypeError):
            raise invalid_answer() from None

    def event(self, event: Event) -> bytes:
        if not event.data or event.data == b"[DONE]":
            return b""
        try:
            return self._stream().event(event.json())
        except (AttributeError, KeyError, TypeError):
            raise invalid_answer() from None

    def finish(self) -> bytes:
        try:
            return self._stream().finish()
        except (AttributeError, KeyError, TypeError):
            raise invalid_answer() from None

    def _stream(self) -> ChatChunks:
        if self._chunks is None:
            self._chunks = ChatChunks(
                self._model, functions=self._functions, include_usage=self._include_usage
            )
        return self._chunks

    def _completion(self, body: JsonObject) -> JsonObject:
        if body.get("status") == "failed":
            raise upstream_errors.from_event(body.get("error") or {})
        items = body["output"]
        texts = [p["text"] for p in _content(items, "output_text")]
        refusals = [p["refusal"] for p in _content(items, "refusal")]
        calls = [_call(item, _arguments(item)) for item in items if item["type"] in _CALLS]
        message: JsonObject = {
            "role": "assistant",
            "content": "".join(texts) if texts or not (calls or refusals) else None,
            "refusal": "".join(refusals) or None,
        }
        thoughts = [item for item in items if item["type"] == "reasoning"]
        text = "\n\n".join(filter(None, map(_thought, thoughts)))
        if text:
            # The two names in use for it.
            message["reasoning_content"] = message["reasoning"] = text
        blocks = [_block(item) for item in thoughts if item.get("encrypted_content")]
        if blocks:
            message["thinking_blocks"] = blocks
        annotations = _annotations(_content(items, "output_text"))
        if annotations:
            message["annotations"] = annotations
        if calls and self._functions:
            message["function_call"] = calls[0]["function"]
        elif calls:
            message["tool_calls"] = calls
        logprobs = [entry for p in _content(items, "output_text") for entry in p.get("logprobs") or ()]
        choice = {
            "index": 0,
            "message": message,
            "logprobs": {"content": logprobs, "refusal": None} if logprobs else None,
            "finish_reason": _finish(body, functions=self._functions, called=bool(calls)),
        }
        answer: JsonObject = {
            "id": new_id("chatcmpl-"),
            "object": "chat.completion",
            "created": int(time.time()),
            "model": body.get("model") or self._model,
            "choices": [choice],
            "system_fingerprint": None,
        }
        usage = read_usage(body.get("usage"))
        if usage is not None:
            answer["usage"] = chat_usage(usage)
        if body.get("service_tier"):
            answer["service_tier"] = body["service_tier"]
        return answer


class ChatChunks:
    """One stream's state: events of a response as chunks."""

    def __init__(self, model: str, *, functions: bool, include_usage: bool) -> None:
        self._model = model
        self._functions = functions
        self._include_usage = include_usage
        self._head = b""
        self._tail = b',"usage":null}\n\n' if include_usage else b"}\n\n"
        # By its place in the output, a call's index and its type.
        self._calls: dict[Any, tuple[int, str]] = {}
        # Calls whose arguments have not come in pieces.
        self._silent: set[Any] = set()
        self._last: JsonObject | None = None
        # Characters of text so far, and before each part by its place: a part counts from its own beginning.
        self._chars = 0
        self._before: dict[tuple[Any, Any], int] = {}
        # The item and part of the last piece of reasoning.
        self._thought_at: tuple[Any, Any] | None = None

    def event(self, event: JsonObject) -> bytes:
        """The chunks for one event, b"" for none."""
        kind = event["type"]
        if kind == "response.output_text.delta":
            return self._text(event)
        if kind in ("response.function_call_arguments.delta", "response.custom_tool_call_input.delta"):
            return self._arguments(event["output_index"], event["delta"])
        if kind in _THOUGHTS:
            return self._thought(event)
        if kind == "response.refusal.delta":
            return self._delta(b'"refusal":' + _written(event["delta"]))
        if kind == "response.output_item.added":
            return self._added(event["output_index"], event["item"])
        if kind == "response.output_item.done":
            return self._done(event["output_index"], event["item"])
        if kind == "response.output_text.annotation.added":
            made = _annotation(event["annotation"], self._begins(event))
            return self._delta(b'"annotations":[' + escape(orjson.dumps(made)) + b"]") if made else b""
        if kind == "response.created":
            return self._begin(event["response"])
        if kind in ("response.completed", "response.incomplete"):
            self._last = event["response"]
        return b""

    def finish(self) -> bytes:
        """The finish reason, the usage chunk if asked for and known, and the end."""
        if self._last is None:
            raise truncated_answer()
        reason = _finish(self._last, functions=self._functions, called=bool(self._calls))
        out = b"" if self._head else self._begin(self._last)
        if self._last.get("service_tier"):
            # Known for certain only now.
            tier = b'"service_tier":%b,"choices"' % _written(self._last["service_tier"])
            self._head = tier.join(self._head.rsplit(b'"choices"', 1))
        out += self._head + b'},"logprobs":null,"finish_reason":"%b"}]' % reason.encode() + self._tail
        usage = read_usage(self._last.get("usage"))
        if self._include_usage and usage is not None:
            # The head ends within the list of choices; here it is empty.
            head = self._head[: self._head.rindex(b"[") + 1]
            out += head + b'],"usage":' + orjson.dumps(chat_usage(usage)) + b"}\n\n"
        return out + b"data: [DONE]\n\n"

    def _begin(self, response: JsonObject) -> bytes:
        model = response.get("model")
        start: JsonObject = {
            "id": new_id("chatcmpl-"),
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": model if model and type(model) is str else self._model,
            "system_fingerprint": None,
            "choices": [],
        }
        self._head = b"data: " + escape(orjson.dumps(start))[:-2] + b'{"index":0,"delta":{'
        return self._delta(b'"role":"assistant","content":""')

    def _delta(self, fields: bytes, logprobs: bytes = b"null") -> bytes:
        if not self._head:
            # A provider that leaves out response.created.
            return self._begin({}) + self._delta(fields, logprobs)
        return self._head + fields + b'},"logprobs":' + logprobs + b',"finish_reason":null}]' + self._tail

    def _thought(self, event: JsonObject) -> bytes:
        text = event["delta"]
        place = event.get("output_index"), event.get("summary_index")
        if self._thought_at not in (None, place):
            # Reasoning has items and a summary has parts, which stand apart as they do in a whole answer.
            text = "\n\n" + text
        self._thought_at = place
        written = _written(text)
        return self._delta(b'"reasoning_content":' + written + b',"reasoning":' + written)

    def _begins(self, event: JsonObject) -> int:
        """Where the event's part begins in the message, which has one text of all parts."""
        return self._before.setdefault((event.get("output_index"), event.get("content_index")), self._chars)

    def _text(self, event: JsonObject) -> bytes:
        written = b'"content":' + _written(event["delta"])
        self._begins(event)
        self._chars += len(event["delta"])
        logprobs = event.get("logprobs")
        if not logprobs:
            return self._delta(written)
        return self._delta(written, escape(orjson.dumps({"content": logprobs, "refusal": None})))

    def _added(self, place: Any, item: JsonObject) -> bytes:
        if item["type"] not in _CALLS:
            return b""
        index = len(self._calls)
        self._calls[place] = index, item["type"]
        self._silent.add(place)
        made = _call(item, "")
        if self._functions:
            function = escape(orjson.dumps(made["function"]))
            return self._delta(b'"function_call":' + function) if not index else b""
        return self._delta(b'"tool_calls":[' + escape(orjson.dumps({"index": index, **made})) + b"]")

    def _arguments(self, place: Any, text: Any) -> bytes:
        index, kind = self._calls[place]
        self._silent.discard(place)
        written = _written(text)
        if self._functions:
            return self._delta(b'"function_call":{"arguments":%b}' % written) if not index else b""
        form = b'"custom":{"input":%b}' if kind == "custom_tool_call" else b'"function":{"arguments":%b}'
        return self._delta(b'"tool_calls":[{"index":%d,%b}]' % (index, form % written))

    def _done(self, place: Any, item: JsonObject) -> bytes:
        if item["type"] == "reasoning" and item.get("encrypted_content"):
            return self._delta(b'"thinking_blocks":[' + escape(orjson.dumps(_block(item))) + b"]")
        if place in self._silent:
            return self._arguments(place, _arguments(item))
        return b""


def _content(items: Iterable[JsonObject], kind: str) -> list[JsonObject]:
    """The parts of this type in all messages of an output."""
    return [p for item in items if item["type"] == "message" for p in item["content"] if p["type"] == kind]


def _arguments(item: JsonObject) -> Any:
    """What a call is made with: free text of a custom tool, else JSON, which nothing is not."""
    return item["input"] if item["type"] == "custom_tool_call" else item["arguments"] or "{}"


def _call(item: JsonObject, arguments: Any) -> JsonObject:
    # Only a client that sent a custom tool gets a call of one.
    if item["type"] == "custom_tool_call":
        return {"id": item["call_id"], "type": "custom", "custom": {"name": item["name"], "input": arguments}}
    function = {"name": item["name"], "arguments": arguments}
    return {"id": item["call_id"], "type": "function", "function": function}


def _written(text: Any) -> bytes:
    if type(text) is not str:
        raise TypeError(text)
    return escape(orjson.dumps(text))


def _thought(item: JsonObject) -> str:
    return "\n\n".join(part["text"] for part in item.get("summary") or item.get("content") or ())


def _block(item: JsonObject) -> JsonObject:
    """Reasoning as a signed block that the client can send back: the seal holds what the provider wants."""
    kept: JsonObject = {
        name: item[name] for name in ("type", "id", "summary", "encrypted_content") if name in item
    }
    return {"type": "thinking", "thinking": _thought(item), "signature": sealed(kept)}


def _annotations(parts: Iterable[JsonObject]) -> list[JsonObject]:
    """What the parts of text cite, counted in their joined text."""
    found = []
    begins = 0
    for part in parts:
        found += [_annotation(given, begins) for given in part.get("annotations") or ()]
        begins += len(part["text"])
    return [annotation for annotation in found if annotation]


def _annotation(given: JsonObject, begins: int) -> JsonObject | None:
    """A citation of a part whose text begins there in the message's."""
    if given.get("type") != "url_citation":
        return None
    cited = {name: given.get(name) for name in ("url", "title")}
    return {"type": "url_citation", "url_citation": {**cited, **shifted(given, begins)}}


def _finish(response: JsonObject, *, functions: bool, called: bool) -> str:
    if response.get("status") == "incomplete":
        details = response.get("incomplete_details")
        reason = details.get("reason") if type(details) is dict else None
        return _FINISH_OF_REASON.get(reason or "", "length")
    if response.get("status") != "completed":
        raise truncated_answer()
    if called:
        return "function_call" if functions else "tool_calls"
    return "stop"
