"""Which transport should stand behind httpx's interface: requests per second and CPU of each candidate.

Run as ``python -m bench.transports``. Every candidate is driven the way the gateway drives it (HttpTransport
over an httpx.AsyncBaseTransport), in a process of its own on one core, against the mock upstream on another.
What counts are the ratios within one run. The first row uses our pool without httpx's objects: the price of
the interface is the difference to the second.
"""

import argparse
import asyncio
import contextlib
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import asdict, dataclass

import aiohttp
import httpx
import httpx_aiohttp
import pyqwest
import uvloop
import yarl

from bench.marks import Order, reply_fault
from bench.processes import Cores, pinned
from providers.pool import Key
from providers.transport import HttpTransport, PooledTransport
from providers.wire import Transport, UpstreamRequest, UpstreamResponse

SECONDS = 4.0  # of each measurement, after a quarter as much of warming up
STREAMS = 32
RATE = 50  # chunks a second of each stream


class AiohttpTransport(httpx.AsyncBaseTransport):
    """The least that can stand between httpx's interface and aiohttp's client."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None
        self._urls: dict[int, yarl.URL] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send it."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=60),
            )
        url = self._urls.get(id(request.url))
        if url is None:
            url = self._urls[id(request.url)] = yarl.URL(str(request.url), encoded=True)
        headers = {name.decode(): value.decode() for name, value in request.headers.raw}
        answer = await self._session.request(
            request.method, url, headers=headers, data=await request.aread(), allow_redirects=False
        )
        return httpx.Response(answer.status, headers=list(answer.raw_headers), stream=_AiohttpBody(answer))

    async def aclose(self) -> None:
        """Close the session."""
        if self._session is not None:
            await self._session.close()


class _AiohttpBody(httpx.AsyncByteStream):
    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self._answer = answer

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        piece = await self._answer.content.readany()
        if not piece:
            raise StopAsyncIteration
        return piece

    async def aclose(self) -> None:
        self._answer.close()


class PyqwestTransport(httpx.AsyncBaseTransport):
    """The least between httpx's interface and pyqwest; its own adapter needs h2 and costs more."""

    def __init__(self) -> None:
        self._client = pyqwest.HTTPTransport(follow_redirects=False, enable_otel=False)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send it."""
        headers = pyqwest.Headers([(name.decode(), value.decode()) for name, value in request.headers.raw])
        answer = await self._client.execute(
            pyqwest.Request(request.method, str(request.url), headers=headers, content=await request.aread())
        )
        pairs = [(name.encode(), value.encode()) for name, value in answer.headers.items()]
        return httpx.Response(answer.status, headers=pairs, stream=_PyqwestBody(answer))


class _PyqwestBody(httpx.AsyncByteStream):
    def __init__(self, answer: pyqwest.Response) -> None:
        self._pieces = aiter(answer.content)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        return bytes(await anext(self._pieces))

    async def aclose(self) -> None:
        """Nothing: the bench reads every body to its end."""


class BareTransport:
    """Our pool without httpx's Request and Response."""

    def __init__(self) -> None:
        self._pool = PooledTransport().pool

    async def send(self, request: UpstreamRequest) -> "BareResponse":
        """Send it, headers and target as they would be made."""
        host, _, path = request.url.removeprefix("http://").partition("/")
        name, _, port = host.partition(":")
        key = Key(tls=False, host=name, port=int(port), allow_private=True)
        pairs = [("host", host), ("content-length", str(len(request.body))), *request.headers.items()]
        lines = [f"{request.method} /{path} HTTP/1.1", *(f"{name}: {value}" for name, value in pairs)]
        head = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"
        connection = self._pool.take(key) or await self._pool.connect(key, request.connect)
        exchange = connection.send(head, request.body, (request.first_byte, request.idle))
        await exchange.head()
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in exchange.headers}
        return BareResponse(exchange.status, headers, exchange.receive, exchange.close)

    async def aclose(self) -> None:
        """Close the pool."""
        await self._pool.aclose()


@dataclass(slots=True)
class BareResponse:
    """As the pipeline wants it."""

    status: int
    headers: dict[str, str]
    receive: Callable[[], Awaitable[bytes]]
    close: Callable[[], None]

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body's pieces."""
        while piece := await self.receive():
            yield piece

    async def read(self, limit: int) -> bytes:
        """The body; `limit` is not needed here."""
        del limit
        return b"".join([piece async for piece in self.chunks()])

    async def aclose(self) -> None:
        """Let go."""
        self.close()


_NO_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=None)
CANDIDATES: dict[str, tuple[str, Callable[[], Transport]]] = {
    "bare": ("our pool, no httpx objects", BareTransport),
    "pooled": ("our pool (httptools)", HttpTransport),
    "pyqwest": ("pyqwest, thin", lambda: HttpTransport(PyqwestTransport())),
    "aiohttp": ("aiohttp, thin", lambda: HttpTransport(AiohttpTransport())),
    "httpx-aiohttp": (
        "httpx-aiohttp",
        lambda: HttpTransport(httpx_aiohttp.AiohttpTransport(trust_env=False, limits=_NO_LIMITS)),
    ),
    "httpcore": (
        "httpx's own (httpcore)",
        lambda: HttpTransport(httpx.AsyncHTTPTransport(trust_env=False, limits=_NO_LIMITS)),
    ),
}


@dataclass(frozen=True, slots=True)
class Result:
    """One candidate's figures: requests a second, CPU in microseconds, and answers that were wrong."""

    rate_64: float
    cpu_64: float
    rate_256: float
    cpu_256: float
    cpu_chunk: float
    faults: int


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
            self._next += 1
            order = Order(self._next)
            answer = await self._transport.send(self._request(order, stream=False))
            body = await answer.read(1 << 20)
            await answer.aclose()
            self.faults += answer.status != 200 or reply_fault(order, body) is not None
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


async def _measure(name: str, port: int) -> Result:
    figures: list[float] = []
    faults = 0
    for clients, streams in ((64, False), (256, False), (STREAMS, True)):
        transport = CANDIDATES[name][1]()
        load = Load(transport, port)
        figures += await load.measure(load.listen if streams else load.ask, clients)
        faults += load.faults
        await transport.aclose()
    rate_64, cpu_64, rate_256, cpu_256, _, cpu_chunk = figures
    return Result(rate_64, cpu_64, rate_256, cpu_256, cpu_chunk, faults)


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
        os._exit(0)  # some candidates leave threads behind
    cores = Cores.choose()
    print("| behind the interface | req/s c=64 | CPU µs | req/s c=256 | CPU µs | CPU µs per chunk | faults |")
    print("|---|---|---|---|---|---|---|")
    for name in options.only:
        with _mock(cores.load) as port:
            got = _run(name, port, cores.gateway)
        print(
            f"| {CANDIDATES[name][0]} | {got.rate_64:,.0f} | {got.cpu_64:,.0f} | {got.rate_256:,.0f} "
            f"| {got.cpu_256:,.0f} | {got.cpu_chunk:,.0f} | {got.faults} |",
            flush=True,
        )


if __name__ == "__main__":
    main(sys.argv[1:])
