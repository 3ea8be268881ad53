"""How many machines a load takes, from what a call was measured to cost: replicas, Redis, PostgreSQL, rows.

python -m bench.scale                                  # the sizes of docs/scale.md
python -m bench.scale --requests 5000 --streams 20000  # one of your own

A core is simulated with requests that come when they like (Poisson) and cost what was measured, to see how
full it may be; the rest is arithmetic.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_DAY = 86_400


@dataclass(frozen=True, slots=True)
class Costs:
    """What docs/scale.md says was measured. Microseconds of a core, bytes."""

    request_us: float = 411.0
    chunk_us: float = 30.0
    # Of a core of Redis, for a call whose key, team and model have four limits and budgets in all.
    redis_us: float = 36.0
    # Of a core of PostgreSQL, for a call with one attempt, in batches.
    ledger_us: float = 34.0
    # Of memory, for a stream that is open.
    stream_bytes: float = 31 * 1024
    idle_bytes: float = 101 * 1024 * 1024
    # On disk, with indexes, for a call with one attempt.
    row_bytes: float = 830.0


@dataclass(frozen=True, slots=True)
class Load:
    """`requests` a second, of which streams are `open` at any moment with `pace` chunks a second each."""

    requests: float
    open: float
    pace: float = 30.0


@dataclass(frozen=True, slots=True)
class Size:
    """What a load takes. `cores`: of replicas, one process each; `memory`: of one of them, in bytes;
    `redis`, `postgres`: cores; `rows` and `disk` (bytes) a day."""

    cores: int
    memory: float
    redis: float
    postgres: float
    rows: float
    disk: float


def size(load: Load, costs: Costs, full: float) -> Size:
    """How much of everything, with cores that are at most so `full` (0 to 1)."""
    busy = load.requests * costs.request_us + load.open * load.pace * costs.chunk_us
    cores = max(1, math.ceil(busy / 1e6 / full))
    return Size(
        cores,
        costs.idle_bytes + load.open / cores * costs.stream_bytes,
        load.requests * costs.redis_us / 1e6,
        load.requests * costs.ledger_us / 1e6,
        load.requests * _DAY,
        load.requests * _DAY * costs.row_bytes,
    )


def waits(full: float, service_us: float, jobs: int, draw: random.Random) -> list[float]:
    """How long each of so many jobs waits for a core that is so `full`, in microseconds: jobs come when they
    like and cost the same."""
    mean = service_us / full
    free = now = 0.0
    found = []
    for _ in range(jobs):
        now += draw.expovariate(1 / mean)
        begins = max(now, free)
        found.append(begins - now)
        free = begins + service_us
    return found


def quantile(values: Sequence[float], share: float) -> float:
    """Of values in any order."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def report(loads: Sequence[Load], costs: Costs, full: float, jobs: int = 200_000) -> Iterator[str]:
    """Lines of both tables."""
    yield "| a core is so full | a call waits, p50 | p99 |"
    yield "|---|---|---|"
    for each in (0.3, 0.5, 0.6, 0.7, 0.8, 0.9):
        found = waits(each, costs.request_us, jobs, random.Random(1))
        p50, p99 = quantile(found, 0.5) / 1000, quantile(found, 0.99) / 1000
        yield f"| {each:.0%} | {p50:.1f} ms | {p99:.1f} ms |"
    yield ""
    names = ("memory of each", "Redis", "PostgreSQL", "rows a day", "disk a day")
    yield f"| requests/s | open streams | cores of replicas, {full:.0%} full | {' | '.join(names)} |"
    yield "|---|---|---|---|---|---|---|---|"
    for load in loads:
        need = size(load, costs, full)
        yield (
            f"| {load.requests:,.0f} | {load.open:,.0f} | {need.cores:,} | {need.memory / 2**20:,.0f} MiB "
            f"| {need.redis:.1f} cores | {need.postgres:.1f} cores | {need.rows / 1e6:,.0f} million "
            f"| {need.disk / 2**30:,.0f} GiB |"
        )


LOADS = (Load(100, 1_000), Load(1_000, 10_000), Load(10_000, 100_000), Load(100_000, 1_000_000))


def main(words: Sequence[str]) -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__)
    parser.add_argument("--requests", type=float, help="a second")
    parser.add_argument("--streams", type=float, default=0, help="open at any moment")
    parser.add_argument("--pace", type=float, default=30, help="chunks a second of each (30)")
    parser.add_argument("--full", type=float, default=0.6, help="how full a core may be (0.6)")
    said = parser.parse_args(words)
    loads = LOADS if said.requests is None else (Load(said.requests, said.streams, said.pace),)
    print("\n".join(report(loads, Costs(), said.full)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
