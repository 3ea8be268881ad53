"""The load tools: closed-loop requests and paced streams over raw connections, every answer checked."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from time import perf_counter

from bench.client import ENDS, GRACE_SECONDS, Exchange, Target, connect
from bench.marks import Order, StreamCheck, reply_fault

_RETRY_SECONDS = 0.02  # pause before a new connection after a fault, so that a dead server is not hammered
_CUT = "cut by the bench"
_stream_ids = count(1)


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
    """The measured part of a run: `edge` is called at both of its ends, to read CPU counters then."""

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
            exchange = self._exchange = await connect(self._target.port)
        except OSError as error:
            return f"no connection: {error.strerror}"
        exchange.on_data = self._pieces.append
        exchange.on_end = partial(self._ended, exchange)
        exchange.on_fault = self._finish
        self._finished = asyncio.get_running_loop().create_future()
        self._next(exchange)
        return await self._finished

    def give_up(self) -> None:
        """End now: an answer that is still missing is a fault."""
        if self._exchange is not None:
            self._exchange.close()
        self._finish("no reply in time")

    def _finish(self, fault: str) -> None:
        if self._finished is not None and not self._finished.done():
            self._finished.set_result(fault)

    def _next(self, exchange: Exchange) -> None:
        self._order = Order(next(_stream_ids))
        self._pieces.clear()
        request = self._target.request(self._order, stream=False)
        self._sent = perf_counter()
        exchange.send(request)

    def _ended(self, exchange: Exchange) -> None:
        now = perf_counter()
        fault = reply_fault(self._order, b"".join(self._pieces))
        if fault:
            self._tally.faults[fault] += 1
        elif self._window.open:
            self._tally.done += 1
            self._tally.latencies.append(now - self._sent)
        if exchange.usable and not self._window.over:
            self._next(exchange)
        else:
            exchange.close()
            self._finish("")


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

    streams_ended: int = 0
    silent: int = 0


class _Reader:
    """One stream, read to its end or until the bench cuts it."""

    def __init__(self, target: Target, order: Order, window: Window, tally: StreamTally) -> None:
        self._target = target
        self._order = order
        self._window = window
        self._tally = tally
        self._check = StreamCheck(order, ENDS[target.dialect])
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
            self._tally.silent += 1
        self._tally.faults.update(self._check.faults)

    def cut(self) -> None:
        """Leave now. Being slow is no fault by itself: the rate says it."""
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


def _spread(total: int, rate: int) -> Iterator[float]:
    """Start times over one chunk interval, so that not all streams' chunks fall due in the same moment."""
    return (index / (total * rate) for index in range(total))


async def paced_streams(
    target: Target, streams: int, rate: int, window: Window, warm: float = 1.0
) -> StreamTally:
    """`streams` open at once, each sent `rate` chunks a second by the mock, for the warm-up and the window.

    Streams that have not ended GRACE_SECONDS / 5 after the window are cut: a gateway that is too slow shows
    in `done`, and in `silent` if not one chunk of a stream came through.
    """
    tally = StreamTally()
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
