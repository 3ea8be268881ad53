"""The mock provider: OpenAI's and Anthropic's chat endpoints, fast enough not to be the bottleneck.

Run as ``python -m bench.mock_upstream``; it prints its port. Paths are told by their ends, so that any base
URL works. ``GET /stats`` answers what was served so far. What to answer is read from the order in the prompt
(see marks).
"""

import argparse
import asyncio
import json
import signal
import socket
import sys
from collections import Counter, deque
from dataclasses import dataclass
from typing import cast

import httptools
import uvloop

from bench.marks import MARK_LENGTH, Order, mark, read_order

REPLY_BYTES = 1024  # the size of an ordinary short completion; the same for both dialects
_WRITE_LIMIT = 64 * 1024  # a stream whose reader is this far behind waits, as a real provider's would
_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"cache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n"
)
_USAGE = {"prompt_tokens": 120, "completion_tokens": 40, "total_tokens": 160}
_PLACE = b"~" * MARK_LENGTH  # stands where the mark goes; same length, so that content-length is right


def _line(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def _frame(payload: bytes) -> bytes:
    """One HTTP/1.1 chunk."""
    return b"%x\r\n%b\r\n" % (len(payload), payload)


@dataclass(frozen=True, slots=True)
class Shape:
    """One dialect's answers as bytes, cut where the mark goes; `with_usage` closes a stream with usage."""

    reply: tuple[bytes, bytes]
    opening: bytes
    delta: tuple[bytes, bytes]
    closing: bytes
    with_usage: bytes = b""


def _around(text: bytes) -> tuple[bytes, bytes]:
    before, after = text.split(_PLACE)
    return before, after


def _whole(document: dict[str, object], grow: dict[str, object], field: str) -> tuple[bytes, bytes]:
    """A JSON reply of exactly REPLY_BYTES, its text padded in `grow[field]`, behind its HTTP head."""
    grow[field] = _PLACE.decode()
    grow[field] = _PLACE.decode() + " " + "x" * (REPLY_BYTES - len(_line(document)) - 1)
    body = _line(document)
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
    return _around(head + body)


def chat_shape() -> Shape:
    """OpenAI's chat completions."""
    base = {
        "id": "chatcmpl-bench",
        "object": "chat.completion.chunk",
        "created": 1700000000,
        "model": "gpt-4o-mini",
    }
    message: dict[str, object] = {"role": "assistant", "content": "", "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    document: dict[str, object] = {**base, "object": "chat.completion", "choices": [choice], "usage": _USAGE}

    def event(delta: dict[str, object], finish: str | None = None) -> bytes:
        choices = [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]
        return b"data: " + _line({**base, "choices": choices}) + b"\n\n"

    delta = event({"content": _PLACE.decode() + " word"})
    usage = b"data: " + _line({**base, "choices": [], "usage": _USAGE}) + b"\n\n"
    done = b"data: [DONE]\n\n"
    return Shape(
        reply=_whole(document, message, "content"),
        opening=_frame(event({"role": "assistant", "content": ""})),
        delta=_around(_frame(delta)),
        closing=_frame(event({}, "stop")) + _frame(done) + b"0\r\n\r\n",
        with_usage=_frame(event({}, "stop")) + _frame(usage) + _frame(done) + b"0\r\n\r\n",
    )


def messages_shape() -> Shape:
    """Anthropic's messages."""
    part: dict[str, object] = {"type": "text", "text": ""}
    base: dict[str, object] = {
        "id": "msg_bench",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5",
    }
    stop: dict[str, object] = {"stop_reason": "end_turn", "stop_sequence": None}
    usage: dict[str, object] = {"input_tokens": 120, "output_tokens": 40}
    document = {**base, "content": [part], **stop, "usage": usage}

    def event(name: str, **fields: object) -> bytes:
        return f"event: {name}\n".encode() + b"data: " + _line({"type": name, **fields}) + b"\n\n"

    started = {**base, "content": [], "stop_reason": None, "stop_sequence": None}
    started["usage"] = {"input_tokens": 120, "output_tokens": 1}
    text = {"type": "text_delta", "text": _PLACE.decode() + " word"}
    closing = (
        _frame(event("content_block_stop", index=0))
        + _frame(event("message_delta", delta=stop, usage={"output_tokens": 40}))
        + _frame(event("message_stop"))
        + b"0\r\n\r\n"
    )
    return Shape(
        reply=_whole(document, part, "text"),
        opening=_frame(event("message_start", message=started))
        + _frame(event("content_block_start", index=0, content_block={"type": "text", "text": ""})),
        delta=_around(_frame(event("content_block_delta", index=0, delta=text))),
        closing=closing,
        with_usage=closing,
    )


CHAT = chat_shape()
MESSAGES = messages_shape()


class Connection(asyncio.Protocol):
    """One keep-alive connection: parses requests, answers them one at a time and in order."""

    def __init__(self, stats: Counter[str], loop: asyncio.AbstractEventLoop) -> None:
        self._stats = stats
        self._loop = loop
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[tuple[bytes, bytes]] = deque()
        self._transport: asyncio.Transport
        self._stream: Stream | None = None
        self._path = b""
        self._body: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A gateway connected."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._transport.set_write_buffer_limits(high=_WRITE_LIMIT)
        self._stats["connections"] += 1

    def connection_lost(self, _: Exception | None) -> None:
        """The gateway left: a stream that was open ends here and is counted as abandoned."""
        if self._stream is not None:
            self._stream.stop()
            self._stream = None
            self._stats["streams_abandoned"] += 1

    def data_received(self, data: bytes) -> None:
        """Bytes of requests."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._stats["malformed_requests"] += 1
            self._transport.close()

    def pause_writing(self) -> None:
        """The reader is behind."""
        if self._stream is not None:
            self._stream.pause()

    def resume_writing(self) -> None:
        """The reader caught up."""
        if self._stream is not None:
            self._stream.resume()

    def on_message_begin(self) -> None:
        """httptools: a request starts."""
        self._path = b""
        self._body = []

    def on_url(self, url: bytes) -> None:
        """httptools: a piece of the request's target."""
        self._path += url

    def on_body(self, body: bytes) -> None:
        """httptools: a piece of the body, already without its chunked framing."""
        self._body.append(body)

    def on_message_complete(self) -> None:
        """httptools: the request is whole."""
        if self._stream is not None:
            self._waiting.append((self._path, b"".join(self._body)))
        else:
            self._answer(self._path, b"".join(self._body))

    def _answer(self, path: bytes, body: bytes) -> None:
        path = path.partition(b"?")[0]
        if path.endswith(b"/chat/completions"):
            self._complete(CHAT, body, "chat")
        elif path.endswith(b"/messages"):
            self._complete(MESSAGES, body, "messages")
        elif path.endswith(b"/stats"):
            self._send_json(200, dict(self._stats))
        elif path.endswith(b"/models"):
            models = [
                {"id": name, "object": "model", "owned_by": "bench"}
                for name in ("gpt-4o-mini", "claude-sonnet-4-5")
            ]
            self._send_json(200, {"object": "list", "data": models})
        elif path.endswith((b"/health", b"/health_generate")):
            self._send_json(200, {"status": "ok"})
        else:
            self._stats["unknown_paths"] += 1
            self._send_json(404, {"error": {"message": "no such path", "type": "not_found_error"}})

    def _complete(self, shape: Shape, body: bytes, name: str) -> None:
        order = read_order(body)
        if order is None:
            self._stats["without_order"] += 1
            self._send_json(
                400, {"error": {"message": "the prompt has no order", "type": "invalid_request_error"}}
            )
        elif b'"stream":true' in body or b'"stream": true' in body:
            self._stats[f"{name}_streams"] += 1
            closing = shape.with_usage if b'"include_usage"' in body else shape.closing
            self._stream = Stream(self, shape, order, closing)
            self._stream.start()
        else:
            self._stats[f"{name}_replies"] += 1
            before, after = shape.reply
            self._transport.write(before + mark(order.stream_id, 0) + after)

    def _send_json(self, status: int, document: object) -> None:
        body = _line(document)
        head = b"HTTP/1.1 %d Bench\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % (
            status,
            len(body),
        )
        self._transport.write(head + body)

    def write(self, data: bytes) -> None:
        """For the open stream: one write, one chunk."""
        self._transport.write(data)

    def chunk_sent(self) -> None:
        """For the open stream: count a content chunk."""
        self._stats["chunks"] += 1

    def at(self, when: float, then: "Stream") -> asyncio.TimerHandle:
        """For the open stream: its next turn, in loop time."""
        return self._loop.call_at(when, then.turn)

    def now(self) -> float:
        """Loop time, in seconds."""
        return self._loop.time()

    def stream_done(self) -> None:
        """The stream has ended well; answer what came in the meantime."""
        self._stream = None
        self._stats["streams_completed"] += 1
        while self._waiting and self._stream is None:
            self._answer(*self._waiting.popleft())


class Stream:
    """One answer at a steady rate. Late chunks go one by one, never merged: each costs its full price."""

    __slots__ = ("_closing", "_connection", "_order", "_paused", "_sequence", "_shape", "_started", "_timer")

    def __init__(self, connection: Connection, shape: Shape, order: Order, closing: bytes) -> None:
        self._connection = connection
        self._shape = shape
        self._order = order
        self._closing = closing
        self._sequence = 0
        self._started = connection.now()
        self._timer: asyncio.TimerHandle | None = None
        self._paused = False

    def start(self) -> None:
        """Send the head at once and the chunks from now on."""
        self._connection.write(_STREAM_HEAD + self._shape.opening)
        self._schedule()

    def stop(self) -> None:
        """The reader is gone."""
        self._paused = True
        if self._timer is not None:
            self._timer.cancel()

    def pause(self) -> None:
        """Hold the next chunk until `resume`."""
        self._paused = True

    def resume(self) -> None:
        """Go on where `pause` stopped."""
        if self._paused:
            self._paused = False
            if self._timer is None:
                self._schedule()

    def turn(self) -> None:
        """Send what is due: one chunk, or the end."""
        self._timer = None
        if self._paused:
            return
        if self._sequence >= self._order.chunks:
            self._connection.write(self._closing)
            self._connection.stream_done()
            return
        before, after = self._shape.delta
        self._connection.chunk_sent()
        sequence, self._sequence = self._sequence, self._sequence + 1
        self._connection.write(before + mark(self._order.stream_id, sequence) + after)
        if not self._paused:
            self._schedule()

    def _schedule(self) -> None:
        rate = self._order.rate
        due = self._started + self._sequence / rate if rate else 0.0
        self._timer = self._connection.at(due, self)


async def serve(port: int) -> None:
    """Listen on loopback until SIGTERM or SIGINT; prints the port once listening."""
    loop = asyncio.get_running_loop()
    stats: Counter[str] = Counter()
    server = await loop.create_server(lambda: Connection(stats, loop), "127.0.0.1", port, backlog=2048)
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    print(server.sockets[0].getsockname()[1], flush=True)
    await stopped.wait()
    server.close()


def main(arguments: list[str]) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.mock_upstream", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 (the default) takes a free one")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(parser.parse_args(arguments).port))


if __name__ == "__main__":
    main(sys.argv[1:])
