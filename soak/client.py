"""A client of the load bar: one request on a connection of its own, whose answer is checked mark by mark."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any, cast

import httptools

from bench.marks import Order, StreamCheck, reply_fault

# No request of the load bar takes longer, whatever the machine is busy with; beyond it something hangs.
PATIENCE = 120.0
_numbers = count(1)


@dataclass(slots=True)
class Seen:
    """What became of a request. Times on the monotonic clock, 0.0: did not happen. `broken`: the connection
    ended before the answer did, or there was none."""

    order: Order
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    began: float = 0.0
    first: float = 0.0
    ended: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    broken: bool = False
    data: bytes = b""

    @property
    def good(self) -> bool:
        """A whole answer, with every mark in its place."""
        return self.status == 200 and not self.broken and not self.faults

    @property
    def refused(self) -> bool:
        """A refusal that says when to come again."""
        return self.status in (429, 503) and not self.broken and "retry-after" in self.headers

    @property
    def seconds(self) -> float:
        return self.ended - self.began


class Caller(asyncio.Protocol):
    """One connection. `done` is set when the answer is whole, or broken."""

    def __init__(self, order: Order, *, stream: bool, keep: bool) -> None:
        self.seen = Seen(order)
        loop = asyncio.get_running_loop()
        self.done: asyncio.Future[Seen] = loop.create_future()
        self.begun: asyncio.Future[Seen] = loop.create_future()
        self.transport: asyncio.Transport
        self._check = StreamCheck(order, b"[DONE]") if stream else None
        self._keep = keep or not stream
        self._pieces: list[bytes] = []
        self._parser = httptools.HttpResponseParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected."""
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance

    def connection_lost(self, _: Exception | None) -> None:
        """The gateway closed it, or this client did."""
        self._end(broken=True)

    def data_received(self, data: bytes) -> None:
        """Bytes of the answer."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.transport.abort()

    def on_header(self, name: bytes, value: bytes) -> None:
        """httptools: a header."""
        self.seen.headers[name.decode().lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """httptools: status and headers are in."""
        self.seen.status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        """httptools: a piece of the body."""
        if not self.seen.first:
            self.seen.first = time.monotonic()
        if not self.begun.done():
            self.begun.set_result(self.seen)
        if self._check is not None and self.seen.status == 200:
            self._check.feed(body)
        if self._keep or self.seen.status != 200:
            self._pieces.append(body)

    def on_message_complete(self) -> None:
        """httptools: the answer is whole."""
        self._end(broken=False)
        self.transport.close()

    def _end(self, *, broken: bool) -> None:
        if self.done.done():
            return
        seen = self.seen
        seen.ended, seen.broken, seen.data = time.monotonic(), broken, b"".join(self._pieces)
        if seen.status == 200 and self._check is not None:
            self._check.close(complete=not broken)
            seen.faults = self._check.faults
        elif seen.status == 200 and not broken:
            wrong = reply_fault(seen.order, seen.data)
            seen.faults = Counter([wrong] if wrong else [])
        for waiting in (self.begun, self.done):
            if not waiting.done():
                waiting.set_result(seen)


@dataclass(frozen=True, slots=True)
class Ask:
    """What to send. `fault` is for the upstream; `padding` bytes make the prompt longer."""

    stream: bool = True
    chunks: int = 5
    rate: int = 0
    fault: str = ""
    padding: int = 0
    keep: bool = False


def request(ask: Ask, order: Order, key: str) -> bytes:
    """A request for a chat completion, as bytes."""
    prompt = order.text() + (f" fault:{ask.fault}" if ask.fault else "") + "x" * ask.padding
    document: dict[str, Any] = {
        "model": "gpt-4o-mini",
        "max_tokens": 100,
        "messages": [{"role": "user", "content": prompt}],
    }
    if ask.stream:
        document["stream"] = True
    body = json.dumps(document, separators=(",", ":")).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nhost: soak.test\r\ncontent-type: application/json\r\n"
        f"authorization: Bearer {key}\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def begin(port: int, key: str, ask: Ask) -> Caller:
    """A request that has been sent. Raises OSError where nobody listens."""
    order = Order(next(_numbers), ask.chunks if ask.stream else 1, ask.rate)

    def make() -> Caller:
        return Caller(order, stream=ask.stream, keep=ask.keep)

    # One address has 28,000 ports, which a flood of new connections uses up; all of 127/8 is this machine's.
    source = f"127.0.0.{2 + order.stream_id % 200}" if sys.platform == "linux" else "127.0.0.1"
    _, caller = await asyncio.get_running_loop().create_connection(
        make, "127.0.0.1", port, local_addr=(source, 0)
    )
    caller.seen.began = time.monotonic()
    caller.transport.write(request(ask, order, key))
    return caller


async def call(port: int, key: str, ask: Ask) -> Seen:
    """One request and its answer. What cannot be connected is an answer that is broken."""
    try:
        caller = await begin(port, key, ask)
    except OSError:
        now = time.monotonic()
        return Seen(Order(0), began=now, ended=now, broken=True)
    try:
        return await asyncio.wait_for(caller.done, PATIENCE)
    except TimeoutError:
        caller.seen.faults["hung"] += 1
        return caller.seen
    finally:
        caller.transport.abort()


async def together(clients: int, calls: int, one: Callable[[], Any]) -> list[Seen]:
    """`clients` at once, each with `calls` after another."""

    async def client() -> list[Seen]:
        return [await one() for _ in range(calls)]

    return [seen for each in await asyncio.gather(*(client() for _ in range(clients))) for seen in each]


async def for_a_while(clients: int, seconds: float, one: Callable[[], Any]) -> list[Seen]:
    """`clients` at once, each with one call after another for so long."""
    end = time.monotonic() + seconds

    async def client() -> list[Seen]:
        found = []
        while time.monotonic() < end:
            found.append(await one())
        return found

    return [seen for each in await asyncio.gather(*(client() for _ in range(clients))) for seen in each]


def quantile(seconds: list[float], share: float) -> float:
    """In milliseconds; NaN without any."""
    if not seconds:
        return float("nan")
    ordered = sorted(seconds)
    return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]
