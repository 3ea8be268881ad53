"""One kept answer: what is known of it, how it is written down, and how it is said again."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Literal

import msgspec
import orjson

from dialects.endings import Ending, ending
from dialects.replay import put_together, stream_of, taken_apart, whole_of
from dialects.types import Dialect, Usage
from pipeline.call import Call

# Below this compressing saves next to nothing, and above it has to save a tenth.
_SMALL = 1024
_WORTH = 0.9
# Streams say the same few fields with every token: the quickest level takes nearly all of that.
_LEVEL = 1
# Redis is not in our hands alone: more than this comes out of no entry.
_MOST = 64 * 1024 * 1024
_SIZE = struct.Struct(">I")


class Head(msgspec.Struct):
    """What is known of a kept answer.

    `key`: the digest in hex under which it is kept, `team`: whose it is; both are checked when it is read.
    `at`: when it was given, in seconds since the epoch; `cost`: what it cost then, in nano-dollars, None:
    unknown; `dropped`: the request's fields that could not travel; `usage`: a stream's usage chunk; `model`:
    the name under which a vector was given.
    """

    form: Literal["stream", "whole", "vector"]
    team: int
    key: str
    at: float
    cost: int | None = None
    dropped: list[str] = []
    usage: str = ""
    model: str = ""
    packing: Literal["", "zlib"] = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """A kept answer. `body`: the events of a stream, a whole answer, or the vector of one input."""

    head: Head
    body: bytes

    def packed(self) -> bytes:
        """The entry as bytes: the size of its head, its head in JSON, and its body, compressed if it pays."""
        head, body = self.head, self.body
        if len(body) >= _SMALL:
            small = zlib.compress(body, _LEVEL)
            if len(small) < len(body) * _WORTH:
                body, head = small, msgspec.structs.replace(head, packing="zlib")
        written = msgspec.json.encode(head)
        return _SIZE.pack(len(written)) + written + body

    def said(self, call: Call) -> bytes | None:
        """The body of a reply to this call; None where the answer cannot be said in that form."""
        dialect, facts = call.dialect, call.facts
        if self.head.form == "stream":
            usage = self.head.usage.encode()
            if facts.stream:
                return put_together(dialect, self.body, usage, include_usage=facts.include_usage)
            answer = whole_of(dialect, self.body + usage)
            return None if answer is None else orjson.dumps(answer)
        if not facts.stream:
            return self.body
        return stream_of(dialect, orjson.loads(self.body), include_usage=facts.include_usage)


def unpacked(raw: bytes, team: int, key: bytes) -> Entry | None:
    """The entry that was packed; None for what is none, or another's."""
    try:
        (size,) = _SIZE.unpack_from(raw)
        head = msgspec.json.decode(raw[_SIZE.size : _SIZE.size + size], type=Head)
        if head.team != team or head.key != key.hex():
            return None
        body = raw[_SIZE.size + size :]
        if head.packing:
            unpacker = zlib.decompressobj()
            body = unpacker.decompress(body, _MOST)
            if not unpacker.eof:
                return None
    except (struct.error, msgspec.DecodeError, zlib.error):
        return None
    return Entry(head, body)


@dataclass(frozen=True, slots=True)
class Draft:
    """A complete answer that may be kept: how it ends, its form, its body, and its usage chunk."""

    ending: Ending
    form: Literal["stream", "whole"]
    body: bytes
    usage: str = ""


def of_whole(dialect: Dialect, body: bytes) -> Draft:
    """A draft of a whole answer."""
    answer = orjson.loads(body)
    told: Ending = ending(dialect.name, answer) if dialect.is_answer(answer) else "other"
    return Draft(told, "whole", body)


def of_stream(dialect: Dialect, raw: bytes, usage: Usage | None) -> Draft | None:
    """A draft of a stream; None where it is not complete, or nobody knows what it tells."""
    told = taken_apart(dialect, raw, usage)
    if told is None or told.answer is None:
        return None
    return Draft(ending(dialect.name, told.answer), "stream", told.events, told.usage.decode())
