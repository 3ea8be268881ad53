"""Chat completions to Anthropic's messages: the conversation, from OpenAI's messages to turns and system."""

from __future__ import annotations

import base64
from typing import Any

from dialects.errors import GatewayError, bad_request
from dialects.parts import (
    IMAGE_TYPES,
    Losses,
    ToolNames,
    as_text,
    claude_id,
    data_url,
    image_type,
    is_text,
    is_web_url,
    tool_input,
)
from dialects.types import JsonObject

Blocks = list[JsonObject]

# Anthropic refuses empty turns and empty text; this says nothing and is accepted.
_NOTHING = "."
_NOTE = "System note: "


def cache_mark(holder: JsonObject) -> JsonObject | None:
    """The cache mark of a part, message or tool in either family's form, as Anthropic's."""
    mark = holder.get("cache_control")
    if type(mark) is dict and mark.get("type") == "ephemeral":
        return (
            {"type": "ephemeral", "ttl": mark["ttl"]}
            if mark.get("ttl") in ("5m", "1h")
            else {"type": "ephemeral"}
        )
    return {"type": "ephemeral"} if type(holder.get("prompt_cache_breakpoint")) is dict else None


class Turns:
    """The turns of one request as they grow. `system` holds the leading instructions."""

    def __init__(self, caps: frozenset[str], names: ToolNames, losses: Losses) -> None:
        self.system: Blocks = []
        self.turns: list[JsonObject] = []
        self._caps = caps
        self._names = names
        self._losses = losses
        # Results still owed, by the call's own id. Each has its place in the turn after the call already,
        # so results come first in that turn and whatever else the client says there comes behind them.
        self._owed: dict[str, JsonObject] = {}
        self._function_calls = 0
        self._legacy_id = ""

    def add_all(self, messages: list[JsonObject]) -> None:
        for index, message in enumerate(messages):
            where = f"messages[{index}]"
            role = message["role"]
            # A result's name is that of the call, which says it.
            if message.get("name") is not None and role not in ("function", "tool"):
                self._losses.note("messages.name")
            if role in ("system", "developer"):
                self._add_instruction(messages, index, where)
            elif role == "user":
                self._add_user(self._user_blocks(message, where))
            elif role == "assistant":
                self._add_assistant(message, where)
            else:
                self._add_result(message, where)
        self._close()

    # --- Instructions ---

    def _add_instruction(self, messages: list[JsonObject], index: int, where: str) -> None:
        message = messages[index]
        blocks = self._texts(message.get("content"), f"{where}.content")
        _mark_last(blocks, message)
        if not blocks:
            return
        if not self.turns:
            self.system += blocks
            return
        # Never moved up into `system`: that would change the cached beginning on every turn.
        after = messages[index + 1]["role"] if index + 1 < len(messages) else "assistant"
        legal = self.turns[-1]["role"] == "user" and after == "assistant"
        if "system_in_messages" in self._caps and legal:
            self.turns.append({"role": "system", "content": blocks})
            return
        blocks[0] = {**blocks[0], "text": _NOTE + blocks[0]["text"]}
        self._add_user(blocks)

    def _texts(self, content: Any, where: str) -> Blocks:
        """A string or text parts as text blocks, blank ones left out."""
        if content is None or type(content) is str:
            return [{"type": "text", "text": content}] if content and content.strip() else []
        blocks: Blocks = []
        for index, part in enumerate(content):
            kind = part.get("type")
            if kind not in ("text", "refusal"):
                raise bad_request(
                    f"'{where}[{index}]' cannot be sent to this model: only text is possible there.",
                    f"{where}[{index}].type",
                    "unsupported_content",
                )
            text = as_text(part.get(kind), f"{where}[{index}].{kind}")
            if text.strip():
                blocks.append(_marked({"type": "text", "text": text}, part))
        return blocks

    # --- User ---

    def _add_user(self, blocks: Blocks) -> None:
        if self.turns and self.turns[-1]["role"] == "user" and self._has_results(self.turns[-1]):
            self.turns[-1]["content"] += blocks
        else:
            self.turns.append({"role": "user", "content": blocks or [{"type": "text", "text": _NOTHING}]})

    def _has_results(self, turn: JsonObject) -> bool:
        return bool(turn["content"]) and turn["content"][0].get("type") == "tool_result"

    def _user_blocks(self, message: JsonObject, where: str) -> Blocks:
        content = message.get("content")
        if type(content) is list:
            blocks = []
            for index, part in enumerate(content):
                block = self._part(part, f"{where}.content[{index}]")
                if block is not None:
                    blocks.append(_marked(block, part))
        else:
            blocks = self._texts(content, f"{where}.content")
        _mark_last(blocks, message)
        return blocks

    def _part(self, part: JsonObject, where: str) -> JsonObject | None:
        kind = part.get("type")
        if kind == "text":
            text = as_text(part.get("text"), f"{where}.text")
            return {"type": "text", "text": text} if text.strip() else None
        if kind == "image_url":
            return self._image(part, where)
        if kind == "file":
            return self._file(part, where)
        if kind == "input_audio":
            raise _unsupported(f"{where}.type", "audio input cannot be sent to this model")
        raise _unsupported(f"{where}.type", "this type of content cannot be sent to this model")

    def _image(self, part: JsonObject, where: str) -> JsonObject:
        holder = part.get("image_url")
        # Some clients send the address itself.
        url = holder.get("url") if type(holder) is dict else holder
        if type(url) is not str:
            raise bad_request(
                f"'{where}.image_url.url' must be a string.", f"{where}.image_url", "invalid_type"
            )
        if type(holder) is dict and holder.get("detail") not in (None, "auto"):
            self._losses.note("messages.content.image_url.detail")
        if is_web_url(url):
            return {"type": "image", "source": {"type": "url", "url": url}}
        media = data_url(url)
        if media is None:
            raise bad_request(
                f"'{where}.image_url.url' must be a web address or a base64 data: URL.",
                f"{where}.image_url.url",
                "invalid_image_url",
            )
        kind = image_type(media)
        if kind not in IMAGE_TYPES:
            raise _unsupported(f"{where}.image_url.url", "images must be JPEG, PNG, GIF or WebP")
        return {"type": "image", "source": {"type": "base64", "media_type": kind, "data": media.data}}

    def _file(self, part: JsonObject, where: str) -> JsonObject:
        file = part.get("file")
        file = file if type(file) is dict else {}
        data, url = file.get("file_data"), file.get("file_url")
        if data is None and type(url) is str and is_web_url(url):
            # Not OpenAI's in chat, but in its responses; Anthropic fetches documents by itself.
            return _titled({"type": "document", "source": {"type": "url", "url": url}}, file)
        if type(data) is not str:
            raise _unsupported(
                f"{where}.file", "a file must come as file_data; ids of uploaded files do not travel"
            )
        media = data_url(data)
        if media is None:
            raise bad_request(
                f"'{where}.file.file_data' must be a base64 data: URL.",
                f"{where}.file.file_data",
                "invalid_file",
            )
        source: JsonObject
        if media.type == "application/pdf":
            source = {"type": "base64", "media_type": media.type, "data": media.data}
        elif is_text(media.type):
            source = {"type": "text", "media_type": "text/plain", "data": _decoded(media.data, where)}
        else:
            raise _unsupported(f"{where}.file.file_data", "files must be PDF or text")
        return _titled({"type": "document", "source": source}, file)

    # --- Assistant ---

    def _add_assistant(self, message: JsonObject, where: str) -> None:
        if not self.turns:
            # A conversation begins with the user.
            self.turns.append({"role": "user", "content": [{"type": "text", "text": _NOTHING}]})
        if message.get("audio") is not None:
            self._losses.note("messages.audio")
        blocks = self._thoughts(message)
        blocks += self._texts(message.get("content"), f"{where}.content")
        refusal = message.get("refusal")
        if type(refusal) is str and refusal.strip():
            blocks.append({"type": "text", "text": refusal})
        calls = self._calls(message, where)
        blocks += calls
        _mark_last(blocks, message)
        if blocks:
            self.turns.append({"role": "assistant", "content": blocks})
        if calls:
            self._owe(calls)

    def _thoughts(self, message: JsonObject) -> Blocks:
        """Thinking that Claude has signed and the client replays. Unsigned text stays behind."""
        given = message.get("thinking_blocks")
        blocks = [_signed(b) for b in given if type(b) is dict] if type(given) is list else []
        if not blocks:
            details = message.get("reasoning_details")
            if type(details) is list:
                blocks = [_from_detail(d) for d in details if type(d) is dict]
        found = [b for b in blocks if b is not None]
        if not found and (message.get("reasoning_content") or message.get("reasoning")):
            self._losses.note("messages.reasoning_content")
        return found

    def _calls(self, message: JsonObject, where: str) -> Blocks:
        calls = []
        for index, call in enumerate(message.get("tool_calls") or ()):
            at = f"{where}.tool_calls[{index}]"
            function = call.get("function")
            if type(function) is not dict:
                raise _unsupported(at, "only calls of functions can be sent to this model")
            call_id = as_text(call.get("id"), f"{at}.id")
            if not call_id:
                raise bad_request(
                    f"Missing required parameter: '{at}.id'.", f"{at}.id", "missing_required_parameter"
                )
            calls.append(self._call(call_id, function, f"{at}.function"))
        legacy = message.get("function_call")
        if type(legacy) is dict:
            self._function_calls += 1
            self._legacy_id = f"call_{self._function_calls}"
            calls.append(self._call(self._legacy_id, legacy, f"{where}.function_call"))
        return calls

    def _call(self, call_id: str, function: JsonObject, where: str) -> JsonObject:
        name = as_text(function.get("name"), f"{where}.name")
        if not name:
            raise bad_request(
                f"Missing required parameter: '{where}.name'.", f"{where}.name", "missing_required_parameter"
            )
        return {
            "type": "tool_use",
            "id": claude_id(call_id),
            "name": self._names.out(name),
            "input": tool_input(function.get("arguments")),
        }

    # --- Results ---

    def _owe(self, calls: Blocks) -> None:
        """Open the turn of results. A result that never comes is said to be missing."""
        results: Blocks = []
        for call in calls:
            result: JsonObject = {
                "type": "tool_result",
                "tool_use_id": call["id"],
                "content": "no result",
                "is_error": True,
            }
            results.append(result)
            self._owed[call["id"]] = result
        self.turns.append({"role": "user", "content": results})

    def _add_result(self, message: JsonObject, where: str) -> None:
        if message["role"] == "function":
            call_id = self._legacy_id
        else:
            call_id = as_text(message.get("tool_call_id"), f"{where}.tool_call_id")
            if not call_id:
                raise bad_request(
                    f"Missing required parameter: '{where}.tool_call_id'.",
                    f"{where}.tool_call_id",
                    "missing_required_parameter",
                )
        result = self._owed.pop(claude_id(call_id), None) if call_id else None
        if result is None:
            raise bad_request(
                f"Invalid '{where}': a message with role '{message['role']}' must be a response to a "
                "preceding message with 'tool_calls'.",
                f"{where}.tool_call_id",
                "invalid_value",
            )
        content = message.get("content")
        result["content"] = (
            self._user_blocks({"content": content}, where) if type(content) is list else content or ""
        )
        del result["is_error"]
        mark = cache_mark(message)
        if mark:
            result["cache_control"] = mark

    # --- The end ---

    def _close(self) -> None:
        if not self.turns:
            self.turns.append({"role": "user", "content": [{"type": "text", "text": _NOTHING}]})
        last = self.turns[-1]
        if last["role"] != "assistant":
            return
        if "prefill" not in self._caps:
            raise bad_request(
                "This model does not support a conversation that ends with an assistant message.",
                "messages",
                "unsupported_value",
            )
        text = last["content"][-1]
        if text["type"] == "text":
            last["content"][-1] = {**text, "text": text["text"].rstrip()}


def _marked(block: JsonObject, holder: JsonObject) -> JsonObject:
    mark = cache_mark(holder)
    if mark:
        block["cache_control"] = mark
    return block


def _mark_last(blocks: Blocks, message: JsonObject) -> None:
    """A mark on the whole message goes on its last block that may bear one."""
    if blocks and blocks[-1]["type"] not in ("thinking", "redacted_thinking"):
        _marked(blocks[-1], message)


def _titled(document: JsonObject, file: JsonObject) -> JsonObject:
    name = file.get("filename")
    if type(name) is str and name:
        document["title"] = name
    return document


def _signed(block: JsonObject) -> JsonObject | None:
    if block.get("type") == "redacted_thinking" and type(block.get("data")) is str:
        return {"type": "redacted_thinking", "data": block["data"]}
    signature = block.get("signature")
    thinking = block.get("thinking")
    if block.get("type") != "thinking" or type(signature) is not str or type(thinking) is not str:
        return None
    # Signatures that a gateway made up are refused by Anthropic.
    if not signature or signature.startswith("gw1."):
        return None
    return {"type": "thinking", "thinking": thinking, "signature": signature}


def _from_detail(detail: JsonObject) -> JsonObject | None:
    """OpenRouter's form of reasoning, where it says that Claude wrote it."""
    form = detail.get("format")
    if type(form) is not str or not form.startswith("anthropic"):
        return None
    if detail.get("type") == "reasoning.encrypted":
        return _signed({"type": "redacted_thinking", "data": detail.get("data")})
    return _signed({"type": "thinking", "thinking": detail.get("text"), "signature": detail.get("signature")})


def _decoded(data: str, where: str) -> str:
    try:
        return base64.b64decode(data, validate=True).decode()
    except ValueError:
        raise bad_request(
            f"'{where}.file.file_data' is not base64 of UTF-8 text.",
            f"{where}.file.file_data",
            "invalid_file",
        ) from None


def _unsupported(param: str, what: str) -> GatewayError:
    return bad_request(f"'{param}': {what}.", param, "unsupported_content")
