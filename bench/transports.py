"""Our transport beside httpx's own: requests per second, CPU, and what is left after clients that leave.

Run as ``python -m bench.transports``. Each is driven the way the gateway drives it (HttpTransport over an
httpx.AsyncBaseTransport), in a process of its own on one core, against the mock upstream on another. What
counts are the ratios within one run. Another candidate is a row in CANDIDATES; those that were measured and
refused are in docs/decisions/0001-upstream-transport.md.
"""

import argparse
import asyncio
import contextlib
import json
import logging
import os
import random
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import asdict, dataclass

import httpx
import uvloop

from bench.marks import Order, reply_fault
from bench.processes import Cores, pinned
from providers.transport import HttpTransport
from providers.wire import Transport, UpstreamError, UpstreamRequest, UpstreamResponse

SECONDS = 4.0  # of each measurement, after a quarter as much of warming up
STREAMS = 32
RATE = 50  # chunks a second of each stream
CHURNERS = 200  # clients that leave within LEAVE seconds, at any point of a stream
LEAVE = 0.15
TRIALS = 20  # requests after that, one second for each


# httpx's own gets what is best for speed, and for churn a pool of the size at which a jam would show.
_NO_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=None)
_FEW = httpx.Limits(max_connections=10, max_keepalive_connections=10)


def _httpcore(limits: httpx.Limits) -> Transport:
    return HttpTransport(httpx.AsyncHTTPTransport(trust_env=False, limits=limits))


@dataclass(frozen=True, slots=True)
class Candidate:
    """A transport by its two makers: for speed, and for churn."""

    label: str
    fast: Callable[[], Transport]
    churned: Callable[[], Transport]


CANDIDATES: dict[str, Candidate] = {
    "pooled": Candidate("our pool (httptools)", HttpTransport, HttpTransport),
    "httpcore": Candidate("httpx's own (httpcore)", lambda: _httpcore(_NO_LIMITS), lambda: _httpcore(_FEW)),
}


@dataclass(frozen=True, slots=True)
class Result:
    """One candidate's figures: requests a second, CPU in microseconds, answers that were wrong, and how many
    of TRIALS requests were served after the churn."""

    rate_64: float
    cpu_64: float
    rate_256: float
    cpu_256: float
    cpu_chunk: float
    faults: int
    served: int


class Load:
    """One candidate under load."""

    def __init__(self, transport: Transport, port: int) -> None:
        self._transport = transport
        self._url = f"http://127.0.0.1:{port}/v1/chat/completions"
        self._next = 0
        self.done = 0
        self.faults = 0

    def _request(self, order: Order, *, stream: bool) -> UpstreamRequest:
        content = order.text() + " " + "x" * 560
        body = {"model": "gpt-4o-mini", "stream": stream, "messages": [{"role": "user", "content": content}]}
        return UpstreamRequest(
            method="POST",
            url=self._url,
            headers={
                "content-type": "application/json",
                "accept": "text/event-stream" if stream else "application/json",
                "accept-encoding": "identity",
                "authorization": "Bearer sk-bench",
            },
            body=json.dumps(body, separators=(",", ":")).encode(),
            connect=5.0,
            first_byte=60.0,
            idle=60.0,
            allow_private=True,
        )

    async def ask(self) -> None:
        """Whole answers, one after the other, for ever."""
        while True:
            order = Order(self._next)
            self.faults += reply_fault(order, await self._whole(order)) is not None
            self.done += 1

    async def listen(self) -> None:
        """One endless stream."""
        self._next += 1
        order = Order(self._next, chunks=1_000_000, rate=RATE)
        answer: UpstreamResponse = await self._transport.send(self._request(order, stream=True))
        async for piece in answer.chunks():
            self.done += piece.count(b"data: ")

    async def measure(self, client: Callable[[], Awaitable[None]], count: int) -> tuple[float, float]:
        """`count` clients at once: what they did a second, and its CPU in microseconds each."""
        tasks = [asyncio.ensure_future(client()) for _ in range(count)]
        await asyncio.sleep(SECONDS / 4)
        done, cpu, start = self.done, time.process_time(), time.perf_counter()
        await asyncio.sleep(SECONDS)
        cpu, seconds = time.process_time() - cpu, time.perf_counter() - start
        done = self.done - done
        for task in tasks:
            task.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5):
                await asyncio.gather(*tasks, return_exceptions=True)
        return done / seconds, cpu / done * 1e6 if done else float("inf")

    async def churn(self) -> int:
        """Clients come and leave at any point; how many of the requests after that are served."""
        chance = random.Random(11)
        end = time.monotonic() + SECONDS
        churners = [asyncio.ensure_future(self._come_and_go(end, chance)) for _ in range(CHURNERS)]
        await asyncio.wait(churners, timeout=2 * SECONDS)
        served = 0
        for _ in range(TRIALS):
            with contextlib.suppress(TimeoutError, UpstreamError):
                async with asyncio.timeout(1.0):
                    await self._whole(Order(self._next))
                    served += 1
        return served

    async def _come_and_go(self, end: float, chance: random.Random) -> None:
        while time.monotonic() < end:
            with contextlib.suppress(TimeoutError, UpstreamError):
                async with asyncio.timeout(chance.uniform(0.0, LEAVE)):
                    await self._whole(Order(self._next, chunks=20, rate=RATE), stream=True)

    async def _whole(self, order: Order, *, stream: bool = False) -> bytes:
        self._next += 1
        answer = await self._transport.send(self._request(order, stream=stream))
        try:
            self.faults += answer.status != 200
            return await answer.read(1 << 20)
        finally:
            await answer.aclose()


async def _measure(name: str, port: int) -> Result:
    figures: list[float] = []
    faults = 0
    for clients, streams in ((64, False), (256, False), (STREAMS, True)):
        transport = CANDIDATES[name].fast()
        load = Load(transport, port)
        figures += await load.measure(load.listen if streams else load.ask, clients)
        faults += load.faults
        await transport.aclose()
    transport = CANDIDATES[name].churned()
    served = await Load(transport, port).churn()
    await transport.aclose()
    rate_64, cpu_64, rate_256, cpu_256, _, cpu_chunk = figures
    return Result(rate_64, cpu_64, rate_256, cpu_256, cpu_chunk, faults, served)


@contextlib.contextmanager
def _mock(core: int | None) -> Iterator[int]:
    with pinned(core):
        process = subprocess.Popen([sys.executable, "-m", "bench.mock_upstream"], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None  # noqa: S101 - asked for above
        yield int(process.stdout.readline())
    finally:
        process.terminate()
        process.wait()


def _run(name: str, port: int, core: int | None) -> Result:
    with pinned(core):
        output = subprocess.run(
            [sys.executable, "-m", "bench.transports", "--candidate", name, "--port", str(port)],
            stdout=subprocess.PIPE,
            check=True,
        ).stdout
    return Result(**json.loads(output))


def main(arguments: list[str]) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.transports", description=__doc__)
    parser.add_argument("--only", nargs="*", choices=list(CANDIDATES), default=list(CANDIDATES))
    parser.add_argument("--candidate", choices=list(CANDIDATES), help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.candidate:
        logging.disable(logging.CRITICAL)  # what a candidate says when it is torn down is not measured
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            print(json.dumps(asdict(runner.run(_measure(options.candidate, options.port)))), flush=True)
        os._exit(0)  # a jammed pool is not waited for
    cores = Cores.choose()
    print("| behind the interface | req/s c=64 | CPU µs | req/s c=256 | CPU µs | CPU µs per chunk ", end="")
    print(f"| faults | served after churn, of {TRIALS} |")
    print("|---|---|---|---|---|---|---|---|")
    for name in options.only:
        with _mock(cores.load) as port:
            got = _run(name, port, cores.gateway)
        print(
            f"| {CANDIDATES[name].label} | {got.rate_64:,.0f} | {got.cpu_64:,.0f} | {got.rate_256:,.0f} "
            f"| {got.cpu_256:,.0f} | {got.cpu_chunk:,.0f} | {got.faults} | {got.served} |",
            flush=True,
        )


if __name__ == "__main__":
    main(sys.argv[1:])
