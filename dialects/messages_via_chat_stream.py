"""Chunks of chat completions as Anthropic's stream of events: blocks in sequence, one open at a time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import orjson

from dialects import estimate
from dialects.chat import openai_usage
from dialects.parts import (
    STOP_OF_FINISH,
    CallIds,
    ToolNames,
    claude_id,
    finish_word,
    messages_usage,
    new_id,
    thought_in,
    truncated_answer,
)
from dialects.sse import escape, frame_json
from dialects.types import JsonObject, Usage

_DELTA = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":{%b%b}}\n\n'
_STOP = b'event: content_block_stop\ndata: {"type":"content_block_stop","index":%d}\n\n'
_TEXT = b'"type":"text_delta","text":'
_THINKING = b'"type":"thinking_delta","thinking":'
_JSON = b'"type":"input_json_delta","partial_json":'
_SIGNATURE = b'"type":"signature_delta","signature":'


@dataclass(slots=True)
class _Call:
    """One tool call as it arrives. `given`: the provider's id; `sent`: how many of its pieces have gone out;
    `done`: block over."""

    id: str
    given: Any = None
    name: str = ""
    pieces: list[str] = field(default_factory=list)
    sent: int = 0
    started: bool = False
    done: bool = False

    def is_whole(self) -> bool:
        """True when the arguments so far are a complete JSON object."""
        text = "".join(self.pieces)
        if not text.rstrip().endswith("}"):
            return False
        try:
            orjson.loads(text)
        except ValueError:
            return False
        return True


class MessageEvents:
    """One stream's state.

    `_open` is the type of the open block ("" for none). Calls wait in `_calls`; only the first may be open.
    A call stays first until its arguments are whole or the stream ends, so calls whose pieces come in turns
    are written one after the other.
    """

    def __init__(self, names: ToolNames, model: str, *, between: bool = False) -> None:
        self._names = names
        # True: the chunks are another pair's, which gives whole blocks of sealed thinking besides its text.
        self._between = between
        self._signature = ""
        self._model = model
        self._begun = False
        self._index = -1
        self._open = ""
        self._calls: list[_Call] = []
        self._keys: dict[Any, _Call] = {}
        self._ids = CallIds("toolu_", claude_id)
        self._any_call = False
        self._late: list[tuple[bool, str]] = []
        self._refusal: list[str] = []
        self._finish: str | None = None
        self._usage: Usage | None = None
        self._tier: str | None = None
        self._chars = 0

    def chunk(self, chunk: JsonObject) -> bytes:
        """The events for one chunk, b"" for none."""
        out = b"" if self._begun else self._begin(chunk)
        usage = chunk.get("usage")
        if usage:
            self._usage = openai_usage(usage) or self._usage
        self._tier = served_tier(chunk) or self._tier
        choices = chunk.get("choices")
        if not choices:
            return out
        choice = choices[0]
        if choice.get("index"):
            # Another answer of several, which no client of this dialect can have asked for.
            return out
        delta = choice.get("delta")
        if delta:
            out += self._delta(delta)
        finish = choice.get("finish_reason")
        if finish and type(finish) is str:
            self._finish = finish_word(finish)
        return out

    def finish(self) -> bytes:
        """The last block's end, the reason with the usage, and the end."""
        if self._finish is None:
            raise truncated_answer()
        out = self._drain() + self._close()
        refusal = "".join(self._refusal)
        reason = stop_reason(self._finish, calls=self._any_call, refused=bool(refusal))
        usage = self._usage or Usage(output_tokens=estimate.tokens(self._chars))
        delta = {
            "stop_reason": reason,
            "stop_sequence": None,
            "stop_details": refusal_details(refusal) if reason == "refusal" else None,
        }
        end = {"type": "message_delta", "delta": delta, "usage": with_tier(messages_usage(usage), self._tier)}
        return out + frame_json(end, "message_delta") + frame_json({"type": "message_stop"}, "message_stop")

    def _begin(self, chunk: JsonObject) -> bytes:
        self._begun = True
        model = chunk.get("model")
        message: JsonObject = {
            "id": new_id("msg_"),
            "type": "message",
            "role": "assistant",
            "model": model if model and type(model) is str else self._model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            # Not known yet; the real numbers come with message_delta.
            "usage": with_tier(messages_usage(Usage()), served_tier(chunk)),
        }
        return frame_json({"type": "message_start", "message": message}, "message_start")

    def _delta(self, delta: JsonObject) -> bytes:
        out = b""
        if len(delta) > 1 or "content" not in delta:
            blocks = delta.get("thinking_blocks") if self._between else None
            if blocks:
                out = b"".join(map(self._block, blocks))
            else:
                out = self._thoughts(delta.get("reasoning_content") or delta.get("reasoning"))
        content = delta.get("content")
        if content:
            out += self._text(content)
        if len(delta) > 1 or not content:
            out += self._rest(delta)
        return out

    def _rest(self, delta: JsonObject) -> bytes:
        out = b""
        refusal = delta.get("refusal")
        if refusal:
            if not self._refusal and self._open == "text":
                # It stands apart from what was said before.
                out += self._close()
            self._refusal.append(refusal)
            out += self._text(refusal)
        for call in delta.get("tool_calls") or ():
            out += self._call(call, call.get("function") or {})
        legacy = delta.get("function_call")
        if legacy:
            out += self._call({"index": 0}, legacy)
        return out

    # --- Text and thinking ---

    def _thoughts(self, text: Any) -> bytes:
        if not text:
            return b""
        self._chars += len(text)
        if self._open == "thinking":
            return _DELTA % (self._index, _THINKING, escape(orjson.dumps(text)))
        if self._is_within_call():
            self._late.append((True, text))
            return b""
        if self._between:
            # What set it apart from other reasoning is the block itself.
            text = text.removeprefix("\n\n")
            if not text:
                return b""
        out = self._drain_calls() + self._start({"type": "thinking", "thinking": "", "signature": ""})
        return out + _DELTA % (self._index, _THINKING, escape(orjson.dumps(text)))

    def _block(self, block: JsonObject) -> bytes:
        """The end of the open thinking with its signature, or thinking that is not shown."""
        out = b""
        if self._open != "thinking":
            out = self._drain_calls() + self._start({"type": "thinking", "thinking": "", "signature": ""})
        self._signature = block["signature"]
        return out + self._close()

    def _text(self, text: Any) -> bytes:
        if type(text) is list:
            return self._parts(text)
        self._chars += len(text)
        if self._open == "text":
            return _DELTA % (self._index, _TEXT, escape(orjson.dumps(text)))
        if self._is_within_call():
            self._late.append((False, text))
            return b""
        out = self._drain_calls() + self._start({"type": "text", "text": ""})
        return out + _DELTA % (self._index, _TEXT, escape(orjson.dumps(text)))

    def _parts(self, parts: list[JsonObject]) -> bytes:
        """Content as some servers give it. What is neither said nor thought is no text."""
        out = b""
        for part in parts:
            thought = thought_in(part)
            if thought:
                out += self._thoughts(thought)
            elif part.get("type") == "text" and part["text"]:
                out += self._text(part["text"])
        return out

    def _is_within_call(self) -> bool:
        """True while a call is not whole: blocks come in sequence, so what is said then comes after it."""
        return bool(self._calls) and not all(call.is_whole() for call in self._calls)

    # --- Tool calls ---

    def _call(self, piece: JsonObject, function: JsonObject) -> bytes:
        call = self._find(piece, function)
        if call.done:
            # Its arguments were whole; what follows can only be white space.
            return b""
        name = function.get("name")
        # A name may come in pieces, or whole with every piece.
        if name and name != call.name and not call.started:
            call.name += name
        arguments = function.get("arguments")
        if arguments:
            if type(arguments) is not str:
                arguments = orjson.dumps(arguments).decode()
            call.pieces.append(arguments)
            self._chars += len(arguments)
        return self._advance()

    def _find(self, piece: JsonObject, function: JsonObject) -> _Call:
        """The call that a piece belongs to: by index, or by id where a server numbers all of them alike."""
        given = piece.get("id")
        key = piece.get("index")
        if key is None:
            key = given or self._last_key()
        call = self._keys.get(key)
        is_other = call is not None and given and given != call.given and function.get("name")
        if call is None or is_other:
            call = _Call(self._ids.of(piece))
            call.given = given
            self._keys[key] = call
            self._calls.append(call)
            self._any_call = True
        return call

    def _last_key(self) -> Any:
        return next(reversed(self._keys), None)

    def _advance(self) -> bytes:
        """Write what can be written of the waiting calls: all of the first, and the next when it is whole."""
        out = self._write(self._calls[0])
        while len(self._calls) > 1 and self._calls[0].is_whole():
            out += self._end_first()
            out += self._write(self._calls[0])
        return out

    def _write(self, call: _Call) -> bytes:
        if not call.pieces:
            # The name may not be whole before the first argument.
            return b""
        out = b""
        if not call.started:
            out = self._start_call(call)
        text = "".join(call.pieces[call.sent :])
        call.sent = len(call.pieces)
        return out + _DELTA % (self._index, _JSON, escape(orjson.dumps(text))) if text else out

    def _start_call(self, call: _Call) -> bytes:
        call.started = True
        name = self._names.back(call.name)
        return self._start({"type": "tool_use", "id": call.id, "name": name, "input": {}})

    def _end_first(self) -> bytes:
        call = self._calls.pop(0)
        call.done = True
        return b"" if call.started else self._start_call(call)

    def _drain_calls(self) -> bytes:
        out = b""
        while self._calls:
            out += self._write(self._calls[0])
            out += self._end_first()
        return out

    def _drain(self) -> bytes:
        """Everything that still waits, at the end."""
        out = self._drain_calls()
        for thought, text in self._late:
            out += self._thoughts(text) if thought else self._text(text)
        return out

    # --- Blocks ---

    def _start(self, block: JsonObject) -> bytes:
        out = self._close()
        self._index += 1
        self._open = block["type"]
        start = {"type": "content_block_start", "index": self._index, "content_block": block}
        return out + frame_json(start, "content_block_start")

    def _close(self) -> bytes:
        if not self._open:
            return b""
        out = _STOP % self._index
        if self._open == "thinking":
            # The type wants a signature; an empty one says that nobody has signed.
            out = _DELTA % (self._index, _SIGNATURE, escape(orjson.dumps(self._signature))) + out
            self._signature = ""
        self._open = ""
        return out


def stop_reason(finish: Any, *, calls: bool, refused: bool) -> str:
    """Anthropic's word for a finish reason; an unknown one is the end of a turn."""
    finish = finish_word(finish)
    if refused and finish == "stop":
        return "refusal"
    reason = STOP_OF_FINISH.get(finish, "end_turn")
    # Some servers end a turn that calls tools with a plain stop.
    return "tool_use" if calls and reason == "end_turn" else reason


def refusal_details(explanation: Any) -> JsonObject:
    said = explanation if explanation and type(explanation) is str else None
    return {"type": "refusal", "category": None, "explanation": said}


# OpenAI's words for the tier that served a call, as Anthropic's; the others have no counterpart.
_TIERS = {"default": "standard", "priority": "priority"}


def served_tier(answer: JsonObject) -> str | None:
    """The tier that served a call in Anthropic's word; None where it has none or nothing is said."""
    tier = answer.get("service_tier")
    return _TIERS.get(tier) if type(tier) is str else None


def with_tier(usage: JsonObject, tier: str | None) -> JsonObject:
    return {**usage, "service_tier": tier} if tier else usage
