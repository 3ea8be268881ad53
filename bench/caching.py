"""What the cache costs and saves: a hit against an upstream of 50 ms, and a look-up among many answers.

Run as ``python -m bench.caching``; it prints Markdown. The gateway is a process of its own, as in production,
with its answers in memory and then in a packaged Valkey; the upstream answers from this process.
"""

import argparse
import asyncio
import hashlib
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from prometheus_client import CollectorRegistry

from bench.contenders import CONTENDERS, KEY, Place
from bench.processes import Server, free_port
from bench.report import machine
from pipeline.cache_memory import MemoryCache
from pipeline.cache_metrics import CacheMetrics
from pipeline.cache_redis import RedisCache
from pipeline.cache_stores import CacheStore, Kept
from pipeline.cache_stores import Place as Where
from tests.support.services import RedisServer

UPSTREAM_SECONDS = 0.05
_MISSES = 40
_HITS = 1000
_LOOKUPS = 5000
_TOGETHER = 64
_SIZES = (1_000, 100_000, 1_000_000)
# A short answer, compressed: a million of them fit into the memory of a laptop.
_VALUE = bytes(200)
# A team that the gateway of the other half does not know.
_HERE = Where(team=1_000_000, route=1)
_START_SECONDS = 60.0
_BATCH = 500

_CONFIG = """
routes:
  - pattern: gpt-4o-mini
    targets: [{provider: openai}]
    cache: {mode: exact}
"""
_ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o-mini",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "word " * 200}, "finish_reason": "stop"}
    ],
    "usage": {"prompt_tokens": 10, "completion_tokens": 200, "total_tokens": 210},
}


async def _upstream() -> asyncio.Server:
    """A provider that thinks for a while and always says the same."""
    body = json.dumps(_ANSWER).encode()
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                await _request(reader)
                await asyncio.sleep(UPSTREAM_SECONDS)
                writer.write(head + body)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    return await asyncio.start_server(answer, "127.0.0.1", 0)


async def _request(reader: asyncio.StreamReader) -> None:
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().split("\r\n")
    lengths = [line.partition(":")[2] for line in lines if line.startswith("content-length:")]
    await reader.readexactly(int(lengths[0]) if lengths else 0)


class _Client:
    """One connection to the gateway; `ask` answers the seconds to the last byte, and what the cache said."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter

    async def connect(self) -> None:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)

    async def ask(self, prompt: str) -> tuple[float, str]:
        message = {"role": "user", "content": prompt}
        body = json.dumps({"model": "gpt-4o-mini", "messages": [message]}).encode()
        lines = (
            "POST /v1/chat/completions HTTP/1.1",
            "host: 127.0.0.1",
            f"authorization: Bearer {KEY}",
            "content-type: application/json",
            f"content-length: {len(body)}",
        )
        began = time.perf_counter()
        self._writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
        await self._reader.readexactly(int(fields["content-length"]))
        if not head.startswith("http/1.1 200"):
            raise RuntimeError(head.split("\r\n", maxsplit=1)[0])
        return time.perf_counter() - began, fields.get("x-gateway-cache", "")


async def _latency(redis_url: str | None, folder: Path) -> tuple[list[float], list[float]]:
    """Seconds of misses and of hits, one request at a time."""
    upstream = await _upstream()
    port = free_port()
    place = Place(port, upstream.sockets[0].getsockname()[1], folder, folder)
    own = next(contender for contender in CONTENDERS if contender.name == "uvicorn")
    launch = own.launch(place)
    environment = {**launch.environment, "LLM_GATEWAY_CONFIG": place.write("routes.yaml", _CONFIG)}
    if redis_url is not None:
        environment["LLM_GATEWAY_REDIS_URL"] = redis_url
    with closing(Server(replace(launch, environment=environment), None, folder / "gateway.log")) as server:
        client = _Client(port)
        await _ready(client, server)
        misses = [await _expect(client, f"miss {number}", "miss") for number in range(_MISSES)]
        await _expect(client, "hit", "miss")
        # What is kept is written down a moment after the answer.
        await asyncio.sleep(0.5)
        asked = [await client.ask("hit") for _ in range(_HITS)]
        # On a machine that is too busy Redis may be done without now and then.
        hits = [seconds for seconds, said in asked if said == "hit"]
        if len(hits) < _HITS * 0.9:
            raise RuntimeError(f"{len(hits)} hits of {_HITS}")
    upstream.close()
    return misses, hits


async def _ready(client: _Client, server: Server) -> None:
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end and server.running:
        try:
            await client.connect()
            await client.ask("first")
        except (OSError, RuntimeError, asyncio.IncompleteReadError):
            await asyncio.sleep(0.05)
        else:
            return
    raise RuntimeError(f"the gateway did not start: {server.last_words()}")


async def _expect(client: _Client, prompt: str, wanted: str) -> float:
    seconds, said = await client.ask(prompt)
    if said != wanted:
        raise RuntimeError(f"the cache said {said!r} where {wanted!r} was expected")
    return seconds


def _key(number: int) -> bytes:
    return hashlib.sha256(b"%d" % number).digest()


async def _fill(store: CacheStore, first: int, last: int) -> None:
    for begin in range(first, last, _BATCH):
        numbers = range(begin, min(last, begin + _BATCH))
        await store.put(_HERE, [Kept(_key(number), _VALUE, 3600.0) for number in numbers])


async def _lookups(store: CacheStore, size: int) -> tuple[float, float, float, float]:
    """Microseconds of a look-up: median and 99th percentile of hits one by one, the median of misses, and the
    time of each when many are asked at once."""
    numbers = [random.randrange(size) for _ in range(_LOOKUPS)]
    hits = await _each(lambda number: store.get(_HERE, [_key(number)]), numbers)
    misses = await _each(lambda number: store.get(_HERE, [_key(-1 - number)]), numbers)
    began = time.perf_counter()
    for begin in range(0, _LOOKUPS, _TOGETHER):
        together = numbers[begin : begin + _TOGETHER]
        await asyncio.gather(*(store.get(_HERE, [_key(number)]) for number in together))
    at_once = (time.perf_counter() - began) / _LOOKUPS
    return _at(hits, 50) * 1e6, _at(hits, 99) * 1e6, _at(misses, 50) * 1e6, at_once * 1e6


async def _each(ask: Callable[[int], Awaitable[object]], numbers: Sequence[int]) -> list[float]:
    times = []
    for number in numbers:
        began = time.perf_counter()
        await ask(number)
        times.append(time.perf_counter() - began)
    return times


def _at(times: Sequence[float], percent: int) -> float:
    return statistics.quantiles(times, n=100)[percent - 1]


async def _store_rows(name: str, store: CacheStore, sizes: Sequence[int]) -> list[str]:
    rows, filled = [], 0
    await store.start()
    for size in sizes:
        await _fill(store, filled, size)
        filled = size
        entries = (await store.stock())[_HERE.team].entries
        if entries != size:
            raise RuntimeError(f"{entries} of {size} answers were kept")
        figures = " | ".join(
            f"{figure:.0f}" if figure >= 10 else f"{figure:.1f}" for figure in await _lookups(store, size)
        )
        rows.append(f"| {name} | {size:,} | {figures} |")
    await store.stop()
    return rows


async def _run(sizes: Sequence[int]) -> None:
    print(" · ".join(f"{name} {value}" for name, value in machine().items()), end="\n\n")
    with tempfile.TemporaryDirectory() as folder, closing(RedisServer()) as redis:
        redis.start()
        print("| answers in | miss p50 ms | hit p50 ms | hit p99 ms | times under 50 ms |")
        print("|---|---|---|---|---|")
        for name, url in (("memory", None), ("Valkey", redis.url)):
            home = Path(folder) / name
            home.mkdir()
            misses, hits = await _latency(url, home)
            hit = _at(hits, 50)
            figures = f"{_at(misses, 50) * 1e3:.1f} | {hit * 1e3:.2f} | {_at(hits, 99) * 1e3:.2f}"
            print(f"| {name} | {figures} | {UPSTREAM_SECONDS / hit:.0f} |")
        print()
        print("| store | answers | hit p50 µs | hit p99 µs | miss p50 µs | each of 64 at once µs |")
        print("|---|---|---|---|---|---|")
        room = 1 << 40
        for row in await _store_rows("memory", MemoryCache(room, room), sizes):
            print(row)
        store = RedisCache(redis.url, room, CacheMetrics(CollectorRegistry()))
        for row in await _store_rows("Valkey", store, sizes):
            print(row)


def main(words: Sequence[str]) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.caching", description="Measure the cache.")
    parser.add_argument("--most", type=int, default=_SIZES[-1], help="answers at most (1,000,000)")
    most: int = parser.parse_args(words).most
    asyncio.run(_run([size for size in _SIZES if size <= most]))


if __name__ == "__main__":
    main(sys.argv[1:])
