"""The command line of the benchmark: which contenders, how long, how many rounds; it runs them in turns."""

import argparse
import asyncio
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import uvloop

from bench.contenders import CONTENDERS, DEFAULT, OWN, Contender, UnavailableError, cache_folder
from bench.measure import Mock, Plan, direct_round, gateway_round
from bench.processes import Cores, pinned
from bench.report import Row, document, machine, markdown

RESULTS = Path(__file__).resolve().parent / "results"
_CONNECTIONS = 64  # a busy replica's worth of callers, and enough to keep one core full
_RATE = 100  # chunks a second of each stream: a fast model
_FULL = Plan(seconds=6.0, streams=(16, 64, 256), rate=_RATE, connections=_CONNECTIONS, cross=True)
_QUICK = Plan(seconds=2.5, streams=(16, 64), rate=_RATE, connections=_CONNECTIONS, cross=False)


def _arguments(words: Sequence[str]) -> argparse.Namespace:
    names = ", ".join(contender.name for contender in CONTENDERS)
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Measure this gateway beside its peers."
    )
    parser.add_argument(
        "--quick", action="store_true", help="one short round: ours and LiteLLM, under two minutes"
    )
    parser.add_argument(
        "--peers", default="", metavar="NAMES", help=f"more peers, comma-separated, or 'all': {names}"
    )
    parser.add_argument(
        "--only", default="", metavar="NAMES", help="these contenders and no others, comma-separated"
    )
    parser.add_argument("--rounds", type=int, metavar="N", help="rounds (3; 1 with --quick)")
    parser.add_argument(
        "--seconds", type=float, metavar="S", help="length of each measured window (6; 2.5 with --quick)"
    )
    parsed = parser.parse_args(words)
    known = {contender.name for contender in CONTENDERS} | {"all"}
    unknown = {name for text in (parsed.peers, parsed.only) for name in text.split(",") if name} - known
    if unknown:
        parser.error(f"no such contender: {', '.join(sorted(unknown))}; there are {names}")
    if (parsed.rounds is not None and parsed.rounds < 1) or (
        parsed.seconds is not None and parsed.seconds < 0.5
    ):
        parser.error("at least one round, at least half a second")
    return parsed


def _chosen(only: str, peers: str) -> list[Contender]:
    wanted = set(only.split(",")) if only else {*DEFAULT, *peers.split(",")}
    return [contender for contender in CONTENDERS if contender.name in wanted or "all" in wanted]


def _plan(parsed: argparse.Namespace) -> Plan:
    plan = _QUICK if parsed.quick else _FULL
    seconds = plan.seconds if parsed.seconds is None else parsed.seconds
    return replace(plan, seconds=seconds)


def _prepare(contenders: list[Contender], rows: dict[str, Row]) -> list[Contender]:
    """Install what is missing. One that cannot be had is skipped, and said so in the report."""
    ready = []
    for contender in contenders:
        row = rows[contender.name] = Row(contender.title)
        try:
            row.version = contender.install(cache_folder() / contender.name)
            ready.append(contender)
        except UnavailableError as reason:
            _skip(row, reason)
    return ready


def _skip(row: Row, reason: Exception) -> None:
    row.skipped = str(reason)
    print(f"!! SKIPPED {row.title}: {reason}", file=sys.stderr, flush=True)


async def _rounds(
    plan: Plan, rounds: int, ready: list[Contender], rows: dict[str, Row], cores: Cores
) -> None:
    """All rounds: one contender at a time, each round starting with another one."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        mock = Mock(cores.load, Path(folder), sys.executable)
        with closing(mock):
            await mock.ready()
            for number in range(rounds):
                print(f"round {number + 1} of {rounds}", flush=True)
                rows["direct"].rounds.append(await direct_round(plan, mock))
                turn = number % max(1, len(ready))
                for contender in ready[turn:] + ready[:turn]:
                    await _one(plan, mock, contender, rows[contender.name], cores)


async def _one(plan: Plan, mock: Mock, contender: Contender, row: Row, cores: Cores) -> None:
    if row.skipped:
        return
    began = time.perf_counter()
    try:
        outcome = await gateway_round(plan, mock, contender, cache_folder() / contender.name, cores.gateway)
    except UnavailableError as reason:
        _skip(row, reason)
        return
    row.rounds.append(outcome)
    speed = outcome.figures["requests_per_s"]
    took = time.perf_counter() - began
    print(
        f"  {row.title}: {speed:,.0f} requests/s, {outcome.faults.total()} faults ({took:.0f} s)", flush=True
    )


def _write(rows: dict[str, Row], about: dict[str, str]) -> None:
    RESULTS.mkdir(exist_ok=True)
    stem = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    text = markdown(rows, OWN, about)
    (RESULTS / f"{stem}.md").write_text(text)
    (RESULTS / f"{stem}.json").write_text(document(rows, about))
    print(f"\n{text}\nwritten to {RESULTS.name}/{stem}.md and .json")


def main(words: Sequence[str]) -> int:
    """Exit code 0; 1 when this gateway was skipped or had faults; 2 where the benchmark cannot run at all."""
    parsed = _arguments(words)
    if sys.platform != "linux":
        print("the benchmark reads /proc and pins processes to cores: it needs Linux", file=sys.stderr)
        return 2
    signal.signal(
        signal.SIGTERM, signal.getsignal(signal.SIGINT)
    )  # a killed run cleans up as an interrupted one does
    plan = _plan(parsed)
    rounds: int = parsed.rounds or (1 if parsed.quick else 3)
    cores = Cores.choose()
    about = machine() | {
        "gateway_core": str(cores.gateway),
        "mock_and_load_core": str(cores.load),
        "window_seconds": str(plan.seconds),
        "rounds": str(rounds),
        "connections": str(plan.connections),
        "chunks_per_second_of_each_stream": str(plan.rate),
    }
    if cores.gateway is None:
        print("!! only one core: nothing is pinned and the load competes with the gateway", file=sys.stderr)
    rows = {"direct": Row("no gateway")}
    try:
        ready = _prepare(_chosen(parsed.only, parsed.peers), rows)
        with pinned(cores.load), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_rounds(plan, rounds, ready, rows, cores))
    except KeyboardInterrupt:
        print("interrupted; everything that was started is stopped", file=sys.stderr)
        return 130
    _write(rows, about)
    return int(any(rows[name].skipped or rows[name].faults() for name in OWN if name in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
