"""How the cost of a request grows: with the configuration, and with the size of the body.

Run as ``python -m bench.growth uvicorn`` or ``daphne``. The first table compares one provider, route and key
with 100 providers, 1,000 routes and 10,000 keys; both gateways stand side by side, loaded in turns. The
second one sends bodies of growing size, one at a time, while another client asks for ``/health``: the longest
that it had to wait is how long the event loop was busy with one body.
"""

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path
from time import perf_counter

import uvloop

from bench.client import Exchange, Target, connect
from bench.contenders import KEY, OPENAI_MODEL, OWN, Contender, Place, UnavailableError, own
from bench.load import Window, closed_loop
from bench.marks import Order, reply_fault
from bench.measure import Mock, first_answer, target_of
from bench.processes import Cores, Server, free_port, pinned

PROVIDERS, ROUTES, KEYS = 100, 1_000, 10_000
MODEL = "model-0500"  # one of the routes, in the middle
# A large configuration may cost so much more for each request, and a body so much more for each byte than one
# of a megabyte.
MORE = 1.10
MORE_PER_BYTE = 1.5
LONGEST_WAIT = 0.25
SIZES = (64 << 10, 256 << 10, 1 << 20, 4 << 20, 16 << 20)
_MEGABYTE = 1 << 20
_CONNECTIONS = 64
_WARM = 1.0
_PAUSE = 0.005


def configuration(upstream: int, providers: int, routes: int, keys: int) -> str:
    """A configuration file of so many providers, all at the mock, of so many routes to them, and keys."""
    at = {"kind": "openai", "base_url": f"http://127.0.0.1:{upstream}/v1", "api_key": "sk-upstream"}
    named = [f"provider-{number:03d}" for number in range(providers)]
    models = [f"model-{number:04d}" for number in range(routes)] if routes > 1 else [MODEL]
    return json.dumps(
        {
            "providers": {name: {**at, "allow_private_addresses": True} for name in named},
            "routes": [
                {"pattern": model, "targets": [{"provider": named[number % providers]}]}
                for number, model in enumerate(models)
            ],
            "teams": [{"name": "bench"}],
            "keys": [{"team": "bench", "value": f"sk-bench-{number:032d}"} for number in range(keys)],
        }
    )


@asynccontextmanager
async def serving(
    contender: Contender, mock: Mock, cores: Cores, model: str = OPENAI_MODEL
) -> AsyncIterator[tuple[Server, Target]]:
    """A gateway that has given its first answer."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        place = Place(free_port(), mock.port, folder, folder)
        with closing(Server(contender.launch(place), cores.gateway, folder / "server.log")) as server:
            target = target_of(contender, place, model)
            await first_answer(target, server)
            yield server, target


async def _cost(server: Server, target: Target, seconds: float) -> float:
    """CPU microseconds per request."""
    readings: list[float] = []
    window = Window(seconds, _WARM, lambda: readings.append(server.cpu_seconds()))
    tally = await closed_loop(target, _CONNECTIONS, window)
    if tally.faults or not tally.done:
        raise UnavailableError(f"faults under load: {dict(tally.faults)}: {server.last_words()}")
    return (readings[1] - readings[0]) / tally.done * 1e6


async def by_configuration(server: str, mock: Mock, cores: Cores, seconds: float, rounds: int) -> bool:
    """Print the first table; true when the goal was reached."""
    sizes = {"one of each": (1, 1, 1), "100, 1,000, 10,000": (PROVIDERS, ROUTES, KEYS)}
    costs: dict[str, list[float]] = {name: [] for name in sizes}
    async with AsyncExitStack() as stack:
        running = {}
        for name, size in sizes.items():
            contender = own(server, lambda place, size=size: configuration(place.upstream, *size))  # type: ignore[misc]  # the default binds the loop's value
            running[name] = await stack.enter_async_context(serving(contender, mock, cores, MODEL))
        for _ in range(rounds):
            for name, (process, target) in running.items():
                costs[name].append(await _cost(process, target, seconds))
    medians = {name: statistics.median(values) for name, values in costs.items()}
    few, many = medians.values()
    print("| providers, routes, keys | CPU µs per request |\n| --- | --- |")
    for name, median in medians.items():
        print(f"| {name} | {median:.0f} |")
    reached = many / few <= MORE
    print(f"\n{many / few:.2f} times, {MORE} at most: {'pass' if reached else 'FAIL'}\n")
    return reached


class _Client:
    """One connection, one request after the other."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._pieces: list[bytes] = []
        self._ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        exchange.on_data = self._pieces.append
        exchange.on_end = lambda: self._ended.set_result("")
        exchange.on_fault = self._ended.set_result

    async def ask(self, request: bytes) -> bytes:
        """The body of the answer. Raises UnavailableError for anything but a 200."""
        self._pieces.clear()
        self._ended = asyncio.get_running_loop().create_future()
        self._exchange.send(request)
        fault = await self._ended
        if fault:
            raise UnavailableError(fault)
        return b"".join(self._pieces)


def _request(order: Order, size: int) -> bytes:
    """A chat request of about `size` bytes: one long message, as documents and images make it."""
    words = "All work and no play makes a dull prompt; " * (size // 42)
    message = {"role": "user", "content": f"{order.text()} {words}"}
    body = json.dumps({"model": OPENAI_MODEL, "max_tokens": 400, "messages": [message]}).encode()
    lines = [
        "POST /v1/chat/completions HTTP/1.1",
        "host: 127.0.0.1",
        "content-type: application/json",
        f"authorization: Bearer {KEY}",
        f"content-length: {len(body)}",
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def _waits(client: _Client, waits: list[float]) -> None:
    """Ask for /health again and again, and note how long it took."""
    while True:
        began = perf_counter()
        await client.ask(b"GET /health HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
        waits.append(perf_counter() - began)
        await asyncio.sleep(_PAUSE)


async def by_body(server: str, mock: Mock, cores: Cores, times: int) -> bool:
    """Print the second table; true when the goals were reached."""
    costs: dict[int, float] = {}
    print("| body | CPU ms per request | CPU ns per byte | longest wait of another request, ms |")
    print("| --- | --- | --- | --- |")
    longest = 0.0
    async with serving(own(server), mock, cores) as (process, target):
        client, other = _Client(await connect(target.port)), _Client(await connect(target.port))
        for size in SIZES:
            order = Order(size)
            request = _request(order, size)
            fault = reply_fault(order, await client.ask(request))
            if fault:
                raise UnavailableError(fault)
            count = max(times, times * _MEGABYTE // size)
            waits: list[float] = []
            asking = asyncio.create_task(_waits(other, waits))
            before = process.cpu_seconds()
            for _ in range(count):
                await client.ask(request)
            costs[size] = (process.cpu_seconds() - before) / count
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            other = _Client(await connect(target.port))
            longest = max(longest, *waits)
            each = costs[size] / size * 1e9
            print(f"| {size >> 10} KiB | {costs[size] * 1e3:.2f} | {each:.1f} | {max(waits) * 1e3:.0f} |")
    per_byte = costs[SIZES[-1]] / SIZES[-1] / (costs[_MEGABYTE] / _MEGABYTE)
    reached = per_byte <= MORE_PER_BYTE and longest <= LONGEST_WAIT
    print(f"\n{per_byte:.2f} times as much per byte as with 1 MiB, {MORE_PER_BYTE} at most; ", end="")
    print(f"{longest * 1e3:.0f} ms waited, {LONGEST_WAIT * 1e3:.0f} at most: {'pass' if reached else 'FAIL'}")
    return reached


async def _run(server: str, seconds: float, rounds: int, times: int) -> bool:
    cores = Cores.choose()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        mock = Mock(cores.load, Path(folder), sys.executable)
        with closing(mock):
            await mock.ready()
            bodies = await by_body(server, mock, cores, times)
            print()
            return await by_configuration(server, mock, cores, seconds, rounds) and bodies


def main(words: Sequence[str]) -> int:
    """Exit code 0; 1 when a goal was missed or the gateway answered wrongly."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.growth", description="How this gateway's cost grows."
    )
    parser.add_argument("server", choices=OWN)
    parser.add_argument("--seconds", type=float, default=4.0, metavar="S", help="length of a window (4)")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="windows of each gateway (3)")
    parser.add_argument("--times", type=int, default=10, metavar="N", help="least bodies of a size (10)")
    parsed = parser.parse_args(words)
    cores = Cores.choose()
    try:
        with pinned(cores.load), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return int(not runner.run(_run(parsed.server, parsed.seconds, parsed.rounds, parsed.times)))
    except UnavailableError as reason:
        print(reason, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
