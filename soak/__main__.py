"""The command line of the load bar: `python -m soak soak` and `python -m soak chaos` print a table."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import uvloop

from soak import ledger, overload, replicas, streams
from soak.figures import Figure, markdown, speed
from soak.sizes import LONG, SHORT, Size
from soak.stage import Stage, stage, until
from tests.support.served import Served

Case = Callable[[Stage, Size], Awaitable[list[Figure]]]

# In the order in which they run: what breaks most comes last.
SOAK: Mapping[str, Case] = MappingProxyType(
    {
        "L1": streams.many_streams,
        "L4": streams.stalled_readers,
        "L5": streams.disconnects,
        "L7": streams.churn,
        "L18": streams.single_bytes,
        "L20": overload.large_bodies,
        "L17": streams.slow_clients,
        "L8": overload.mixed_faults,
        "L12": overload.overload,
        "L13": overload.refusing_provider,
    }
)
CHAOS: Mapping[str, Case] = MappingProxyType(
    {
        "L19": replicas.changes,
        "L11": replicas.tokens_limit,
        "L10": replicas.requests_limit,
        "L15": replicas.frozen_redis,
        "L16": replicas.stopped_postgres,
    }
)
# On one gateway of two workers, with Redis and PostgreSQL.
ROLLING: Mapping[str, Case] = MappingProxyType({"L14": replicas.rolling_restart, "L9": ledger.exactness})


def run(cases: Mapping[str, Case], on: Stage, size: Size, tell: Callable[[str], None]) -> list[Figure]:
    """All of them, one after the other."""

    async def all_cases() -> list[Figure]:
        found: list[Figure] = []
        for name, case in cases.items():
            # What the case before has left behind is over, such as the refusals of an overloaded process.
            await until(on.well)
            began = time.monotonic()
            figures = await case(on, size)
            found += figures
            tell(f"{name}: {time.monotonic() - began:.0f} s")
        return found

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(all_cases())


def soak(size: Size, only: set[str]) -> list[Figure]:
    """Load on one gateway."""
    chosen = _chosen(SOAK, only)
    if not chosen:
        return []
    with stage() as on:
        return run(chosen, on, size, _tell)


def chaos(size: Size, only: set[str]) -> list[Figure]:
    """Redis, PostgreSQL and workers killed and frozen under load."""
    found: list[Figure] = []
    chosen, rolling = _chosen(CHAOS, only), _chosen(ROLLING, only)
    if chosen:
        with stage(2, services=True) as on:
            found += run(chosen, on, size, _tell)
    if rolling:
        with stage(services=True, WORKERS="2") as on:
            found += run(rolling, on, size, _tell)
    return [*found, *_boot(only)]


def _boot(only: set[str]) -> list[Figure]:
    """L19: a start with a database that is set up, to ready."""
    if only and "L19" not in only:
        return []
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        with Served(Path(folder)):
            pass
        began = time.monotonic()
        with Served(Path(folder)):
            took = time.monotonic() - began
    return [speed("L19", "from the start to the first answer", "<= 3 s", f"{took:.1f} s", holds=took <= 3)]


def _chosen(cases: Mapping[str, Case], only: set[str]) -> Mapping[str, Case]:
    return {name: case for name, case in cases.items() if not only or name in only}


def _tell(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


def main(words: Sequence[str]) -> int:
    """Exit code 0; 1 when something was wrong, whatever the machine."""
    parser = argparse.ArgumentParser(prog="python -m soak", description=__doc__)
    parser.add_argument("kind", choices=("soak", "chaos"))
    parser.add_argument("--short", action="store_true", help="everything once and small, in a minute or two")
    parser.add_argument("--seconds", type=float, help="of each measured part (60; 1.5 with --short)")
    parser.add_argument("--only", default="", metavar="CASES", help="such as L5,L12")
    parsed = parser.parse_args(words)
    size = SHORT if parsed.short else LONG
    if parsed.seconds:
        size = replace(size, seconds=parsed.seconds)
    only = set(filter(None, parsed.only.split(",")))
    # What was started is ended when this is told to end.
    signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGINT))
    try:
        figures = (soak if parsed.kind == "soak" else chaos)(size, only)
    except KeyboardInterrupt:
        print("interrupted; everything that was started is stopped", file=sys.stderr)
        return 130
    print(markdown(figures))
    return int(any(figure.right is False for figure in figures))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
