"""What a call costs in calls of functions: a bound that no clock, machine or neighbour moves.

A bound is what was counted and a tenth, for what Python versions and libraries do differently. Who adds to
the path on purpose moves it, and says so; who breaks it by accident hears of it here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import orjson
import uvloop

from gateway_project.tests.cost import Bench, Counted, request

# Calls of functions, Python's and C's: of a whole answer, and of a chunk that passes through.
WHOLE = 844
CHUNK = 94
_WARM = 4
_TURNS = 20
_T = TypeVar("_T")
_SYSTEM = "You are a short and friendly assistant. " * 14
_MESSAGES = [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": "How is the weather?"}]
_ANSWER = orjson.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-4o-mini",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "x" * 700}, "finish_reason": "stop"}
        ],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
    }
)


def whole() -> bytes:
    lines = [b"HTTP/1.1 200 OK", b"content-type: application/json", b"x-request-id: req_1"]
    return b"\r\n".join([*lines, b"content-length: %d\r\n\r\n" % len(_ANSWER)]) + _ANSWER


def streamed(chunks: int) -> list[bytes]:
    """A stream in one packet for each chunk."""
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    chunk = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "gpt-4o-mini",
        "choices": [{"index": 0, "delta": {"content": "word "}, "finish_reason": None}],
    }
    last = {**chunk, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    events = [b"data: %b\n\n" % orjson.dumps(each) for each in [chunk] * chunks + [last]] + [
        b"data: [DONE]\n\n"
    ]
    return [head, *(b"%x\r\n%b\r\n" % (len(event), event) for event in events), b"0\r\n\r\n"]


def test_a_whole_answer() -> None:
    calls, outcomes = on_uvloop(_whole())
    assert outcomes == ["ok"] * (_WARM + _TURNS)
    assert WHOLE * 0.7 < calls < WHOLE * 1.1


def test_a_chunk() -> None:
    few, many = on_uvloop(_stream(10)), on_uvloop(_stream(110))
    calls = (many - few) / 100
    assert CHUNK * 0.7 < calls < CHUNK * 1.1


def on_uvloop(running: Coroutine[Any, Any, _T]) -> _T:
    """As in production: asyncio's own loop is written in Python and would be counted."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(running)


async def _whole() -> tuple[float, list[str]]:
    bench = Bench([whole()])
    asked = request(bench.key, orjson.dumps({"model": "gpt-4o-mini", "messages": _MESSAGES}))
    for _ in range(_WARM):
        assert (await bench.ask(asked, _ANSWER)).startswith(b"HTTP/1.1 200 OK\r\n")
    with Counted() as counted:
        for _ in range(_TURNS):
            await bench.ask(asked, _ANSWER)
    return counted.calls / _TURNS, [record.outcome for record in bench.gateway.records]


async def _stream(chunks: int) -> int:
    bench = Bench(streamed(chunks))
    asked = request(bench.key, orjson.dumps({"model": "gpt-4o-mini", "messages": _MESSAGES, "stream": True}))
    for _ in range(_WARM):
        assert (await bench.ask(asked, b"0\r\n\r\n")).count(b'"word "') == chunks
    with Counted() as counted:
        await bench.ask(asked, b"0\r\n\r\n")
    return counted.calls
