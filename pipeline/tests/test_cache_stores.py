"""The same of every store: what is kept, for whom, for how long, how much, and what a sweep takes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from redis import Redis

from pipeline import cache_redis
from pipeline.cache_memory import OVERHEAD, MemoryCache
from pipeline.cache_metrics import CacheMetrics
from pipeline.cache_redis import RedisCache
from pipeline.cache_stores import CacheStore, Kept, Place, Stock, Sweep
from pipeline.redis_client import connect_blocking
from pipeline.tests.patient_redis import started, wait_for_answers
from tests.support.redis_sets import EACH_FORM, FORMS
from tests.support.services import RedisServer

# A team's share in these tests.
TEAM = 20_000
HERE = Place(team=1, route=5)
THERE = Place(team=2, route=5)
_PATIENCE = 10.0


def key(name: object) -> bytes:
    return sha256(str(name).encode()).digest()


def kept(name: object, value: bytes = b"value", seconds: float = 60.0) -> Kept:
    return Kept(key(name), value, seconds)


@dataclass
class Bench:
    """A store, and how time passes for it."""

    store: CacheStore
    later: Callable[[float], None]
    registry: CollectorRegistry

    async def has(self, *names: object, place: Place = HERE) -> list[bytes | None]:
        return await self.store.get(place, [key(name) for name in names])

    def counted(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, labels) or 0.0


@pytest.fixture(params=["memory", *EACH_FORM])
async def bench(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    registry = CollectorRegistry()
    ahead = [0.0]
    if request.param == "memory":
        clock = lambda: time.monotonic() + ahead[0]  # noqa: E731 - what it reads changes
        yield Bench(
            MemoryCache(3 * TEAM, TEAM, clock), lambda by: ahead.__setitem__(0, ahead[0] + by), registry
        )
        return
    url = request.getfixturevalue(FORMS[request.param])
    with connect_blocking(url, _PATIENCE) as client:
        client.flushdb()
        wait_for_answers(monkeypatch)
        store = await started(url, TEAM, CacheMetrics(registry))
        # Its clock cannot be set: what it keeps is let end as if that time had passed.
        yield Bench(store, lambda by: _pass(client, by), registry)
        await store.stop()
        client.flushdb()


def _pass(client: Any, seconds: float) -> None:
    for name in list(client.scan_iter("llmgw-cache:*")):
        if name.endswith(b":index"):
            for member in client.zrange(name, 0, -1):
                client.zincrby(name, -int(seconds * 1000), member)
        left = client.pttl(name) - int(seconds * 1000)
        client.pexpire(name, max(left, 0))


async def test_what_was_kept_is_there_in_the_order_of_the_question(bench: Bench) -> None:
    await bench.store.put(HERE, [kept("a", b"\x00\xff" * 10), kept("b", b"B")])
    assert await bench.has("b", "nothing", "a") == [b"B", None, b"\x00\xff" * 10]


async def test_s31_another_team_route_or_time_before_a_purge_has_nothing_of_it(bench: Bench) -> None:
    await bench.store.put(HERE, [kept("a")])
    assert await bench.has("a") == [b"value"]
    assert await bench.has("a", place=THERE) == [None]


async def test_it_is_gone_when_its_time_is_over(bench: Bench) -> None:
    await bench.store.put(HERE, [kept("short", seconds=10), kept("long", seconds=30)])
    bench.later(10.5)
    assert await bench.has("short", "long") == [None, b"value"]
    await bench.store.put(HERE, [kept("other")])
    assert (await bench.store.stock())[1].entries == 2


async def test_the_newest_value_counts_and_the_older_takes_no_room(bench: Bench) -> None:
    for turn in range(50):
        await bench.store.put(HERE, [kept("same", b"%d" % turn * 1000)])
    assert await bench.has("same") == [b"49" * 1000]
    stock = (await bench.store.stock())[1]
    assert stock.entries == 1
    assert 2000 < stock.size < 2000 + 2 * OVERHEAD


async def test_s33_a_team_takes_its_share_and_no_more(bench: Bench) -> None:
    for number in range(40):
        await bench.store.put(HERE, [kept(number, bytes(1000))])
    stock = (await bench.store.stock())[1]
    assert stock.size <= TEAM
    assert stock.entries > 5
    assert await bench.has(39, 0) == [bytes(1000), None]


async def test_s33_a_team_that_fills_its_share_takes_nothing_from_another(bench: Bench) -> None:
    await bench.store.put(THERE, [kept("theirs")])
    for number in range(40):
        await bench.store.put(HERE, [kept(number, bytes(1000))])
    assert await bench.has("theirs", place=THERE) == [b"value"]


async def test_s33_what_is_larger_than_a_share_is_not_kept_and_costs_nobody_anything(bench: Bench) -> None:
    await bench.store.put(HERE, [kept("small")])
    await bench.store.put(HERE, [kept("huge", bytes(TEAM))])
    assert await bench.has("huge") == [None]
    assert (await bench.store.stock()).get(1, Stock(0, 0)).size <= TEAM


@pytest.mark.parametrize(
    ("sweep", "left"),
    [
        (Sweep(9), []),
        (Sweep(9, team=1), ["other team"]),
        (Sweep(9, route=5), ["other route"]),
        (Sweep(9, team=1, route=5), ["other route", "other team"]),
        (Sweep(9, team=7), ["old", "new", "other route", "other team"]),
        (Sweep(3), ["new"]),
        (Sweep(9, key=key("old")), ["new", "other route", "other team"]),
    ],
    ids=["all", "team", "route", "both", "nobodys", "older_than_it", "one"],
)
async def test_s33_a_sweep_takes_what_it_names(bench: Bench, sweep: Sweep, left: list[str]) -> None:
    places = {
        "old": HERE,
        "new": Place(1, 5, epoch=4),
        "other route": Place(1, 6),
        "other team": THERE,
    }
    for name, place in places.items():
        await bench.store.put(place, [kept(name)])
    assert await bench.store.sweep(sweep) == 4 - len(left)
    there = [name for name, place in places.items() if await bench.has(name, place=place) == [b"value"]]
    assert there == left
    stock = await bench.store.stock()
    assert sum(each.entries for each in stock.values()) == len(left)
    # What was swept has made room.
    assert all(each.size < each.entries * 2 * OVERHEAD for each in stock.values())


async def test_many_at_once(bench: Bench) -> None:
    async def one(number: int) -> None:
        await bench.store.put(THERE, [kept(number, b"%d" % number)])
        assert await bench.has(number, place=THERE) in ([b"%d" % number], [None])

    await asyncio.gather(*(one(number) for number in range(200)))
    assert (await bench.store.stock())[2].size <= TEAM


# --- In memory


async def test_the_least_recently_used_goes_first() -> None:
    bench = Bench(MemoryCache(TEAM, TEAM), lambda _: None, CollectorRegistry())
    for number in range(10):
        await bench.store.put(HERE, [kept(number, bytes(1000))])
    for number in range(10, 20):
        assert await bench.has(0) == [bytes(1000)]
        await bench.store.put(HERE, [kept(number, bytes(1000))])
    assert await bench.has(0, 1) == [bytes(1000), None]


async def test_when_all_is_full_the_largest_team_gives_way() -> None:
    store = MemoryCache(2 * TEAM, TEAM)
    bench = Bench(store, lambda _: None, CollectorRegistry())
    await store.put(Place(9, 5), [kept("small")])
    for team in (1, 2, 3, 4):
        for number in range(15):
            await store.put(Place(team, 5), [kept((team, number), bytes(1000))])
            assert store.size <= 2 * TEAM
    assert await bench.has("small", place=Place(9, 5)) == [b"value"]


async def test_what_is_over_its_time_leaves_memory_without_being_asked_for() -> None:
    ahead = 0.0
    store = MemoryCache(TEAM, TEAM, lambda: ahead)
    await store.put(HERE, [kept(number, seconds=10) for number in range(5)])
    ahead = 11.0
    store.expire()
    assert store.size == 0


async def test_entries_that_are_written_again_and_again_do_not_pile_up() -> None:
    store = MemoryCache(TEAM, TEAM)
    for turn in range(5000):
        await store.put(HERE, [kept(turn % 3)])
    assert len(store._ends) < 2500


# --- In Redis


@asynccontextmanager
async def in_redis(server: RedisServer, *, there: bool = True) -> AsyncIterator[Bench]:
    registry = CollectorRegistry()
    metrics = CacheMetrics(registry)
    if there:
        store = await started(server.url, TEAM, metrics)
    else:
        store = RedisCache(server.url, TEAM, metrics)
        await store.start()
    try:
        yield Bench(store, lambda _: None, registry)
    finally:
        await store.stop()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(_PATIENCE):
        while not condition():  # noqa: ASYNC110 - what is waited for knows nothing of the test
            await asyncio.sleep(0.005)


@pytest.mark.valkey
@pytest.mark.parametrize("away", ["killed", "frozen"])
async def test_p7_a_redis_that_is_away_costs_next_to_nothing_and_comes_back(
    fresh_redis: RedisServer, monkeypatch: pytest.MonkeyPatch, away: str
) -> None:
    monkeypatch.setattr(cache_redis, "PROBE_SECONDS", 0.05)
    async with in_redis(fresh_redis) as bench:
        store = bench.store
        await store.put(HERE, [kept("a")])
        (fresh_redis.kill if away == "killed" else fresh_redis.stop)()
        waited = []
        async with asyncio.timeout(_PATIENCE):
            while store.up:
                began = time.monotonic()
                assert await bench.has("a") == [None]
                waited.append(time.monotonic() - began)
        assert len(waited) <= cache_redis.FAILURES
        assert bench.counted("gateway_cache_up") == 0
        failed = sum(
            bench.counted("gateway_cache_errors_total", reason=reason) for reason in ("timeout", "connection")
        )
        assert failed == len(waited)
        # Now it is not even asked.
        for _ in range(100):
            assert await bench.has("a") == [None]
            await store.put(HERE, [kept("b")])
        assert failed == sum(
            bench.counted("gateway_cache_errors_total", reason=reason) for reason in ("timeout", "connection")
        )
        (fresh_redis.start if away == "killed" else fresh_redis.cont)()
        await until(lambda: store.up)
        await store.put(HERE, [kept("c")])
        assert await bench.has("c") == [b"value"]
        assert bench.counted("gateway_cache_up") == 1


@pytest.mark.valkey
async def test_a_redis_that_is_not_there_at_the_start_is_done_without(
    fresh_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_redis, "PROBE_SECONDS", 0.05)
    fresh_redis.kill()
    async with in_redis(fresh_redis, there=False) as bench:
        assert await bench.has("a") == [None]
        assert await bench.store.stock() == {}
        assert await bench.store.sweep(Sweep(9)) is None
        fresh_redis.start()
        await until(lambda: bench.store.up)
        await bench.store.put(HERE, [kept("a")])
        assert await bench.has("a") == [b"value"]


@pytest.mark.valkey
async def test_a_redis_that_is_full_still_gives_what_it_has(
    fresh_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait_for_answers(monkeypatch)
    async with in_redis(fresh_redis) as bench:
        await bench.store.put(HERE, [kept("a")])
        with Redis.from_url(fresh_redis.url) as client:
            client.config_set("maxmemory", "1")
            await bench.store.put(HERE, [kept("b")])
            assert await bench.has("a", "b") == [b"value", None]
            assert bench.store.up
            assert bench.counted("gateway_cache_errors_total", reason="refused") == 1
            client.config_set("maxmemory", "0")
        await bench.store.put(HERE, [kept("b")])
        assert await bench.has("b") == [b"value"]


@pytest.mark.valkey
async def test_an_index_that_was_evicted_is_begun_anew(
    fresh_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait_for_answers(monkeypatch)
    async with in_redis(fresh_redis) as bench:
        await bench.store.put(HERE, [kept(number, bytes(1000)) for number in range(10)])
        with Redis.from_url(fresh_redis.url) as client:
            client.delete("llmgw-cache:{1}:index")
            await bench.store.put(HERE, [kept("new")])
            assert (await bench.store.stock())[1].entries == 1
            ends = {name: client.pttl(name) for name in client.keys("*")}
        assert all(left > 0 for left in ends.values()), "nothing stays for ever"


@pytest.mark.valkey
async def test_scripts_that_redis_has_forgotten_are_told_again(
    fresh_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait_for_answers(monkeypatch)
    async with in_redis(fresh_redis) as bench:
        await bench.store.put(HERE, [kept("a")])
        with Redis.from_url(fresh_redis.url) as client:
            client.script_flush()
        await bench.store.put(HERE, [kept("b")])
        assert await bench.has("a", "b") == [b"value", b"value"]


@pytest.mark.valkey
@pytest.mark.parametrize("command", ["scan", "evalsha"])
async def test_s33_a_sweep_that_did_not_see_all_says_so(
    fresh_redis: RedisServer, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    wait_for_answers(monkeypatch)
    async with in_redis(fresh_redis) as bench:
        await bench.store.put(HERE, [kept("a")])
        with Redis.from_url(fresh_redis.url) as client:
            client.execute_command("ACL", "SETUSER", "default", f"-{command}")
            taken = await bench.store.sweep(Sweep(10**9))
            client.execute_command("ACL", "SETUSER", "default", f"+{command}")
        assert taken is None
        assert bench.store.up
        assert await bench.store.sweep(Sweep(10**9)) == 1
