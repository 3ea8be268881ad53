"""The provider of the load bar: answers by the order in the prompt, misbehaves when told to, and remembers
who was served and when a gateway let go.

Run as `python -m soak.upstream`; it prints its port. `POST /mode {"status": 503}` makes it answer so until
told otherwise, `GET /seen` tells what was served. Times are of the monotonic clock, which is one for all
processes of a machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import signal
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import uvloop

from bench.marks import Order, mark, read_order

# What one answer is said to use; whoever sums up knows what must come out.
INPUT_TOKENS, OUTPUT_TOKENS = 120, 40
_USAGE = {
    "prompt_tokens": INPUT_TOKENS,
    "completion_tokens": OUTPUT_TOKENS,
    "total_tokens": INPUT_TOKENS + OUTPUT_TOKENS,
}
_BASE = {"id": "chatcmpl-soak", "created": 1700000000, "model": "gpt-4o-mini"}
_LENGTH = re.compile(rb"content-length: *([0-9]+)", re.IGNORECASE)
_FAULT = re.compile(rb"fault:([a-z]+)")
# What makes an event so large that a few fill whatever buffers there are.
_LARGE = " and so on" * 400
_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)


@dataclass(slots=True)
class Seen:
    """What was served. `asked`: when each request came; `let_go`: when each stream that was not read to its
    end was closed, by its number; `paused`: streams that wait for their reader now."""

    asked: list[float] = field(default_factory=list)
    whole: int = 0
    let_go: dict[int, float] = field(default_factory=dict)
    open: int = 0
    paused: int = 0


class Upstream:
    """One server. Its answers are OpenAI's chat completions."""

    def __init__(self) -> None:
        self.seen = Seen()
        self._status = 0

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection's requests until it is closed."""
        # uvloop says with the last of these that the connection was closed between two writes.
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, RuntimeError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                found = _LENGTH.search(head)
                body = await reader.readexactly(int(found[1]) if found else 0)
                await self._answer(head.split(b" ", 2)[1], body, reader, writer)
        writer.close()

    async def _answer(
        self, path: bytes, body: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if path == b"/seen":
            seen = self.seen
            told = {name: getattr(seen, name) for name in ("asked", "whole", "let_go", "open", "paused")}
            await _send(writer, 200, told)
        elif path == b"/mode":
            self._status = json.loads(body)["status"]
            await _send(writer, 200, {})
        else:
            self.seen.asked.append(time.monotonic())
            order = read_order(body) or Order(0)
            fault = _FAULT.search(body)
            await self._complete(order, body, fault[1].decode() if fault else "", (reader, writer))

    async def _complete(
        self,
        order: Order,
        body: bytes,
        fault: str,
        wire: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        reader, writer = wire
        if self._status or fault == "busy":
            said = {"error": {"message": "busy", "type": "server_error"}}
            await _send(writer, self._status or 503, said)
            return
        if fault == "reset":
            writer.transport.abort()
            raise ConnectionResetError
        if b'"stream":true' not in body:
            self.seen.whole += 1
            message = {"role": "assistant", "content": mark(order.stream_id, 0).decode()}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            await _send(
                writer, 200, {**_BASE, "object": "chat.completion", "choices": [choice], "usage": _USAGE}
            )
            return
        self.seen.open += 1
        # A client that leaves is heard of by its connection's end and not only by the next write.
        left = asyncio.ensure_future(reader.read(1))
        try:
            await self._stream(order, fault, writer, left)
        finally:
            self.seen.open -= 1
            if left.done():
                self.seen.let_go[order.stream_id] = time.monotonic()
            left.cancel()
            await asyncio.gather(left, return_exceptions=True)

    async def _stream(
        self, order: Order, fault: str, writer: asyncio.StreamWriter, left: asyncio.Future[bytes]
    ) -> None:
        writer.write(_STREAM_HEAD)
        began = time.monotonic()
        number = 0
        async for event in _events(order, _LARGE if fault == "large" else ""):
            if left.done():
                raise ConnectionResetError
            if order.rate:
                late = began + number / order.rate - time.monotonic()
                await asyncio.wait((left,), timeout=max(0.0, late))
            if fault == "cut" and number == order.chunks // 2:
                writer.transport.abort()
                raise ConnectionResetError
            await self._write(writer, b"%x\r\n%b\r\n" % (len(event), event), left, single=fault == "bytes")
            number += 1
        await self._write(writer, b"0\r\n\r\n", left, single=False)
        self.seen.whole += 1

    async def _write(
        self, writer: asyncio.StreamWriter, data: bytes, left: asyncio.Future[bytes], *, single: bool
    ) -> None:
        """`single`: each byte in a segment of its own."""
        if single:
            for byte in data:
                writer.write(bytes((byte,)))
                await asyncio.sleep(0)
        else:
            writer.write(data)
        if writer.transport.get_write_buffer_size() < 65536:
            return
        draining = asyncio.ensure_future(writer.drain())
        self.seen.paused += 1
        try:
            await asyncio.wait((draining, left), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.seen.paused -= 1
            draining.cancel()


async def _events(order: Order, more: str) -> AsyncIterator[bytes]:
    """The events of one stream, a mark in each that has content, and `more` words."""
    yield _event({"role": "assistant", "content": ""})
    for number in range(order.chunks):
        yield _event({"content": mark(order.stream_id, number).decode() + " word" + more})
    yield _event({}, "stop")
    yield (
        b"data: "
        + json.dumps({**_BASE, "object": "chat.completion.chunk", "choices": [], "usage": _USAGE}).encode()
        + b"\n\n"
    )
    yield b"data: [DONE]\n\n"


def _event(delta: dict[str, str], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    document = {**_BASE, "object": "chat.completion.chunk", "choices": [choice]}
    return b"data: " + json.dumps(document).encode() + b"\n\n"


async def _send(writer: asyncio.StreamWriter, status: int, document: object) -> None:
    body = json.dumps(document).encode()
    head = f"HTTP/1.1 {status} Soak\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    await writer.drain()


async def serve(port: int) -> None:
    """Listen on loopback until SIGTERM; prints the port once listening."""
    # A body of the largest size is read whole.
    limit = 64 * 1024 * 1024
    server = await asyncio.start_server(Upstream().connected, "127.0.0.1", port, backlog=2048, limit=limit)
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    print(server.sockets[0].getsockname()[1], flush=True)
    await stopped.wait()
    server.close()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(int(sys.argv[1]) if len(sys.argv) > 1 else 0))
