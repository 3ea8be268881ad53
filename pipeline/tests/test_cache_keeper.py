"""Purges are carried out in every process: what they name is deleted, and what came after them stays."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from pipeline.cache_keeper import Keeper
from pipeline.cache_memory import MemoryCache
from pipeline.cache_metrics import CacheMetrics
from pipeline.cache_stores import Kept, Place, Sweep
from routing.caching import Purge
from routing.snapshot import Snapshot


class Holder:
    """Where the current snapshot is."""

    def __init__(self) -> None:
        self.current = Snapshot(1)


class Away(MemoryCache):
    """A store that is away for a while."""

    def __init__(self) -> None:
        super().__init__(1 << 20, 1 << 20)
        self.sweeps: list[Sweep] = []
        self.there = False

    async def sweep(self, sweep: Sweep) -> int | None:  # type: ignore[override]  # memory always sees all
        self.sweeps.append(sweep)
        return 0 if self.there else None


async def test_s33_what_was_purged_leaves_memory() -> None:
    store, holder = MemoryCache(1 << 20, 1 << 20), Holder()
    registry = CollectorRegistry()
    keeper = Keeper(store, holder, CacheMetrics(registry))
    mine, theirs = Place(1, 5), Place(2, 5)
    for place in (mine, theirs):
        await store.put(place, [Kept(bytes([place.team]) * 32, b"value", 60)])
    await keeper.look()
    assert registry.get_sample_value("gateway_cache_bytes") == store.size > 0
    holder.current = Snapshot(2, purges=(Purge(7, team_id=1),))
    await keeper.look()
    assert await store.get(mine, [b"\x01" * 32]) == [None]
    assert await store.get(theirs, [b"\x02" * 32]) == [b"value"]
    later = Place(1, 5, epoch=7)
    await store.put(later, [Kept(b"\x03" * 32, b"value", 60)])
    await keeper.look()
    assert await store.get(later, [b"\x03" * 32]) == [b"value"]


async def test_one_answer_by_its_key() -> None:
    store, holder = MemoryCache(1 << 20, 1 << 20), Holder()
    keeper = Keeper(store, holder, CacheMetrics(CollectorRegistry()))
    await store.put(Place(1, 5), [Kept(bytes([n]) * 32, b"value", 60) for n in (1, 2)])
    holder.current = Snapshot(2, purges=(Purge(7, key="01" * 32),))
    await keeper.look()
    assert await store.get(Place(1, 5), [b"\x01" * 32, b"\x02" * 32]) == [None, b"value"]


async def test_a_store_that_was_away_is_swept_when_it_is_back() -> None:
    store, holder = Away(), Holder()
    keeper = Keeper(store, holder, CacheMetrics(CollectorRegistry()))
    holder.current = Snapshot(2, purges=(Purge(7), Purge(8, team_id=1)))
    await keeper.look()
    store.there = True
    await keeper.look()
    await keeper.look()
    assert [sweep.before for sweep in store.sweeps] == [7, 7, 8]


@pytest.mark.parametrize("started", [False, True])
async def test_it_ends_when_it_is_told_to(started: bool) -> None:
    keeper = Keeper(MemoryCache(1 << 20, 1 << 20), Holder(), CacheMetrics(CollectorRegistry()))
    if started:
        await keeper.start()
    await keeper.stop()
