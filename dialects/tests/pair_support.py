"""Drives a translator as the pipeline does, and makes ids and times comparable."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from dialects.table import DIALECTS, TRANSLATORS
from dialects.types import JsonObject, ModelFacts, Translator

GOLDEN = Path(__file__).parent / "golden"
_MADE_UP = re.compile(r"(chatcmpl-|cmpl-|msg_|call_|toolu_|resp_|rs_|fc_|ctc_)[0-9a-f]{24}")
_CREATED = re.compile(r'("created": ?)\d+')


def golden(name: str) -> list[JsonObject]:
    """The cases of a golden file."""
    cases: list[JsonObject] = json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))
    return cases


def steady(text: str) -> str:
    """Text with made-up ids and times replaced."""
    return _CREATED.sub(r"\g<1>0", _MADE_UP.sub(r"\g<1>ID", text))


def asked(client: str, upstream: str, body: JsonObject, model: str = "llama3.2") -> tuple[Translator, Any]:
    """A translator that has carried the request of a client whose body was checked, and what it sent."""
    body = {"model": "alias", **body}
    DIALECTS[client].facts(body)
    before = json.dumps(body)
    translator = TRANSLATORS[client, upstream]()
    sent = translator.request(body, ModelFacts(name=model))
    assert json.dumps(body) == before, "the client's body was changed"
    return translator, sent


def carried(translator: Translator, upstream: str, pieces: list[bytes]) -> tuple[bytes, bool]:
    """The client's bytes for a provider's stream in pieces, and whether the stream came to its end. A stream
    that did not is closed by nobody here: that is the pipeline's."""
    dialect = DIALECTS[upstream]
    framer, tap = dialect.framer(), dialect.tap(strip_usage=False)
    out = b""
    for piece in pieces:
        for event in framer.feed(piece):
            if tap.finished:
                break
            tap.see(event)
            out += translator.event(event)
    if tap.finished:
        out += translator.finish()
    return out, tap.finished


def sse(stream: bytes) -> list[tuple[str, Any]]:
    """(event name, data) of each frame, read by splitlines as naive clients do; `[DONE]` stays text."""
    found: list[tuple[str, Any]] = []
    name = ""
    for line in stream.decode().splitlines():
        field, _, value = line.partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            found.append((name, value if value == "[DONE]" else json.loads(value)))
            name = ""
    return found


def lines(*objects: JsonObject) -> bytes:
    """Ollama's stream of lines."""
    frame = {"model": "llama3.2", "created_at": "2026-01-01T00:00:00Z"}
    return b"".join(
        json.dumps({**frame, "done": False, **line}, ensure_ascii=False).encode() + b"\n" for line in objects
    )


def say(**message: Any) -> JsonObject:
    """A line with a piece of a message."""
    return {"message": {"role": "assistant", "content": "", **message}}


def end(reason: str | None = "stop", **counts: int) -> JsonObject:
    """The last line."""
    line = {"message": {"role": "assistant", "content": ""}, "done": True, **counts}
    return {**line, "done_reason": reason} if reason else line


def chat_stream(*choices: JsonObject, usage: JsonObject | None = None, done: bool = True) -> bytes:
    """A stream of chat chunks, one for each choice given."""
    frame = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o"}
    chunks: list[JsonObject] = [
        {**frame, "choices": [{"index": 0, "finish_reason": None, **c}]} for c in choices
    ]
    if usage is not None:
        chunks.append({**frame, "choices": [], "usage": usage})
    out = b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks)
    return out + b"data: [DONE]\n\n" if done else out
