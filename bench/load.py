"""The load tools: closed-loop requests and paced streams over raw keep-alive connections, every answer checked."""

import asyncio
import json
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from time import perf_counter
from typing import Literal, cast

import httptools

from bench.marks import Order, StreamCheck, reply_fault

Dialect = Literal["chat", "messages"]
GRACE_SECONDS = 10.0  # how long an answer that is under way at the end of a run may still take before it counts as none
_RETRY_SECONDS = 0.02  # pause before a new connection after a fault, so that a dead server is not hammered
_PROMPT_BYTES = 750  # a short conversation's request; the same for all contenders
_PATHS: dict[Dialect, str] = {"chat": "/v1/chat/completions", "messages": "/v1/messages"}
_ENDS: dict[Dialect, bytes] = {"chat": b"[DONE]", "messages": b'"message_stop"'}
_stream_ids = count(1)


@dataclass(frozen=True, slots=True)
class Target:
    """Where the load goes: a port on loopback and what a request to it must carry."""

    port: int
    model: str
    headers: tuple[tuple[str, str], ...] = ()
    dialect: Dialect = "chat"

    def request(self, order: Order, *, stream: bool) -> bytes:
        """One HTTP/1.1 request as bytes."""
        before, after = _around(self, order.chunks, order.rate, stream=stream)
        return b"%b%b%b" % (before, order.text().encode(), after)


@cache
def _around(target: Target, chunks: int, rate: int, *, stream: bool) -> tuple[bytes, bytes]:
    """What surrounds the order in a request, made once: building it per request would make the load tool dearer."""
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
        f"POST {_PATHS[target.dialect]} HTTP/1.1",
        f"host: 127.0.0.1:{target.port}",
        "content-type: application/json",
        f"content-length: {len(body)}",
        *(f"{name}: {value}" for name, value in target.headers),
    ]
    before, after = ("\r\n".join(lines).encode() + b"\r\n\r\n" + body).split(order.encode())
    return before, after


class Exchange(asyncio.Protocol):
    """One connection that carries one request at a time. Owners set `on_data`, `on_end` and `on_fault`.

    `on_data(bytes)` gets each piece of a 200's body, `on_end()` a whole 200, `on_fault(name)` whatever else happened
    instead: another status, a malformed reply, a connection that closed in the middle. After a fault it is closed.
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
        assert self._transport is not None
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

    def connection_lost(self, exc: Exception | None) -> None:
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
    check = StreamCheck(order, _ENDS[target.dialect])
    check.feed(body)
    check.close(complete=True)
    return list(check.faults), body


@dataclass(slots=True)
class Tally:
    """What a run saw inside its window. `latencies` in seconds; `faults` by name, of the whole run."""

    seconds: float = 0.0
    done: int = 0
    latencies: list[float] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)

    def quantile(self, share: float) -> float:
        """The latency that `share` of the answers did not exceed, in seconds; NaN without any."""
        if not self.latencies:
            return float("nan")
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class Window:
    """The measured part of a run: `opened` and `closed` are called at its edges, in the moment, to read CPU counters."""

    def __init__(self, seconds: float, warm: float, edge: Callable[[], None] | None = None) -> None:
        self.seconds = seconds
        self.open = False
        self.over = False
        self._warm = warm
        self._edge = edge
        self.measured = 0.0

    async def run(self) -> None:
        """Warm up, measure, end; `measured` is the window's real length in seconds."""
        await asyncio.sleep(self._warm)
        if self._edge is not None:
            self._edge()
        began = perf_counter()
        self.open = True
        await asyncio.sleep(self.seconds)
        self.open = False
        self.measured = perf_counter() - began
        if self._edge is not None:
            self._edge()
        self.over = True


class _Worker:
    """One connection of a closed loop: as soon as an answer is whole, the next request goes out."""

    def __init__(self, target: Target, window: Window, tally: Tally) -> None:
        self._target = target
        self._window = window
        self._tally = tally
        self._exchange: Exchange | None = None
        self._order = Order(0)
        self._pieces: list[bytes] = []
        self._sent = 0.0
        self._finished: asyncio.Future[str] | None = None

    async def run(self) -> None:
        """Until the window is over; a broken connection is counted and replaced."""
        while not self._window.over:
            fault = await self._connection()
            if fault:
                self._tally.faults[fault] += 1
                await asyncio.sleep(_RETRY_SECONDS)

    async def _connection(self) -> str:
        """Use one connection until it ends; returns the fault that ended it, or nothing."""
        try:
            self._exchange = await connect(self._target.port)
        except OSError as error:
            return f"no connection: {error.strerror}"
        self._exchange.on_data = self._take
        self._exchange.on_end = self._ended
        self._exchange.on_fault = self._finish
        self._finished = asyncio.get_running_loop().create_future()
        self._next()
        return await self._finished

    def give_up(self) -> None:
        """End now: an answer that is still missing is a fault."""
        if self._exchange is not None:
            self._exchange.close()
        self._finish("no reply in time")

    def _finish(self, fault: str) -> None:
        if self._finished is not None and not self._finished.done():
            self._finished.set_result(fault)

    def _take(self, data: bytes) -> None:
        self._pieces.append(data)

    def _next(self) -> None:
        assert self._exchange is not None
        self._order = Order(next(_stream_ids))
        self._pieces.clear()
        request = self._target.request(self._order, stream=False)
        self._sent = perf_counter()
        self._exchange.send(request)

    def _ended(self) -> None:
        assert self._exchange is not None
        now = perf_counter()
        fault = reply_fault(self._order, b"".join(self._pieces))
        if fault:
            self._tally.faults[fault] += 1
        elif self._window.open:
            self._tally.done += 1
            self._tally.latencies.append(now - self._sent)
        if self._window.over or not self._exchange.usable:
            if self._exchange.usable:
                self._exchange.close()
            self._finish("")
        else:
            self._next()


async def closed_loop(target: Target, connections: int, window: Window) -> Tally:
    """`connections` clients, each with one request under way at any time, through the window."""
    tally = Tally()
    workers = [_Worker(target, window, tally) for _ in range(connections)]
    tasks = [asyncio.create_task(worker.run()) for worker in workers]
    try:
        await window.run()
        await asyncio.wait(tasks, timeout=GRACE_SECONDS)
        for worker, task in zip(workers, tasks, strict=True):
            if not task.done():
                worker.give_up()
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
    tally.seconds = window.measured
    return tally


@dataclass(slots=True)
class StreamTally(Tally):
    """As Tally, with `done` counting chunks and `latencies` the time from sending to the first chunk."""

    offered: float = 0.0
    streams_ended: int = 0


class _Reader:
    """One stream, read to its end or until the bench cuts it."""

    def __init__(self, target: Target, order: Order, window: Window, tally: StreamTally) -> None:
        self._target = target
        self._order = order
        self._window = window
        self._tally = tally
        self._check = StreamCheck(order, _ENDS[target.dialect])
        self._first = 0.0
        self._sent = 0.0
        self._ended: asyncio.Future[str]

    async def run(self) -> None:
        """Open, read, and count what was wrong."""
        self._ended = asyncio.get_running_loop().create_future()
        try:
            exchange = await connect(self._target.port)
        except OSError as error:
            self._tally.faults[f"no connection: {error.strerror}"] += 1
            return
        exchange.on_data = self._take
        exchange.on_end = lambda: self._set("")
        exchange.on_fault = self._set
        self._sent = perf_counter()
        exchange.send(self._target.request(self._order, stream=True))
        try:
            fault = await self._ended
        finally:
            exchange.close()
        self._check.close(complete=not fault)
        if not fault:
            self._tally.streams_ended += 1
        elif fault != _CUT:
            self._tally.faults[fault] += 1
        elif not self._first:
            self._tally.faults["no first chunk in time"] += 1
        self._tally.faults.update(self._check.faults)

    def cut(self) -> None:
        """Leave now. Being slow is no fault by itself: the rate says it. Not one chunk is."""
        self._set(_CUT)

    def _set(self, fault: str) -> None:
        if not self._ended.done():
            self._ended.set_result(fault)

    def _take(self, data: bytes) -> None:
        good = self._check.feed(data)
        if not good:
            return
        if not self._first:
            self._first = perf_counter()
            self._tally.latencies.append(self._first - self._sent)
        if self._window.open:
            self._tally.done += good


_CUT = "cut by the bench"


def _spread(total: int, rate: int) -> Iterator[float]:
    """Start times over one chunk interval, so that the streams' chunks do not all fall due in the same moment."""
    return (index / (total * rate) for index in range(total))


async def paced_streams(target: Target, streams: int, rate: int, window: Window, warm: float = 1.0) -> StreamTally:
    """`streams` open at once, each sent `rate` chunks a second by the mock, for the window's length and its warm-up.

    Streams that have not ended GRACE_SECONDS / 5 after the window are cut: a gateway that is too slow shows in `done`.
    """
    tally = StreamTally(offered=float(streams * rate))
    chunks = int(rate * (window.seconds + warm))
    readers = [_Reader(target, Order(next(_stream_ids), chunks, rate), window, tally) for _ in range(streams)]
    tasks: list[asyncio.Task[None]] = []
    measuring = asyncio.create_task(window.run())
    try:
        began = perf_counter()
        for reader, start in zip(readers, _spread(streams, rate), strict=True):
            await asyncio.sleep(max(0.0, start - (perf_counter() - began)))
            tasks.append(asyncio.create_task(reader.run()))
        await measuring
        await asyncio.wait(tasks, timeout=GRACE_SECONDS / 5)
        for reader, task in zip(readers, tasks, strict=True):
            if not task.done():
                reader.cut()
        await asyncio.gather(*tasks)
    finally:
        measuring.cancel()
        for task in tasks:
            task.cancel()
    tally.seconds = window.measured
    return tally
