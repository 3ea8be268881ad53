"""The same tests for every store of vectors, on real servers."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable

import pytest

from pipeline.semantic import postgres
from pipeline.semantic.memory import MemoryVectors
from pipeline.semantic.postgres import PostgresVectors
from pipeline.semantic.redis import RedisVectors
from pipeline.semantic.stores import VectorStore
from pipeline.semantic.vectors import pack
from tests.support.redis_sets import EACH_FORM, FORMS
from tests.support.services import PostgresServer

# A partition of the stores under test holds so many.
MOST = 5
DAY = 86_400.0

_numbers = itertools.count()

Make = Callable[[], VectorStore]


def unit(*numbers: float) -> bytes:
    packed = pack(numbers)
    assert packed is not None
    return packed


def unique() -> str:
    return f"partition-{next(_numbers)}"


@pytest.fixture(
    params=[
        "memory",
        *EACH_FORM,
        pytest.param("postgres", marks=pytest.mark.postgres),
    ]
)
async def make(request: pytest.FixtureRequest) -> AsyncIterator[Make]:
    """Makes stores of one kind that share what they keep, as replicas do."""
    made: list[VectorStore] = []
    shared = MemoryVectors(partition=MOST)
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_url")
        await asyncio.to_thread(postgres.prepare, url)
    elif request.param in FORMS:
        url = request.getfixturevalue(FORMS[request.param])
    else:
        url = ""

    def one() -> VectorStore:
        if request.param in FORMS:
            store: VectorStore = RedisVectors(url, partition=MOST)
        elif request.param == "postgres":
            store = PostgresVectors(url, partition=MOST)
        else:
            store = shared
        made.append(store)
        return store

    yield one
    for store in made:
        await store.aclose()


@pytest.fixture
def store(make: Make) -> VectorStore:
    return make()


async def keys(store: VectorStore, partition: str, vector: bytes, most: int = 3) -> list[str]:
    return [found.key for found in await store.nearest(partition, vector, most)]


async def test_the_nearest_comes_first_with_its_cosine(store: VectorStore) -> None:
    here = unique()
    await store.add(here, "north", unit(0, 1), DAY)
    await store.add(here, "east", unit(1, 0), DAY)
    await store.add(here, "north-east", unit(1, 1), DAY)
    first, second, third = await store.nearest(here, unit(0, 2), 3)
    assert (first.key, second.key, third.key) == ("north", "north-east", "east")
    assert first.similarity == pytest.approx(1.0, abs=1e-6)
    assert second.similarity == pytest.approx(0.5**0.5, abs=1e-6)
    assert third.similarity == pytest.approx(0.0, abs=1e-6)
    assert await keys(store, here, unit(0, 2), 1) == ["north"]


async def test_a_search_never_leaves_its_partition(store: VectorStore) -> None:
    here, there = unique(), unique()
    await store.add(there, "theirs", unit(0, 1), DAY)
    assert await keys(store, here, unit(0, 1)) == []
    await store.add(here, "ours", unit(1, 0), DAY)
    assert await keys(store, here, unit(0, 1)) == ["ours"]


async def test_an_empty_store_has_nothing(store: VectorStore) -> None:
    assert await keys(store, unique(), unit(1, 2, 3)) == []


async def test_what_is_added_again_is_replaced(store: VectorStore) -> None:
    here = unique()
    await store.add(here, "one", unit(0, 1), DAY)
    await store.add(here, "one", unit(1, 0), DAY)
    found = await store.nearest(here, unit(1, 0), 3)
    assert [(each.key, round(each.similarity, 3)) for each in found] == [("one", 1.0)]


async def test_what_is_dropped_is_gone_and_the_rest_stays(store: VectorStore) -> None:
    here = unique()
    for number in range(4):
        await store.add(here, str(number), unit(1, number), DAY)
    assert len(await keys(store, here, unit(1, 0), 4)) == 4
    await store.drop(here, "0")
    await store.drop(here, "0")
    await store.drop(unique(), "0")
    assert await keys(store, here, unit(1, 0), 4) == ["1", "2", "3"]


async def test_a_full_partition_lets_its_oldest_go(store: VectorStore) -> None:
    here = unique()
    for number in range(MOST + 2):
        await store.add(here, str(number), unit(1, number), DAY)
    assert await keys(store, here, unit(1, 0), 10) == [str(number) for number in range(2, MOST + 2)]
    # One that is kept anew is the newest.
    await store.add(here, "2", unit(1, 0), DAY)
    await store.add(here, "new", unit(0, 1), DAY)
    assert "2" in await keys(store, here, unit(1, 0), 10)
    assert "3" not in await keys(store, here, unit(1, 0), 10)


async def test_another_model_under_the_same_name_finds_nothing_of_the_old(store: VectorStore) -> None:
    here = unique()
    await store.add(here, "old", unit(0, 1), DAY)
    assert await keys(store, here, unit(0, 1, 0)) == []
    await store.add(here, "new", unit(0, 1, 0), DAY)
    assert await keys(store, here, unit(0, 1, 0)) == ["new"]


async def test_replicas_see_each_other(make: Make) -> None:
    one, other = make(), make()
    here = unique()
    await one.add(here, "a", unit(0, 1), DAY)
    assert await keys(other, here, unit(0, 1)) == ["a"]
    await other.add(here, "b", unit(1, 0), DAY)
    assert await keys(one, here, unit(1, 0), 1) == ["b"]
    await one.drop(here, "a")
    assert await keys(other, here, unit(0, 1)) == ["b"]
    await other.drop(here, "b")
    assert await keys(one, here, unit(0, 1)) == []
    await one.add(here, "c", unit(1, 1), DAY)
    assert await keys(other, here, unit(0, 1)) == ["c"]


async def test_many_at_once(store: VectorStore) -> None:
    here = unique()
    await asyncio.gather(*(store.add(here, str(number), unit(1, number), DAY) for number in range(20)))
    assert len(await keys(store, here, unit(1, 0), 20)) == MOST


# -- memory


async def test_memory_stays_within_its_bound() -> None:
    store = MemoryVectors(most_bytes=100_000)
    for number in range(1000):
        await store.add(f"p{number % 7}", str(number), unit(*([1.0] * 64)), DAY)
        assert store.bytes <= 100_000
    assert 0 < len(store) < 1000
    # The newest stay.
    assert await keys(store, f"p{999 % 7}", unit(*([1.0] * 64)), 1000) != []


async def test_memory_lets_go_what_was_not_used_longest() -> None:
    store = MemoryVectors(most_bytes=4000)
    await store.add("p", "used", unit(1, 0), DAY)
    for number in range(20):
        await store.add("q", str(number), unit(0, 1), DAY)
        assert await keys(store, "p", unit(1, 0)) == ["used"]


async def test_memory_counts_to_nothing_when_all_is_dropped() -> None:
    store = MemoryVectors()
    for number in range(50):
        await store.add("p", str(number), unit(1, number), DAY)
    for number in range(50):
        await store.drop("p", str(number))
    assert (store.bytes, len(store)) == (0, 0)


async def test_a_large_partition_is_searched_in_a_thread_and_what_changed_meanwhile_is_not_believed() -> None:
    store = MemoryVectors(partition=600)
    rows = [unit(*([1.0] * 1000 + [float(number)])) for number in range(600)]
    for number, row in enumerate(rows):
        await store.add("p", str(number), row, DAY)
    search = asyncio.create_task(store.nearest("p", rows[300], 3))
    await asyncio.sleep(0)  # it has handed its product to a thread
    await store.drop("p", "300")
    assert "300" not in [found.key for found in await search]
    assert await keys(store, "p", rows[300], 1) != ["300"]


# -- Redis


@pytest.mark.valkey
async def test_redis_brings_a_large_partition_in_parts(redis_url: str) -> None:
    writer = RedisVectors(redis_url)
    reader = RedisVectors(redis_url)
    here = unique()
    for number in range(600):
        await writer.add(here, str(number), unit(1, number), DAY)
    seen = [len(await reader.nearest(here, unit(1, 0), 1000)) for _ in range(4)]
    assert seen == [256, 512, 600, 600]
    await writer.aclose()
    await reader.aclose()


@pytest.mark.valkey
async def test_redis_copies_stay_within_their_bound(redis_url: str) -> None:
    store = RedisVectors(redis_url, copies=1000)
    for _ in range(50):
        here = unique()
        await store.add(here, "a", unit(*([1.0] * 64)), DAY)
        assert await keys(store, here, unit(*([1.0] * 64))) == ["a"]
        assert store.bytes <= 1000
    await store.aclose()


@pytest.mark.valkey
async def test_redis_forgets_by_itself(redis_url: str) -> None:
    store = RedisVectors(redis_url)
    here = unique()
    await store.add(here, "a", unit(1, 0), 10.0)
    left = [await store._client.pttl(name) for name in (f"sem:{{{here}}}", f"sem:{{{here}}}:o")]
    assert all(9_000 < each <= 10_000 for each in left)
    await store.aclose()


# -- PostgreSQL


@pytest.mark.postgres
async def test_preparing_twice_is_no_harm_and_an_unprepared_database_is_an_outage(
    postgres_server: PostgresServer,
) -> None:
    url = postgres_server.create_database("semantic_bare")
    store = PostgresVectors(url)
    with pytest.raises(OSError, match=r"."):
        await store.nearest("p", unit(1, 0), 1)
    await store.aclose()
    for _ in range(2):
        await asyncio.to_thread(postgres.prepare, url)
    store = PostgresVectors(url)
    assert await store.nearest("p", unit(1, 0), 1) == []
    await store.aclose()
