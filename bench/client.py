"""The HTTP client of the load tools: one raw connection, one request at a time, faults by name."""

import asyncio
import json
import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Literal, cast

import httptools

from bench.marks import Order, StreamCheck, reply_fault

Dialect = Literal["chat", "messages"]
GRACE_SECONDS = (
    10.0  # how long an answer that is under way at the end of a run may still take before it counts as none
)
_PROMPT_BYTES = 750  # a short conversation's request; the same for all contenders
_PATHS: dict[Dialect, str] = {"chat": "/v1/chat/completions", "messages": "/v1/messages"}
ENDS: dict[Dialect, bytes] = {"chat": b"[DONE]", "messages": b'"message_stop"'}


@dataclass(frozen=True, slots=True)
class Target:
    """Where the load goes: a port on loopback, what a request must carry, and what stands before `/v1`."""

    port: int
    model: str
    headers: tuple[tuple[str, str], ...] = ()
    dialect: Dialect = "chat"
    prefix: str = ""

    def request(self, order: Order, *, stream: bool) -> bytes:
        """One HTTP/1.1 request as bytes."""
        before, after = _around(self, order.chunks, order.rate, stream=stream)
        return b"%b%b%b" % (before, order.text().encode(), after)


@cache
def _around(target: Target, chunks: int, rate: int, *, stream: bool) -> tuple[bytes, bytes]:
    """What surrounds the order in a request, made once: the load tool must stay cheap."""
    order = Order(0, chunks, rate).text()
    prompt = f"{order} Say something about the weather."
    user = {"role": "user", "content": prompt}
    system = ("You are a short and friendly assistant. " * 20)[: _PROMPT_BYTES - 150 - len(prompt)]
    document: dict[str, object] = {"model": target.model, "max_tokens": 400}
    if stream:
        document["stream"] = True
    if target.dialect == "messages":
        document |= {"system": system, "messages": [user]}
    else:
        document["messages"] = [{"role": "system", "content": system}, user]
    body = json.dumps(document, separators=(",", ":")).encode()
    lines = [
        f"POST {target.prefix}{_PATHS[target.dialect]} HTTP/1.1",
        f"host: 127.0.0.1:{target.port}",
        "content-type: application/json",
        f"content-length: {len(body)}",
        *(f"{name}: {value}" for name, value in target.headers),
    ]
    before, after = ("\r\n".join(lines).encode() + b"\r\n\r\n" + body).split(order.encode())
    return before, after


class Exchange(asyncio.Protocol):
    """One connection that carries one request at a time. Owners set `on_data`, `on_end` and `on_fault`.

    `on_data(bytes)` gets each piece of a 200's body, `on_end()` a whole 200, `on_fault(name)` whatever else
    happened instead: another status, a malformed reply, a connection that closed in the middle. After a fault
    it is closed.
    """

    def __init__(self) -> None:
        self.on_data: Callable[[bytes], None]
        self.on_end: Callable[[], None]
        self.on_fault: Callable[[str], None]
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpResponseParser
        self._active = False
        self._status = 0
        self._refusal = b""

    @property
    def usable(self) -> bool:
        """Whether another request can be sent on it."""
        return self._transport is not None and not self._active

    def send(self, request: bytes) -> None:
        """Start the next request; only when `usable`."""
        if self._transport is None or self._active:
            raise RuntimeError("a request is under way or the connection is closed")
        self._active = True
        self._status = 0
        self._refusal = b""
        self._transport.write(request)

    def close(self) -> None:
        """Leave, in the middle of an answer too; nothing is called any more."""
        self._active = False
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected."""
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        self._parser = httptools.HttpResponseParser(self)

    def connection_lost(self, _: Exception | None) -> None:
        """The server left."""
        self._transport = None
        if self._active:
            self._fail("closed in the middle of a reply" if self._status else "closed without a reply")

    def data_received(self, data: bytes) -> None:
        """Bytes of a reply."""
        if not self._active:
            self.close()
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._fail("malformed reply")

    def on_headers_complete(self) -> None:
        """httptools: status line and headers are in."""
        self._status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        """httptools: a piece of the body, already without its chunked framing."""
        if self._status == 200:
            self.on_data(body)
        elif len(self._refusal) < 200:
            self._refusal += body

    def on_message_complete(self) -> None:
        """httptools: the reply is whole."""
        if not self._active:
            return
        if self._status != 200:
            words = self._refusal[:120].decode("utf-8", "replace").replace("\n", " ")
            self._fail(f"status {self._status}: {words}")
            return
        self._active = False
        if not self._parser.should_keep_alive():
            self.close()
        self.on_end()

    def _fail(self, name: str) -> None:
        self.close()
        self.on_fault(name)


async def connect(port: int) -> Exchange:
    """A new connection; raises OSError."""
    loop = asyncio.get_running_loop()
    _, exchange = await loop.create_connection(Exchange, "127.0.0.1", port)
    return exchange


async def one(target: Target, order: Order, *, stream: bool) -> tuple[list[str], bytes]:
    """One request on a connection of its own: what was wrong with its answer, and the body as it came."""
    try:
        exchange = await connect(target.port)
    except OSError as error:
        return [f"no connection: {error.strerror}"], b""
    ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    pieces: list[bytes] = []
    exchange.on_data = pieces.append
    exchange.on_end = lambda: ended.set_result("")
    exchange.on_fault = ended.set_result
    exchange.send(target.request(order, stream=stream))
    try:
        fault = await asyncio.wait_for(ended, GRACE_SECONDS)
    except TimeoutError:
        fault = "no whole reply in time"
    finally:
        exchange.close()
    body = b"".join(pieces)
    if fault:
        return [fault], body
    if not stream:
        wrong = reply_fault(order, body)
        return ([wrong] if wrong else []), body
    check = StreamCheck(order, ENDS[target.dialect])
    check.feed(body)
    check.close(complete=True)
    return list(check.faults), body
