"""One connection to an upstream: writes a request, parses the answer, and tells exactly how it broke."""

from __future__ import annotations

import asyncio
import select
from typing import Protocol, cast

import httptools

from providers.exchange import Exchange, Headers, Limits
from providers.wire import Reason

# An answer's head beyond this is an attack or a fault: nginx and Envoy allow 32 to 60 KiB.
HEAD_LIMIT = 64 * 1024
# The size of one read, and of the buffer that all connections of a pool share for it.
SCRATCH_SIZE = 64 * 1024
# A long body is handed on in such parts, the next when the last is gone: asyncio copies what the network does
# not take at once, and an answer that comes early is heard in between.
WRITE_SIZE = 256 * 1024
# A stale keep-alive connection answers the first packet with a reset, one round trip later. When more time
# has passed the provider was at work, and sending again could be billed twice.
STALE_SECONDS = 2.0

_NOTHING = memoryview(b"")


class Owner(Protocol):
    """What a connection needs of its pool."""

    scratch: memoryview

    def release(self, connection: Connection) -> None:
        """The connection can serve another request."""
        ...

    def forget(self, connection: Connection) -> None:
        """The connection is gone."""
        ...


class Connection(asyncio.BufferedProtocol):
    """One HTTP/1.1 connection, one exchange at a time. The parser is llhttp, by way of httptools."""

    def __init__(self, owner: Owner, key: object) -> None:
        self.key = key
        self.idle_since = 0.0
        self._rest = _NOTHING  # what of the request is still to be handed to the network
        self._flushed = True  # the network has taken all that it was handed
        self._more = False  # the request's body is still to come, by `put`
        self._writer: asyncio.Future[None] | None = None  # who waits until it is flushed
        self._owner = owner
        self._exchange: Exchange | None = None
        self._served = 0
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._begin()

    def _begin(self) -> None:
        """Ready for the next answer."""
        self._headers: Headers = []
        self._head_size = 0
        self._quiet_size = 0  # bytes received since the last of the body, or since the start
        self._heard = False
        self._in_head = True
        self._framed = False
        self._complete = False
        self._surplus = False
        self._reusable = False
        self._fault: tuple[Reason, str] | None = None

    # -- for the pool

    @property
    def usable(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    @property
    def all_sent(self) -> bool:
        """False while a part of the request still waits to be written."""
        return self._flushed and not self._rest and not self._more

    def send(self, head: bytes, body: bytes, limits: Limits) -> Exchange:
        """Write a request; the answer, or the failure, comes to the exchange."""
        exchange = Exchange(self, limits)
        if self._transport is None:
            exchange.fail("reset", "the connection closed before the request", sent=False)
            return exchange
        self._exchange = exchange
        self._served += 1
        if len(body) <= WRITE_SIZE:
            self._transport.write(head + body)
        else:
            self._transport.write(head)
            self._rest = memoryview(body)
            self._write_more()
        return exchange

    def begin(self, head: bytes, limits: Limits) -> Exchange:
        """Write the head of a request whose body follows by `put`, and ends with `complete`."""
        self._more = True
        return self.send(head, b"", limits)

    async def put(self, data: bytes) -> bool:
        """Write a piece of the body, and wait until the network has taken it. False: no more is wanted,
        because an answer has begun or the connection is gone."""
        if self._has_word():
            await asyncio.sleep(0)
        exchange = self._exchange
        if exchange is None or self._transport is None or not self._wanted():
            return False
        exchange.postpone()
        self._transport.write(data)
        while self._wanted() and not self._flushed:
            self._writer = asyncio.get_running_loop().create_future()
            try:
                await self._writer
            finally:
                self._writer = None
        return self._wanted()

    def complete(self, last: bytes) -> None:
        """The body is over; `last` is what ends it."""
        self._more = False
        if self._exchange is not None and self._transport is not None:
            self._exchange.postpone()
            self._transport.write(last)

    def _wanted(self) -> bool:
        return self._exchange is not None and not self._exchange.status and self.usable

    def _let_go(self) -> None:
        """Whoever waits to write looks again."""
        if self._writer is not None and not self._writer.done():
            self._writer.set_result(None)

    def abandon(self) -> None:
        """Close at once, without another word, whatever is under way."""
        self._exchange = None
        self._rest = _NOTHING
        self._let_go()
        if self._transport is not None:
            self._transport.abort()

    def _write_more(self) -> None:
        while self._rest and self._flushed and self.usable:
            if self._has_word():
                asyncio.get_running_loop().call_soon(self._write_more)
                return
            part, self._rest = self._rest[:WRITE_SIZE], self._rest[WRITE_SIZE:]
            cast(asyncio.Transport, self._transport).write(part)

    def _has_word(self) -> bool:
        """Something has come that is still to be read. It may be a refusal, after which the provider closed:
        writing into that would fail, and the refusal be lost."""
        exchange, transport = self._exchange, self._transport
        if exchange is None or exchange.paused or transport is None:
            return False
        poll = select.poll()
        poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
        return bool(poll.poll(0))

    def resume(self) -> None:
        """The consumer has caught up."""
        if self._transport is not None:
            self._transport.resume_reading()

    # -- what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        # So that pause_writing and resume_writing tell whether all has been handed to the kernel. Not 0:
        # asyncio's TLS would then pause on an empty buffer.
        self._transport.set_write_buffer_limits(high=1, low=0)

    def pause_writing(self) -> None:
        self._flushed = False

    def resume_writing(self) -> None:
        self._flushed = True
        self._let_go()
        self._write_more()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's signature
        return self._owner.scratch

    def buffer_updated(self, nbytes: int) -> None:
        exchange = self._exchange
        if exchange is None:
            # Nothing was asked, so this answers nothing: the next request must not read it.
            self.abandon()
            return
        self._heard = True
        self._quiet_size += nbytes
        try:
            self._parser.feed_data(self._owner.scratch[:nbytes])
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not self._complete:
                self._break(exchange, *(self._fault or ("invalid", f"the answer is not HTTP: {error}")))
                return
            self._surplus = True
        if self._complete:
            self._finish(exchange)
        elif self._quiet_size > HEAD_LIMIT:
            self._break(exchange, "too_large", "the answer's headers are too large")
        elif exchange.progress() and self._transport is not None:
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        # Not left to asyncio, which would first write the rest of a request that nobody reads any more.
        if self._transport is not None:
            self._transport.abort()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._let_go()
        self._owner.forget(self)
        exchange, self._exchange = self._exchange, None
        if exchange is None:
            return
        cause = f": {exc}" if exc is not None else ""
        if not self._heard:
            soon = asyncio.get_running_loop().time() - exchange.started < STALE_SECONDS
            exchange.stale = self._served > 1 and soon
            exchange.fail("reset", f"the connection closed before an answer{cause}", sent=self.all_sent)
        elif self._in_head:
            exchange.fail("reset", f"the connection closed within the headers{cause}", sent=self.all_sent)
        elif exc is not None:
            exchange.fail("reset", f"the connection broke within the answer{cause}", sent=True)
        elif self._framed:
            exchange.fail("truncated", "the answer ended before its declared end", sent=True)
        else:
            exchange.end()

    # -- what the parser calls

    def on_message_begin(self) -> None:
        if self._complete:
            self._surplus = True

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head or self._complete:
            return  # a trailer, or an answer that nobody asked for
        self._head_size += len(name) + len(value)
        if self._head_size > HEAD_LIMIT:
            self._refuse("too_large", "the answer's headers are too large")
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        exchange = self._exchange
        if self._complete or exchange is None:
            return
        status = self._parser.get_status_code()
        if status == 101:
            self._refuse("invalid", "the provider switched to another protocol")
        if status < 100:
            self._refuse("invalid", "the answer has no valid status")
        if status < 200:
            self._headers = []  # an interim answer: the real one follows
            return
        for name, value in self._headers:
            if name == b"content-length":
                self._framed = True
            elif name == b"transfer-encoding":
                if value.strip().lower() != b"chunked":
                    self._refuse("invalid", "the answer has an unknown transfer-encoding")
                self._framed = True
        self._in_head = False
        exchange.status = status
        exchange.headers = self._headers
        self._let_go()

    def on_body(self, body: bytes) -> None:
        if self._exchange is not None and not self._complete:
            self._quiet_size = 0
            self._exchange.got_body(body)

    def on_message_complete(self) -> None:
        if not self._in_head and not self._complete:
            self._complete = True
            # Asked here: the parser forgets it when this call returns.
            self._reusable = self._parser.should_keep_alive()

    # -- ends

    def _refuse(self, reason: Reason, message: str) -> None:
        self._fault = (reason, message)
        raise ValueError(message)  # the parser stops, and its caller reads `_fault`

    def _break(self, exchange: Exchange, reason: Reason, message: str) -> None:
        sent = self.all_sent
        self.abandon()
        exchange.fail(reason, message, sent=sent)

    def _finish(self, exchange: Exchange) -> None:
        self._exchange = None
        exchange.end()
        if self._reusable and self.all_sent and not self._surplus and self.usable:
            self._begin()
            self._owner.release(self)
        else:
            self.abandon()
