"""Anthropic's messages answered by Ollama's native chat, with thinking, tools and pictures in results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from dialects import parts_ollama as ollama
from dialects.capabilities import resolve
from dialects.errors import bad_request
from dialects.messages import refuse_thread
from dialects.ollama_chat import ollama_usage
from dialects.parts import (
    EFFORTS,
    STOP_OF_FINISH,
    CallIds,
    Losses,
    answered_input,
    as_text,
    claude_id,
    effort_for,
    in_words,
    invalid_answer,
    messages_usage,
    new_id,
    note_knobs,
    titled,
    tool_arguments,
)
from dialects.sse import escape, frame_json
from dialects.types import Event, JsonObject, ModelFacts, Usage

_FLOATS = {"temperature": "temperature", "top_p": "top_p"}
_INTS = {"top_k": "top_k", "max_tokens": "num_predict"}
_KNOWN = frozenset(
    {
        "model", "messages", "system", "stream", "stop_sequences", "tools", "tool_choice", "thinking",
        "output_config", "output_format", "options", "num_ctx", *_FLOATS, *_INTS, *ollama.EXTENSIONS,
    }
)  # fmt: skip
_NEUTRAL: Mapping[str, Any] = {"metadata": {}, "mcp_servers": []}
# Coding agents put a line here that changes with every request; before any other provider it only keeps the
# prompt from being cached.
_BILLING = "x-anthropic-billing-header:"
# What a turn may hold that this model can read, or that has to be refused.
_CONTENT = frozenset(
    {"text", "image", "document", "search_result", "tool_reference", "browser_state", "container_upload"}
)
_NO_MESSAGE: JsonObject = {}
_NO_USAGE = Usage()


class MessagesViaOllama:
    """One attempt. Thinking comes back in blocks with an empty signature, because nobody has signed it."""

    def __init__(self) -> None:
        self._losses = Losses()
        self.dropped: list[str] = self._losses
        self._ids = CallIds("toolu_", claude_id)
        self._model = ""
        self._events: _Events | None = None

    def request(self, body: JsonObject, model: ModelFacts) -> JsonObject:
        refuse_thread(body)
        self._model = model.name
        out: JsonObject = {
            "model": model.name,
            "messages": self._messages(body),
            # Ollama streams unless it is told not to.
            "stream": body.get("stream") is True,
        }
        tools = self._tools(body, out["messages"])
        if tools:
            out["tools"] = tools
        out.update(self._output(body, model))
        out.update(ollama.extensions(body))
        options = ollama.Options()
        options.floats(body, _FLOATS)
        options.ints(body, _INTS)
        options.stop(body, "stop_sequences")
        options.extend(body, self._losses)
        if options.get("num_predict") == 0:
            # The client only wants the prompt warm. 0 would mean no cap here; without messages Ollama
            # loads the model and says nothing.
            del options["num_predict"]
            out["messages"] = []
        if options:
            out["options"] = options
        self._losses.note_unknown(body, _KNOWN, _NEUTRAL)
        return out

    def response(self, body: JsonObject) -> JsonObject:
        try:
            return self._message(body)
        except (AttributeError, KeyError, TypeError):
            raise invalid_answer() from None

    def event(self, event: Event) -> bytes:
        if not event.data:
            return b""
        try:
            return self._stream(event.json()).line(event.json())
        except (AttributeError, KeyError, TypeError):
            raise invalid_answer() from None

    def finish(self) -> bytes:
        return self._stream({}).finish()

    def _stream(self, line: JsonObject) -> _Events:
        if self._events is None:
            self._events = _Events(line.get("model") or self._model, self._ids)
        return self._events

    def _message(self, body: JsonObject) -> JsonObject:
        message = body["message"]
        content: list[JsonObject] = []
        if message.get("thinking"):
            content.append({"type": "thinking", "thinking": message["thinking"], "signature": ""})
        if message.get("content"):
            content.append({"type": "text", "text": message["content"]})
        calls = [self._tool_use(call) for call in message.get("tool_calls") or ()]
        return {
            "id": new_id("msg_"),
            "type": "message",
            "role": "assistant",
            "model": body.get("model") or self._model,
            "content": content + calls,
            "stop_reason": _stop_reason(body, called=bool(calls)),
            "stop_sequence": None,
            "usage": messages_usage(ollama_usage(body) or _NO_USAGE),
        }

    def _tool_use(self, call: JsonObject) -> JsonObject:
        given = call["function"].get("arguments")
        return {**_begun_call(call, self._ids), "input": answered_input(given, self._losses)}

    # --- The request's parts

    def _messages(self, body: JsonObject) -> list[JsonObject]:
        given = body.get("messages")
        if type(given) is not list:
            raise bad_request("messages: Input should be a valid list", "messages")
        system = self._system(body.get("system"))
        return system + _Conversation(self._losses).read(given)

    def _system(self, system: Any) -> list[JsonObject]:
        blocks = [{"type": "text", "text": system}] if type(system) is str else system or []
        texts = []
        for index, block in enumerate(blocks):
            text = as_text(block.get("text") if type(block) is dict else block, f"system.{index}.text")
            if type(block) is dict and block.get("cache_control"):
                self._losses.note("cache_control")
            if text and not text.startswith(_BILLING):
                texts.append(text)
        return [{"role": "system", "content": "\n\n".join(texts)}] if texts else []

    def _tools(self, body: JsonObject, messages: list[JsonObject]) -> list[JsonObject]:
        given = body.get("tools") or []
        tools = []
        for index, entry in enumerate(given):
            made = self._tool(entry, f"tools.{index}")
            if made is not None:
                tools.append(made)
        if given and not tools:
            raise bad_request("tools: This model's provider runs no tools of its own.", "tools")
        return self._choose(body.get("tool_choice"), tools, messages) if tools else []

    def _tool(self, entry: Any, where: str) -> JsonObject | None:
        if type(entry) is not dict:
            raise bad_request(f"{where}: Input should be a valid dictionary", where)
        kind = entry.get("type")
        if kind is not None and kind != "custom":
            # A tool that only Anthropic's servers can run.
            self._losses.note(f"tools.{kind}" if type(kind) is str else "tools.type")
            return None
        name = entry.get("name")
        if type(name) is not str or not name:
            raise bad_request(f"{where}.name: Field required", f"{where}.name")
        for field in entry:
            if field not in ("type", "name", "description", "input_schema") and entry[field]:
                self._losses.note("cache_control" if field == "cache_control" else f"tools.{field}")
        return ollama.tool(name, entry.get("description"), entry.get("input_schema"), self._losses)

    def _choose(self, choice: Any, tools: list[JsonObject], messages: list[JsonObject]) -> list[JsonObject]:
        """The tools that the choice leaves. Ollama has no choice of its own: `none` means no tools, and a
        forced call is asked for in words."""
        if choice is None:
            return tools
        kind = choice.get("type") if type(choice) is dict else None
        if kind == "none":
            return []
        if _forbids_parallel(choice):
            self._losses.note("tool_choice.disable_parallel_tool_use")
        if kind == "auto":
            return tools
        if kind == "any":
            self._losses.note("tool_choice")
            ollama.must_call(messages, None)
            return tools
        if kind != "tool" or type(choice.get("name")) is not str:
            raise bad_request("tool_choice: Input should be auto, any, tool or none", "tool_choice")
        left = ollama.chosen(tools, choice["name"], "tool_choice")
        self._losses.note("tool_choice")
        ollama.must_call(messages, choice["name"])
        return left

    def _output(self, body: JsonObject, model: ModelFacts) -> JsonObject:
        """`format` and `think`."""
        config = body.get("output_config") or {}
        if type(config) is not dict:
            raise bad_request("output_config: Input should be a valid dictionary", "output_config")
        out: JsonObject = {}
        wanted = config.get("format") or body.get("output_format")
        if wanted is not None:
            schema = wanted.get("schema") if type(wanted) is dict else None
            if type(schema) is not dict:
                raise bad_request("output_config.format: a JSON schema is required", "output_config.format")
            out["format"] = schema
        effort, asked = _effort(body.get("thinking"), config.get("effort"))
        if effort is None:
            return out
        if "reasoning" in resolve(model):
            # A model that can think does so unless it is told not to, so `false` is sent as well.
            # Ollama's own route for this dialect takes `xhigh` for high.
            out["think"] = ollama.think("high" if effort == "xhigh" else effort, model.name)
        elif effort != "none":
            # Ollama refuses `think` for a model that cannot, and coding agents always ask for it.
            self._losses.note(asked)
        return out


class _Conversation:
    """A client's turns as Ollama's messages. Results of tools stand before the rest of their turn."""

    def __init__(self, losses: Losses) -> None:
        self._losses = losses
        # Older templates know a result only by its tool's name.
        self._names: dict[str, str] = {}

    def read(self, turns: list[Any]) -> list[JsonObject]:
        out: list[JsonObject] = []
        for index, turn in enumerate(turns):
            where = f"messages.{index}"
            role = turn.get("role") if type(turn) is dict else None
            content = turn.get("content") if type(turn) is dict else None
            blocks = [{"type": "text", "text": content}] if type(content) is str else content
            if role not in ("user", "assistant", "system") or type(blocks) is not list:
                raise bad_request(f"{where}: Input should be a valid turn", where)
            if role == "assistant":
                out.append(self._assistant(blocks, where))
            else:
                out += self._said(role, blocks, where)
        return out

    def _said(self, role: str, blocks: list[Any], where: str) -> list[JsonObject]:
        results: list[JsonObject] = []
        rest: list[Any] = []
        for index, block in enumerate(blocks):
            at = f"{where}.content.{index}"
            if type(block) is dict and block.get("type") == "tool_result":
                results.append(self._result(block, at))
            else:
                rest.append((block, at))
        if rest or not results:
            results.append({"role": role, **self._content(rest)})
        return results

    def _assistant(self, blocks: list[Any], where: str) -> JsonObject:
        rest: list[Any] = []
        thoughts: list[str] = []
        calls: list[JsonObject] = []
        for index, block in enumerate(blocks):
            at = f"{where}.content.{index}"
            kind = block.get("type") if type(block) is dict else None
            if kind == "thinking":
                # Its signature says nothing to another model.
                thoughts.append(as_text(block.get("thinking"), f"{at}.thinking"))
            elif kind == "tool_use":
                calls.append(self._call(block, at))
            elif kind is None or kind in _CONTENT:
                rest.append((block, at))
            else:
                # What a server of Anthropic did, thinking that is sealed: nothing that this model could read.
                self._losses.note(f"messages.content.{kind}" if type(kind) is str else "messages.content")
        out: JsonObject = {"role": "assistant", **self._content(rest)}
        if any(thoughts):
            out["thinking"] = "\n".join(thoughts)
        if calls:
            out["tool_calls"] = calls
        return out

    def _call(self, block: JsonObject, where: str) -> JsonObject:
        name = as_text(block.get("name"), f"{where}.name")
        call_id = as_text(block.get("id"), f"{where}.id")
        self._names[call_id] = name
        return ollama.call(name, block.get("input"), call_id)

    def _result(self, block: JsonObject, where: str) -> JsonObject:
        call_id = as_text(block.get("tool_use_id"), f"{where}.tool_use_id")
        content = block.get("content")
        if content is None:
            content = []
        blocks = [{"type": "text", "text": content}] if type(content) is str else content
        if type(blocks) is not list:
            raise bad_request(f"{where}.content: Input should be a valid list", f"{where}.content")
        said = self._content([(b, f"{where}.content.{i}") for i, b in enumerate(blocks)])
        if block.get("cache_control"):
            self._losses.note("cache_control")
        note_knobs(block, self._losses)
        if block.get("is_error") is True:
            said["content"] = "Error: " + said["content"]
        out: JsonObject = {"role": "tool", **said, "tool_call_id": call_id}
        if call_id in self._names:
            out["tool_name"] = self._names[call_id]
        return out

    def _content(self, blocks: list[tuple[Any, str]]) -> JsonObject:
        texts: list[str] = []
        images: list[str] = []
        for block, where in blocks:
            if type(block) is not dict:
                raise bad_request(f"{where}: Input should be a valid dictionary", where)
            if block.get("cache_control"):
                self._losses.note("cache_control")
            note_knobs(block, self._losses)
            if block.get("type") == "image":
                images.append(_image(block.get("source"), f"{where}.source"))
            else:
                self._text(block, where, texts, images)
        joined: JsonObject = {"content": "\n".join(texts)}
        return {**joined, "images": images} if images else joined

    def _text(self, block: JsonObject, where: str, texts: list[str], images: list[str]) -> None:
        kind = block.get("type")
        if kind == "text":
            texts.append(as_text(block.get("text"), f"{where}.text"))
        elif kind == "document":
            self._document(block, where, texts, images)
        elif kind == "search_result":
            inner = self._inner(block.get("content"), f"{where}.content")
            head = [part for part in (block.get("title"), block.get("source")) if type(part) is str and part]
            texts.append(titled("\n".join(head), inner["content"]))
        elif kind == "container_upload":
            raise bad_request(f"{where}: files kept at another provider cannot be read", where)
        else:
            texts.append(in_words(block, where))

    def _document(self, block: JsonObject, where: str, texts: list[str], images: list[str]) -> None:
        source = block.get("source")
        kind = source.get("type") if type(source) is dict else None
        if type(source) is not dict or kind not in ("text", "content"):
            raise bad_request(
                f"{where}.source: This model's provider reads text documents only, not PDF or other files.",
                f"{where}.source",
            )
        if kind == "text":
            text = as_text(source.get("data"), f"{where}.source.data")
        else:
            inner = self._inner(source.get("content"), f"{where}.source.content")
            text = inner["content"]
            images += inner.get("images", ())
        context = block.get("context")
        if type(context) is str and context:
            text = f"{context}\n\n{text}"
        texts.append(titled(block.get("title"), text))

    def _inner(self, content: Any, where: str) -> JsonObject:
        """The content of a document or search result: text, or blocks of text and pictures."""
        if type(content) is str:
            return {"content": content}
        if type(content) is not list or any(
            type(b) is not dict or b.get("type") not in ("text", "image") for b in content
        ):
            raise bad_request(f"{where}: Input should be text or a list of text and images", where)
        return self._content([(b, f"{where}.{i}") for i, b in enumerate(content)])


class _Events:
    """One stream's state: at most one block is open, and each has the next index."""

    def __init__(self, model: str, ids: CallIds) -> None:
        self._model = model
        self._ids = ids
        self._begun = False
        self._index = -1
        self._open = ""
        self._head = b""
        self._called = False
        self._last: JsonObject = {}

    def line(self, line: JsonObject) -> bytes:
        """The events for one line of the provider."""
        out = b"" if self._begun else self._begin()
        message = line.get("message") or _NO_MESSAGE
        text = message.get("thinking")
        if text:
            out += self._say("thinking", text)
        text = message.get("content")
        if text:
            out += self._say("text", text)
        for call in message.get("tool_calls") or ():
            out += self._use(call)
        if line.get("done") is True:
            self._last = line
        return out

    def finish(self) -> bytes:
        """Close the open block and the message. Here the real counts are known."""
        delta = {
            "type": "message_delta",
            "delta": {"stop_reason": _stop_reason(self._last, called=self._called), "stop_sequence": None},
            "usage": messages_usage(ollama_usage(self._last) or _NO_USAGE),
        }
        return (
            self._close()
            + frame_json(delta, "message_delta")
            + frame_json({"type": "message_stop"}, "message_stop")
        )

    def _begin(self) -> bytes:
        self._begun = True
        message: JsonObject = {
            "id": new_id("msg_"),
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            # Ollama counts at the end; message_delta has the counts.
            "usage": messages_usage(_NO_USAGE),
        }
        return frame_json({"type": "message_start", "message": message}, "message_start")

    def _say(self, kind: str, text: str) -> bytes:
        out = b"" if self._open == kind else self._start(kind)
        return out + self._head + escape(orjson.dumps(text)) + b"}}\n\n"

    def _start(self, kind: str) -> bytes:
        if kind == "text":
            return self._open_block(kind, {"type": "text", "text": ""}, b'"text_delta","text":')
        block = {"type": "thinking", "thinking": "", "signature": ""}
        return self._open_block(kind, block, b'"thinking_delta","thinking":')

    def _use(self, call: JsonObject) -> bytes:
        """A whole call: its input goes in one delta, never in the start, where clients do not look."""
        self._called = True
        written = tool_arguments(call["function"].get("arguments"))
        block = _begun_call(call, self._ids)
        out = self._open_block("tool_use", block, b'"input_json_delta","partial_json":')
        return out + self._head + escape(orjson.dumps(written)) + b"}}\n\n" + self._close()

    def _open_block(self, kind: str, block: JsonObject, delta: bytes) -> bytes:
        out = self._close()
        self._open = kind
        self._index += 1
        self._head = (
            b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":{"type":%b'
            % (self._index, delta)
        )
        start = {"type": "content_block_start", "index": self._index, "content_block": block}
        return out + frame_json(start, "content_block_start")

    def _close(self) -> bytes:
        if not self._open:
            return b""
        out = b""
        if self._open == "thinking":
            # Clients put the signature together from this event and expect one.
            out = self._head[: self._head.index(b'"thinking_delta"')]
            out += b'"signature_delta","signature":""}}\n\n'
        self._open = ""
        stop = {"type": "content_block_stop", "index": self._index}
        return out + frame_json(stop, "content_block_stop")


def _forbids_parallel(choice: Any) -> bool:
    return type(choice) is dict and choice.get("disable_parallel_tool_use") is True


def _begun_call(call: JsonObject, ids: CallIds) -> JsonObject:
    return {"type": "tool_use", "id": ids.of(call), "name": call["function"]["name"], "input": {}}


def _stop_reason(line: JsonObject, *, called: bool) -> str:
    if line.get("done_reason") == "load":
        # So it answers where there is nothing to say: the cap of 0 is reached.
        return "max_tokens"
    return STOP_OF_FINISH[ollama.finish_reason(line, called=called)]


def _effort(thinking: Any, effort: Any) -> tuple[str | None, str]:
    """How hard to think and the field that asked; None where none did."""
    named = effort if effort in EFFORTS else None
    kind = thinking.get("type") if type(thinking) is dict else None
    if kind == "disabled":
        return "none", "thinking"
    if kind == "enabled":
        tokens = thinking.get("budget_tokens")
        return named or (effort_for(tokens) if type(tokens) is int else "medium"), "thinking"
    if kind is not None:
        # Adaptive, and whatever comes after it.
        return named or "medium", "thinking"
    return named, "output_config.effort"


def _image(source: Any, where: str) -> str:
    kind = source.get("type") if type(source) is dict else None
    if kind == "base64":
        return ollama.picture(source.get("data"), f"{where}.data")
    raise ollama.refuse_address(where, "images")
