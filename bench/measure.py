"""One contender, one round: start it, check that its answers are right, load it, and read what that cost."""

import asyncio
import gc
import json
import re
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.client import Target, connect, one
from bench.contenders import OPENAI_MODEL, Contender, Place, UnavailableError
from bench.load import Tally, Window, closed_loop, paced_streams
from bench.marks import Order
from bench.processes import Launch, Server, core_seconds, free_port

_START_SECONDS = 120.0  # the slowest peer needs 15 on a quiet machine
_CALM_SHARE = 0.06  # of a core: less than this and what a run left behind has been dealt with
_CALM_SECONDS = 10.0  # the longest wait for that
_CALM_PAUSE = 0.4  # one look at it: long enough that a tick of the CPU clock (10 ms) is less than the share
_SLICES = 4  # the direct and the proxied latency are measured in turns, so that both see the same machine

Figures = dict[str, float]


@dataclass(frozen=True, slots=True)
class Plan:
    """How much to measure: seconds of each window, stream counts, whether the cross-dialect run is made.

    `warm` seconds of each run are not measured (connections, caches, lazy imports); as long is waited before
    memory is read.
    """

    seconds: float
    streams: tuple[int, ...]
    rate: int
    connections: int
    cross: bool
    warm: float = 1.0


@dataclass(slots=True)
class Outcome:
    """What one contender showed in one round: figures by name (see report) and faults by name."""

    figures: Figures = field(default_factory=dict)
    faults: Counter[str] = field(default_factory=Counter)


class Mock:
    """The mock upstream's process, on the load's core."""

    def __init__(self, core: int | None, folder: Path, python: str) -> None:
        root = Path(__file__).resolve().parent.parent
        self._server = Server(
            Launch([python, "-m", "bench.mock_upstream"], {}, root), core, folder / "mock.log"
        )
        self.port = 0

    async def ready(self) -> None:
        """Wait until it has said its port."""
        for _ in range(500):
            said = self._server.log.read_text()
            if said.endswith("\n") and said.strip().isdigit():
                self.port = int(said)
                return
            if not self._server.running:
                break
            await asyncio.sleep(0.02)
        raise RuntimeError(f"the mock upstream did not start: {self._server.last_words()}")

    async def stats(self) -> Counter[str]:
        """What it has served so far."""
        exchange = await connect(self.port)
        ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        pieces: list[bytes] = []
        exchange.on_data = pieces.append
        exchange.on_end = lambda: ended.set_result("")
        exchange.on_fault = ended.set_result
        exchange.send(b"GET /stats HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
        fault = await ended
        exchange.close()
        if fault:
            raise RuntimeError(f"the mock upstream's counters: {fault}")
        return Counter(json.loads(b"".join(pieces)))

    def cpu_seconds(self) -> float:
        """User and system time that it has used so far."""
        return self._server.cpu_seconds()

    def close(self) -> None:
        """End it."""
        self._server.close()


@dataclass(frozen=True, slots=True)
class Reading:
    """CPU seconds used so far: by the gateway, by mock and load together, by all on the gateway's core."""

    gateway: float
    load: float
    core: float


class Meters:
    """Reads the CPU counters of everybody who takes part. Without a server, those of the gateway stay 0."""

    def __init__(self, mock: Mock, server: Server | None, core: int | None) -> None:
        self._mock = mock
        self._server = server
        self._core = core

    def gateway(self) -> float | None:
        """CPU seconds of the gateway's processes so far; None without a gateway."""
        return None if self._server is None else self._server.cpu_seconds()

    def read(self) -> Reading:
        """All counters at this moment."""
        core = 0.0 if self._core is None or self._server is None else core_seconds(self._core)
        return Reading(self.gateway() or 0.0, self._mock.cpu_seconds() + time.process_time(), core)


@contextmanager
def _quiet_collector() -> Iterator[None]:
    """The load tool's own garbage collection must not fall into a measured window."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


class Round:
    """The runs of one round against one target: straight to the mock where `meters` knows no gateway."""

    def __init__(self, plan: Plan, mock: Mock, meters: Meters) -> None:
        self._plan = plan
        self._mock = mock
        self._meters = meters
        self.outcome = Outcome()

    def _window(self) -> tuple[Window, list[Reading]]:
        readings: list[Reading] = []
        return Window(
            self._plan.seconds, self._plan.warm, lambda: readings.append(self._meters.read())
        ), readings

    def _costs(self, run: str, readings: list[Reading], tally: Tally) -> None:
        """CPU per request or chunk of a run, and how busy the two cores were with other things."""
        begun, ended = readings
        figures = self.outcome.figures
        spent = ended.gateway - begun.gateway
        figures[f"{run}_load_core"] = (ended.load - begun.load) / tally.seconds
        figures[f"{run}_others"] = max(0.0, ended.core - begun.core - spent) / tally.seconds
        if spent and tally.done:
            unit = "request" if run == "requests" else "chunk"
            figures[f"{run}_cpu_us_per_{unit}"] = spent / tally.done * 1e6

    async def _calm(self) -> None:
        """Let the gateway finish what the run before left behind, such as streams that were cut."""
        began = time.perf_counter()
        while time.perf_counter() - began < _CALM_SECONDS:
            before = self._meters.gateway()
            if before is None:
                return
            await asyncio.sleep(_CALM_PAUSE)
            if (self._meters.gateway() or 0.0) - before < _CALM_SHARE * _CALM_PAUSE:
                return

    async def replies(self, target: Target) -> None:
        """Whole answers in a closed loop; the mock must have been asked once for each."""
        window, readings = self._window()
        before = await self._mock.stats()
        with _quiet_collector():
            tally = await closed_loop(target, self._plan.connections, window)
        asked = (await self._mock.stats())["chat_replies"] - before["chat_replies"]
        if asked < tally.done:
            self.outcome.faults["answers that the upstream never gave"] += tally.done - asked
        figures = self.outcome.figures
        figures["requests_per_s"] = tally.done / tally.seconds
        figures["p50_ms"] = tally.quantile(0.5) * 1e3
        figures["p99_ms"] = tally.quantile(0.99) * 1e3
        self._costs("requests", readings, tally)
        self.outcome.faults.update(tally.faults)

    async def added_latency(self, target: Target) -> None:
        """One connection: the median through the gateway less the median straight to the mock, in turns."""
        direct = Target(self._mock.port, OPENAI_MODEL)
        medians: dict[Target, list[float]] = {direct: [], target: []}
        for _ in range(_SLICES):
            for place, seen in medians.items():
                window = Window(self._plan.seconds / _SLICES, self._plan.warm / 10)
                with _quiet_collector():
                    tally = await closed_loop(place, 1, window)
                seen.append(tally.quantile(0.5))
                self.outcome.faults.update(tally.faults)
        added = sum(sorted(medians[target])[1:3]) / 2 - sum(sorted(medians[direct])[1:3]) / 2
        self.outcome.figures["added_p50_ms"] = added * 1e3

    async def streams(self, target: Target, count: int, run: str) -> None:
        """Paced streams; figures get the run's name before their own."""
        window, readings = self._window()
        with _quiet_collector():
            tally = await paced_streams(target, count, self._plan.rate, window, self._plan.warm)
        figures = self.outcome.figures
        figures[f"{run}_offered"] = float(count * self._plan.rate)
        figures[f"{run}_chunks_per_s"] = tally.done / tally.seconds
        figures[f"{run}_first_p50_ms"] = tally.quantile(0.5) * 1e3
        figures[f"{run}_first_p99_ms"] = tally.quantile(0.99) * 1e3
        figures[f"{run}_ended_share"] = tally.streams_ended / count
        figures[f"{run}_silent"] = tally.silent
        self._costs(run, readings, tally)
        self.outcome.faults.update({f"{run}: {fault}": number for fault, number in tally.faults.items()})

    async def all(self, target: Target, cross: Target | None) -> None:
        """Every run of the plan."""
        await self._calm()
        await self.replies(target)
        if self._meters.gateway() is not None:
            await self._calm()
            await self.added_latency(target)
        for count in self._plan.streams:
            await self._calm()
            await self.streams(target, count, f"streams_{count}")
        if cross is not None and self._plan.cross:
            await self._calm()
            await self.streams(cross, self._plan.streams[-1], f"cross_{self._plan.streams[-1]}")


async def direct_round(plan: Plan, mock: Mock) -> Outcome:
    """No gateway at all: what mock and load reach together on their one core, the ceiling of this run."""
    measured = Round(plan, mock, Meters(mock, None, None))
    await measured.all(Target(mock.port, OPENAI_MODEL), None)
    return measured.outcome


async def gateway_round(
    plan: Plan, mock: Mock, contender: Contender, home: Path, core: int | None
) -> Outcome:
    """Start, check, load, stop. Raises UnavailableError when it does not come up or answers wrongly."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        place = Place(free_port(), mock.port, folder, home)
        server = Server(contender.launch(place), core, folder / "server.log")
        with closing(server):
            base = await _base(contender, place, server)
            target = target_of(contender, place, base=base)
            first = await first_answer(target, server)
            cross = (
                target_of(contender, place, contender.cross_model, base) if contender.cross_model else None
            )
            await _check(target)
            if cross is not None and plan.cross:
                await _check(cross)
            await asyncio.sleep(plan.warm)
            idle = server.resident_bytes()
            measured = Round(plan, mock, Meters(mock, server, core))
            await measured.all(target, cross)
            await asyncio.sleep(plan.warm)
            if not server.running:
                measured.outcome.faults["the server died"] += 1
            figures = measured.outcome.figures
            figures["start_s"] = first
            figures["rss_idle_mib"] = idle / 2**20
            figures["rss_after_mib"] = server.resident_bytes() / 2**20
            return measured.outcome


def target_of(
    contender: Contender, place: Place, model: str = "", base: tuple[int, str] | None = None
) -> Target:
    """How to call it: `model` "" is its own for OpenAI, `base` None is the port that it was given."""
    model = model or contender.model
    port, prefix = base or (place.port, "")
    return Target(port, model, tuple(contender.headers(place, model).items()), prefix=prefix)


async def _base(contender: Contender, place: Place, server: Server) -> tuple[int, str]:
    """Port and path prefix: as asked for, or as announced."""
    if not contender.announces:
        return place.port, ""
    while time.perf_counter() - server.started < _START_SECONDS and server.running:
        said = re.search(rb"base url: http://[^:]+:([0-9]+)(\S*)/v1\s", server.log.read_bytes())
        if said:
            return int(said[1]), said[2].decode()
        await asyncio.sleep(0.01)
    raise UnavailableError(f"it did not announce itself: {server.last_words()}")


async def first_answer(target: Target, server: Server) -> float:
    """Seconds from the start of the process to the first right answer. Raises UnavailableError."""
    faults: list[str] = []
    while time.perf_counter() - server.started < _START_SECONDS:
        faults, _ = await one(target, Order(1), stream=False)
        if not faults:
            return time.perf_counter() - server.started
        if not server.running:
            raise UnavailableError(f"it ended at start: {server.last_words()}")
        await asyncio.sleep(0.01)
    raise UnavailableError(
        f"no right answer within {_START_SECONDS:.0f} s ({', '.join(faults)}): {server.last_words()}"
    )


async def _check(target: Target) -> None:
    """One stream, read as strictly as a client library would: who loses content is not worth timing."""
    faults, body = await one(target, Order(2, chunks=20, rate=200), stream=True)
    if faults:
        raise UnavailableError(
            f"its stream is wrong for {target.model}: {', '.join(faults)}: {body[-300:]!r}"
        )
    for line in body.replace(b"\r\n", b"\n").split(b"\n"):
        payload = line.removeprefix(b"data:").strip()
        if line.startswith(b"data:") and payload != b"[DONE]":
            try:
                json.loads(payload)
            except ValueError as error:
                raise UnavailableError(
                    f"its stream has an event that is no JSON: {payload[:200]!r}"
                ) from error
