"""The dialect of Anthropic's messages: what the gateway reads of its requests, answers and streams."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dialects import sse, upstream_errors
from dialects.chat import not_a_chunk
from dialects.errors import BAD_REQUEST, Detail, Family, GatewayError, bad_request, envelope
from dialects.fields import DOCUMENT_CHARS, IMAGE_CHARS, count, detail, length, part, strings
from dialects.types import Event, Facts, Framer, Framing, JsonObject, StreamTap, Usage

# `system` within the conversation is for newer models only; the provider knows which.
_ROLES = ("user", "assistant", "system")

# What a content block needs of a target, and its part in the estimate of the prompt.
_BLOCKS: Mapping[str, tuple[str, int]] = {
    "image": ("vision", IMAGE_CHARS),
    "document": ("documents", DOCUMENT_CHARS),
}


# A sign of life, as the API sends it; never before `message_start`.
PING = sse.frame_json({"type": "ping"}, "ping")


class MessagesDialect:
    """Anthropic's messages. Unknown fields pass; the known ones have the types that the API documents."""

    name = "messages"
    family: Family = "anthropic"
    framing: Framing = "sse"

    def facts(self, body: JsonObject) -> Facts:
        return self._facts(body, cap=read_max_tokens(body))

    def count_facts(self, body: JsonObject) -> Facts:
        """Facts of a request to count tokens: the same body without a cap."""
        return self._facts(body, cap=None)

    def _facts(self, body: JsonObject, cap: int | None) -> Facts:
        model = body.get("model")
        if type(model) is not str or not model:
            raise _field("model", "Field required" if model is None else "Input should be a valid string")
        messages = _list(body, "messages")
        if messages is None:
            raise _field("messages", "Field required")
        if not messages and not body.get("thread"):
            raise _field("messages", "at least one message is required")
        needs: set[str] = set()
        chars = _content(body.get("system"), "system", needs) if body.get("system") is not None else 0
        chars += sum(_message(m, f"messages.{i}", needs) for i, m in enumerate(messages))
        chars += _tools(body, needs)
        _format(body, needs)
        return Facts(
            model=model,
            stream=_flag(body, "stream"),
            max_tokens=cap,
            # A stream of this dialect always carries its usage.
            include_usage=True,
            prompt_chars=chars,
            end_user=_user(body),
            needs=frozenset(needs),
            one_prompt=True,
        )

    def usage(self, body: JsonObject) -> Usage | None:
        return anthropic_usage(body.get("usage"))

    def is_answer(self, body: JsonObject) -> bool:
        content = body.get("content")
        return (
            body.get("type") == "message"
            and type(content) is list
            and all(type(block) is dict for block in content)
        )

    def framer(self) -> Framer:
        return sse.SseFramer()

    def tap(self, *, strip_usage: bool) -> StreamTap:  # noqa: ARG002 - usage is part of every such stream
        return MessagesTap()

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> GatewayError:
        return upstream_errors.from_reply(status, headers, body)

    def error_event(self, error: GatewayError, request_id: str) -> bytes:
        return sse.frame_json(envelope("anthropic", error, request_id), "error")


def refuse_thread(body: JsonObject) -> None:
    """Refuse a conversation that its provider keeps: no other has what came before. Anthropic's SDKs read the
    code and send all of it instead, as they do on platforms without threads. GatewayError: there is one."""
    if body.get("thread"):
        raise GatewayError(
            BAD_REQUEST,
            "thread: neither this model's provider nor the gateway keeps conversations: "
            "send all of it in 'messages'",
            Detail(param="thread", error_code="thread_unsupported_request"),
        )


class MessagesTap:
    """Notes of an event stream. The stream is over at `message_stop`."""

    __slots__ = ("_counts", "content", "finished", "output_chars", "usage")

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.content = False
        self.finished = False
        self.output_chars = 0
        # The usage object as known so far: counts are cumulative, a later one replaces an earlier.
        self._counts: dict[str, Any] = {}

    def see(self, event: Event) -> None:
        if not event.data:
            return
        body = event.json()
        try:
            self._event(body)
        except (AttributeError, TypeError, KeyError):
            raise not_a_chunk() from None

    def keep(self, event: Event) -> bool:  # noqa: ARG002 - the protocol's signature; nothing is stripped
        return True

    def _event(self, body: Any) -> None:
        kind = body["type"]
        if kind == "content_block_delta":
            self._delta(body["delta"])
        elif kind == "content_block_start":
            self._start(body["content_block"])
        elif kind == "message_start":
            self._count(body["message"].get("usage"))
        elif kind == "message_delta":
            self._count(body.get("usage"))
        elif kind == "message_stop":
            self.finished = True
        elif kind == "error":
            raise upstream_errors.from_event(body.get("error"))

    def _delta(self, delta: dict[str, Any]) -> None:
        text = (
            delta.get("text")
            or delta.get("partial_json")
            or delta.get("thinking")
            # A signature and a citation are content too: after them no other attempt may be made.
            or delta.get("signature")
            or delta.get("citation")
        )
        if text:
            self.content = True
            if "signature" not in delta:
                self.output_chars += len(text)

    def _start(self, block: dict[str, Any]) -> None:
        kind = block["type"]
        if kind == "text" or kind == "thinking":
            text = block.get("text") or block.get("thinking")
            if text:
                self.content = True
                self.output_chars += len(text)
        else:
            self.content = True
            self.output_chars += length(block.get("name"))

    def _count(self, usage: Any) -> None:
        if type(usage) is dict:
            self._counts.update((name, value) for name, value in usage.items() if value is not None)
            self.usage = anthropic_usage(self._counts) or self.usage


def anthropic_usage(usage: Any) -> Usage | None:
    """Usage in Anthropic's form, where `input_tokens` leaves out what the cache gave and took. None unless
    input and output are counted."""
    if type(usage) is not dict:
        return None
    fresh = count(usage.get("input_tokens"))
    output = count(usage.get("output_tokens"))
    if fresh is None or output is None:
        return None
    cache_read = count(usage.get("cache_read_input_tokens")) or 0
    cache_write = count(usage.get("cache_creation_input_tokens")) or 0
    return Usage(
        input_tokens=fresh + cache_read + cache_write,
        output_tokens=output,
        cache_read=cache_read,
        cache_write=cache_write,
        reasoning=part(detail(usage, "output_tokens_details", "thinking_tokens"), output),
    )


def read_max_tokens(body: JsonObject) -> int:
    """The cap, which this dialect requires. 0 is legal: it only warms the prompt cache."""
    cap = body.get("max_tokens")
    if cap is None:
        raise _field("max_tokens", "Field required")
    if type(cap) is not int:
        raise _field("max_tokens", "Input should be a valid integer")
    if cap < 0:
        raise _field("max_tokens", "Input should be greater than or equal to 0")
    return cap


def _field(where: str, problem: str) -> GatewayError:
    """A 400 in Anthropic's words. The value itself is never shown."""
    return bad_request(f"{where}: {problem}", where)


def _list(body: JsonObject, name: str) -> list[Any] | None:
    value = body.get(name)
    if value is not None and type(value) is not list:
        raise _field(name, "Input should be a valid list")
    return value


def _flag(body: JsonObject, name: str) -> bool:
    value = body.get(name)
    if value is not None and type(value) is not bool:
        raise _field(name, "Input should be a valid boolean")
    return bool(value)


def _user(body: JsonObject) -> str | None:
    metadata = body.get("metadata")
    if metadata is None:
        return None
    if type(metadata) is not dict:
        raise _field("metadata", "Input should be a valid dictionary")
    user = metadata.get("user_id")
    if user is not None and type(user) is not str:
        raise _field("metadata.user_id", "Input should be a valid string")
    return user


def _message(message: Any, where: str, needs: set[str]) -> int:
    """Check one message; its characters."""
    if type(message) is not dict:
        raise _field(where, "Input should be a valid dictionary")
    role = message.get("role")
    if role is None:
        raise _field(f"{where}.role", "Field required")
    if role not in _ROLES:
        raise _field(f"{where}.role", "Input should be 'user' or 'assistant'")
    if message.get("content") is None:
        raise _field(f"{where}.content", "Field required")
    return _content(message["content"], f"{where}.content", needs)


def _content(content: Any, where: str, needs: set[str]) -> int:
    """Check a string or list of blocks; its characters."""
    if type(content) is str:
        return len(content)
    if type(content) is not list:
        raise _field(where, "Input should be a valid string or list")
    chars = 0
    for index, block in enumerate(content):
        if type(block) is not dict:
            raise _field(f"{where}.{index}", "Input should be a valid dictionary")
        kind = block.get("type")
        if type(kind) is not str:
            raise _field(f"{where}.{index}.type", "Field required")
        chars += _block(block, kind, f"{where}.{index}", needs)
    return chars


def _block(block: JsonObject, kind: str, where: str, needs: set[str]) -> int:
    if kind == "text":
        text = block.get("text")
        if type(text) is not str:
            raise _field(
                f"{where}.text", "Field required" if text is None else "Input should be a valid string"
            )
        return len(text)
    if kind in _BLOCKS:
        need, chars = _BLOCKS[kind]
        needs.add(need)
        return chars
    if kind == "tool_result":
        inner = block.get("content")
        # Results do not nest, so this goes one level deeper at most.
        return _content(inner, f"{where}.content", needs) if _is_flat(inner) else strings(inner)
    return strings(block)


def _is_flat(content: Any) -> bool:
    if type(content) is list:
        return not any(type(b) is dict and b.get("type") == "tool_result" for b in content)
    return content is not None


def _tools(body: JsonObject, needs: set[str]) -> int:
    tools = _list(body, "tools")
    if not tools:
        return 0
    for index, tool in enumerate(tools):
        if type(tool) is not dict:
            raise _field(f"tools.{index}", "Input should be a valid dictionary")
    needs.add("tools")
    return strings(tools)


def _format(body: JsonObject, needs: set[str]) -> None:
    config = body.get("output_config")
    if config is not None and type(config) is not dict:
        raise _field("output_config", "Input should be a valid dictionary")
    if (config or {}).get("format") or body.get("output_format"):
        needs.add("json_schema")


MESSAGES = MessagesDialect()
