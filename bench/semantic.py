"""What the semantic cache is worth and costs: false hits on the labelled questions, and the time of a look.

Run as ``python -m bench.semantic``, with ``--redis URL`` and ``--postgres URL`` for the stores of these
servers (their data is thrown away: give it empty ones), and ``--entries 1000 100000``. Prints Markdown.
"""

import argparse
import asyncio
import itertools
import random
import statistics
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import get_args

import numpy as np
import psutil
import psycopg
from redis.asyncio import Redis

from bench.paraphrases import Pair, groups, load
from pipeline.semantic import postgres, redis
from pipeline.semantic.guard import signature
from pipeline.semantic.local_model import LocalModel
from pipeline.semantic.memory import MemoryVectors
from pipeline.semantic.postgres import PostgresVectors
from pipeline.semantic.redis import RedisVectors
from pipeline.semantic.stores import PARTITION, VectorStore
from routing.semantic import THRESHOLD, Guard

_THRESHOLDS = (0.8, 0.85, 0.9, 0.95, 0.98)
_GUARDS: tuple[Guard, ...] = get_args(Guard)
_DIMENSIONS = 256
# With the guard over words most partitions hold one question in a few forms.
_USUAL = 10
_LOOKS = 1000
_NEIGHBOURS = 3
_DAY = 86_400.0
_BATCH = 2000


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--redis", metavar="URL")
    parser.add_argument("--postgres", metavar="URL")
    parser.add_argument("--looks-only", action="store_true", help="no model and no labelled questions")
    parser.add_argument("--entries", type=int, nargs="*", default=[1000, 100_000, 1_000_000])
    options = parser.parse_args()
    if not options.looks_only:
        _print_model()
        model = LocalModel()
        pairs = load()
        _print_accuracy(model, pairs)
        _print_kinds(model, pairs)
    asyncio.run(_print_looks(options.entries, options.redis, options.postgres))


# --- The embedded model


def _print_model() -> None:
    process = psutil.Process()
    before, began = process.memory_info().rss, time.perf_counter()
    model = LocalModel()
    seconds, memory = time.perf_counter() - began, process.memory_info().rss - before
    print(f"\nThe embedded model: {seconds:.2f} s to load, {memory / 2**20:.0f} MiB.\n")
    print("| question | vector, µs | guard, µs |")
    print("|---|---|---|")
    for text in (
        "What is the capital of France?",
        "Which of these two plans is better for us? " * 6,
        "word " * 200,
    ):
        vector = _microseconds(lambda text=text: model.vector(text))
        guard = _microseconds(lambda text=text: signature(text, "words"))
        print(f"| {len(text)} characters | {vector:.0f} | {guard:.0f} |")


def _microseconds(work: object, times: int = 50) -> float:
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        work()  # type: ignore[operator]  # a lambda
        taken.append(time.perf_counter() - began)
    return statistics.median(taken) * 1e6


# --- False hits


def _cosine(model: LocalModel, one: str, other: str) -> float:
    first, second = model.vector(one), model.vector(other)
    if first is None or second is None:
        return 0.0
    return float(np.frombuffer(first, "<f4") @ np.frombuffer(second, "<f4"))


def _alike(guard: Guard, one: str, other: str) -> bool:
    return signature(one, guard) == signature(other, guard)


def _print_accuracy(model: LocalModel, pairs: Sequence[Pair]) -> None:
    same = [pair for pair in pairs if pair.same]
    near = [pair for pair in pairs if not pair.same]
    cosines = {(pair.first, pair.second): _cosine(model, pair.first, pair.second) for pair in pairs}
    group = groups(list(pairs))
    print(
        f"\n{len(same)} paraphrases, {len(near)} near misses, {len(group)} questions. Hits among the "
        "paraphrases, false hits among the near misses, and among any two questions that are not one:\n"
    )
    heads = [f"{guard}: hits, false, any two" for guard in _GUARDS]
    print("| threshold | " + " | ".join(heads) + " |")
    print("|---" * (len(heads) + 1) + "|")
    strangers = {guard: _strangers(model, group, guard) for guard in _GUARDS}
    for threshold in _THRESHOLDS:
        cells = []
        for guard in _GUARDS:
            hits, false = (
                sum(
                    cosines[p.first, p.second] >= threshold and _alike(guard, p.first, p.second) for p in some
                )
                for some in (same, near)
            )
            any_two = sum(cosine >= threshold for cosine in strangers[guard])
            cells.append(f"{hits / len(same):.0%}, {false} ({false / len(near):.1%}), {any_two}")
        mark = " (default)" if threshold == THRESHOLD else ""
        print(f"| {threshold}{mark} | " + " | ".join(cells) + " |")


def _strangers(model: LocalModel, group: dict[str, int], guard: Guard) -> list[float]:
    """The cosines of any two questions that the guard lets pass and that are not one."""
    alike: dict[str, list[str]] = {}
    for question in group:
        alike.setdefault(signature(question, guard), []).append(question)
    return [
        _cosine(model, one, other)
        for questions in alike.values()
        for one, other in itertools.combinations(questions, 2)
        if group[one] != group[other]
    ]


def _print_kinds(model: LocalModel, pairs: Sequence[Pair]) -> None:
    print(f"\nBy kind, at the threshold {THRESHOLD}:\n")
    print("| kind | pairs | " + " | ".join(f"hits with {guard}" for guard in _GUARDS) + " |")
    print("|---" * (len(_GUARDS) + 2) + "|")
    for (same, kind), some in itertools.groupby(
        sorted(pairs, key=lambda pair: (not pair.same, pair.kind)), key=lambda pair: (pair.same, pair.kind)
    ):
        found = list(some)
        hits = [
            sum(
                _alike(guard, pair.first, pair.second)
                and _cosine(model, pair.first, pair.second) >= THRESHOLD
                for pair in found
            )
            for guard in _GUARDS
        ]
        name = f"paraphrase: {kind}" if same else f"near miss: {kind}"
        print(f"| {name} | {len(found)} | " + " | ".join(map(str, hits)) + " |")


# --- Looks


@dataclass(frozen=True, slots=True)
class _Shape:
    """How entries lie: so many in each partition."""

    entries: int
    each: int


async def _print_looks(entries: Sequence[int], redis_url: str | None, postgres_url: str | None) -> None:
    print(f"\nA look for the {_NEIGHBOURS} nearest, {_DIMENSIONS} numbers each; p50, p99, own CPU in µs:\n")
    shapes = [_Shape(number, each) for number in entries for each in (_USUAL, PARTITION)]
    print(
        "| store | "
        + " | ".join(f"{shape.entries:,} in partitions of {shape.each:,}" for shape in shapes)
        + " |"
    )
    print("|---" * (len(shapes) + 1) + "|")
    kinds = ["memory"]
    kinds += ["redis"] if redis_url else []
    kinds += ["postgres"] if postgres_url else []
    for kind in kinds:
        cells = []
        for shape in shapes:
            async with _filled(kind, shape, redis_url or "", postgres_url or "") as store:
                cells.append(await _looks(store, shape))
        print(f"| {kind} | " + " | ".join(cells) + " |", flush=True)


async def _looks(store: VectorStore, shape: _Shape) -> str:
    rows = _rows(np.random.default_rng(7), _LOOKS)
    draw = random.Random(7)
    places = [f"p{draw.randrange(max(1, shape.entries // shape.each))}" for _ in range(_LOOKS)]
    taken = []
    cpu = time.process_time()
    for place, vector in zip(places, rows, strict=True):
        began = time.perf_counter()
        await store.nearest(place, vector, _NEIGHBOURS)
        taken.append((time.perf_counter() - began) * 1e6)
    each = (time.process_time() - cpu) / _LOOKS * 1e6
    taken.sort()
    return f"{taken[_LOOKS // 2]:.0f}, {taken[_LOOKS * 99 // 100]:.0f}, {each:.0f}"


def _rows(generator: np.random.Generator, count: int) -> list[bytes]:
    numbers = generator.standard_normal((count, _DIMENSIONS), np.float32)
    numbers /= np.linalg.norm(numbers, axis=1, keepdims=True)
    return [row.tobytes() for row in numbers]


@asynccontextmanager
async def _filled(kind: str, shape: _Shape, redis_url: str, postgres_url: str) -> AsyncIterator[VectorStore]:
    """A store with so many entries, written as quickly as its server takes them."""
    store: VectorStore
    if kind == "redis":
        await _fill_redis(redis_url, shape)
        store = RedisVectors(redis_url)
    elif kind == "postgres":
        await asyncio.to_thread(_fill_postgres, postgres_url, shape)
        store = PostgresVectors(postgres_url)
    else:
        store = MemoryVectors(most_bytes=1 << 40)
        for place, key, vector in _all(shape):
            await store.add(place, key, vector, _DAY)
    try:
        yield store
    finally:
        await store.aclose()


def _all(shape: _Shape) -> "itertools.chain[tuple[str, str, bytes]]":
    generator = np.random.default_rng(1)
    starts = range(0, shape.entries, _BATCH)
    return itertools.chain.from_iterable(
        [
            (f"p{number // shape.each}", f"{number:064x}", vector)
            for number, vector in enumerate(_rows(generator, min(_BATCH, shape.entries - start)), start)
        ]
        for start in starts
    )


async def _fill_redis(url: str, shape: _Shape) -> None:
    client: Redis = Redis.from_url(url)
    await client.flushdb()
    add = await client.script_load(redis.ADD)
    pipe = client.pipeline(transaction=False)
    for number, (place, key, vector) in enumerate(_all(shape), 1):
        name = f"sem:{{{place}}}"
        pipe.evalsha(add, 2, name, f"{name}:o", f"v:{key}", vector, int(_DAY * 1000), PARTITION)
        if number % _BATCH == 0 or number == shape.entries:
            await pipe.execute()
    await client.aclose()


def _fill_postgres(url: str, shape: _Shape) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS semantic_vector")
    postgres.prepare(url)
    with psycopg.connect(url, autocommit=True) as connection:
        into = "COPY semantic_vector (partition, found, ends, vector) FROM STDIN"
        with connection.cursor() as cursor, cursor.copy(into) as copy:
            for place, key, vector in _all(shape):
                numbers = ",".join(f"{number:.6f}" for number in np.frombuffer(vector, "<f4"))
                copy.write_row((place, key, "infinity", f"[{numbers}]"))
        connection.execute("ANALYZE semantic_vector")


if __name__ == "__main__":
    main()
