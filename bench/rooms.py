"""Where the time of a request goes, room by room: py-spy's samples of a loaded gateway, sorted by whose code.

Run as ``python -m bench.rooms uvicorn`` or ``daphne``, with ``--streams`` for a chunk's way instead of a
request's. A sample belongs to the innermost frame of a known room, so that a library's time is its caller's.
The microseconds are that share of the CPU per request or chunk of the same run without the profiler.
"""

import argparse
import asyncio
import re
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import uvloop

from bench.client import Target
from bench.contenders import CONTENDERS, OWN, Contender, Place, UnavailableError
from bench.load import Tally, Window, closed_loop, paced_streams
from bench.measure import Mock, first_answer, target_of
from bench.processes import Cores, Server, free_port, pinned

# The first row that fits a frame's file names its room; the order of the rooms is the order of the report.
_ROOMS: tuple[tuple[str, str], ...] = (
    ("ledger", r"accounts/ledger/|pipeline/ledger"),
    ("authentication", r"apiv1/auth|accounts/"),
    ("door", r"apiv1/|gateway_project/asgi"),
    ("plan", r"routing/|pipeline/(?:failover|errand|matching|live|breaker|slots)"),
    ("policies", r"pipeline/(?:purse|reservation|prices|limit_|stores|memory|cache|keeper|fanout|homes)"),
    ("relay", r"pipeline/relay"),
    ("upstream", r"pipeline/(?:upstream|request|answer)\.py|providers/kinds"),
    ("transport", r"providers/"),
    ("metrics", r"pipeline/(?:metrics|genai_metrics|children)|prometheus_client/"),
    ("log", r"pipeline/requestlog|gateway_project/(?:logs|log_sink|line_log)"),
    ("close", r"pipeline/"),
    ("dialect", r"dialects/"),
    ("server", r"gateway_project/|uvicorn/|daphne/|twisted/"),
)
_KNOWN = tuple((room, re.compile(rf"\((?:.*/)?(?:{files})")) for room, files in _ROOMS)
# A loop that is written in C has no frames: its own work and the kernel's reads are its caller's innermost.
_LOOP = re.compile(r"\((?:.*/)?(?:asyncio/runners|asyncio/base_events|twisted/internet/asyncioreactor)\.py")
_OTHER = "event loop and reads"
# A helper thread that waits for work, which py-spy cannot tell from one that has some.
_WAITS = re.compile(r"(?:wait \(threading|_worker \(concurrent/futures/thread)\.py")
_SPY = Path(sys.executable).parent / "py-spy"
_RATE = 397  # samples a second: no divisor of anything that ticks
_STREAMS = 256
_CHUNKS_PER_SECOND = 100
_CONNECTIONS = 64
_WARM = 1.0
_TOP = 25  # functions that are listed by name


@dataclass(frozen=True, slots=True)
class Budget:
    """Samples by room and by function, of one run."""

    rooms: Counter[str]
    functions: Counter[str]

    @property
    def samples(self) -> int:
        """How many there are."""
        return self.rooms.total()


def room_of(frames: Sequence[str]) -> str:
    """Whose time a stack is, outermost frame first, each as py-spy writes it: `name (file:line)`."""
    if _LOOP.search(frames[-1]):
        return _OTHER
    for frame in reversed(frames):
        for room, pattern in _KNOWN:
            if pattern.search(frame):
                return room
    return _OTHER


def read_samples(lines: Iterable[str]) -> Budget:
    """py-spy's raw format: frames separated by semicolons, and how often that stack was seen."""
    rooms: Counter[str] = Counter()
    functions: Counter[str] = Counter()
    for line in lines:
        stack, _, count = line.rpartition(" ")
        frames = stack.split(";")
        if _WAITS.search(frames[-1]):
            continue
        rooms[room_of(frames)] += int(count)
        functions[re.sub(r":[0-9]+\)$", ")", frames[-1])] += int(count)
    return Budget(rooms, functions)


def table(budget: Budget, cost: float, unit: str) -> str:
    """Rooms by share and microseconds, then the functions that cost most by themselves."""
    total = max(1, budget.samples)
    lines = [f"| room | share | CPU µs per {unit} |", "| --- | --- | --- |"]
    for room in (*dict.fromkeys(room for room, _ in _ROOMS), _OTHER):
        share = budget.rooms[room] / total
        lines.append(f"| {room} | {share:.1%} | {share * cost:.1f} |")
    lines += [f"| all | 100% | {cost:.1f} |", ""]
    lines += [f"- {count / total:.1%} {name}" for name, count in budget.functions.most_common(_TOP)]
    return "\n".join(lines)


async def _load(target: Target, window: Window, *, streams: bool) -> Tally:
    if streams:
        return await paced_streams(target, _STREAMS, _CHUNKS_PER_SECOND, window, _WARM)
    return await closed_loop(target, _CONNECTIONS, window)


async def _cost(target: Target, server: Server, seconds: float, *, streams: bool) -> float:
    """CPU microseconds per request or chunk, undisturbed."""
    readings: list[float] = []
    window = Window(seconds, _WARM, lambda: readings.append(server.cpu_seconds()))
    tally = await _load(target, window, streams=streams)
    if tally.faults or not tally.done:
        raise UnavailableError(f"faults under load: {dict(tally.faults)}: {server.last_words()}")
    return (readings[1] - readings[0]) / tally.done * 1e6


async def _profile(target: Target, server: Server, seconds: float, *, streams: bool) -> Budget:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        samples = Path(folder) / "samples"
        command = [str(_SPY), "record", "--pid", str(server.pid), "--subprocesses", "--format", "raw"]
        command += ["--rate", str(_RATE), "--duration", str(int(seconds)), "--output", str(samples)]
        # The profiler waits for the load's warm-up and ends before it does.
        load = asyncio.create_task(_load(target, Window(seconds + 1, _WARM), streams=streams))
        await asyncio.sleep(_WARM)
        spy = await asyncio.create_subprocess_exec(
            *command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        _, words = await spy.communicate()
        await load
        if spy.returncode:
            raise UnavailableError(f"py-spy: {words.decode('utf-8', 'replace').strip()[-400:]}")
        return read_samples(samples.read_text().splitlines())


async def _run(contender: Contender, cores: Cores, seconds: float, *, streams: bool) -> str:
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        mock = Mock(cores.load, folder, sys.executable)
        with closing(mock):
            await mock.ready()
            place = Place(free_port(), mock.port, folder, folder)
            server = Server(contender.launch(place), cores.gateway, folder / "server.log")
            with closing(server):
                target = target_of(contender, place)
                await first_answer(target, server)
                cost = await _cost(target, server, seconds, streams=streams)
                budget = await _profile(target, server, seconds, streams=streams)
    return table(budget, cost, "chunk" if streams else "request")


def main(words: Sequence[str]) -> int:
    """Exit code 0; 1 when the gateway does not come up or answers wrongly; 2 where this cannot run at all."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.rooms", description="Profile this gateway under load."
    )
    parser.add_argument("server", choices=OWN)
    parser.add_argument("--streams", action="store_true", help="256 paced streams instead of whole answers")
    parser.add_argument("--seconds", type=float, default=8.0, metavar="S", help="length of each run (8)")
    parsed = parser.parse_args(words)
    if not _SPY.exists():
        print("this needs py-spy, one of the packages for development", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGINT))
    [contender] = [found for found in CONTENDERS if found.name == parsed.server]
    cores = Cores.choose()
    try:
        with pinned(cores.load), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            print(runner.run(_run(contender, cores, parsed.seconds, streams=parsed.streams)))
    except UnavailableError as reason:
        print(reason, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
