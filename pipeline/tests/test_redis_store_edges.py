"""Limits in Redis at their edges: what is said of an outage, what waits, clocks and windows."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from pipeline import redis_store
from pipeline.memory import MemoryStore
from pipeline.redis_store import RedisStore
from pipeline.stores import Ask, Demand
from pipeline.tests.redis_replicas import Replica, Told, plain, replicas
from pipeline.tests.test_stores import demand, places, requests, unique
from tests.support.services import RedisServer

pytestmark = pytest.mark.valkey


@pytest.fixture
async def replica(fresh_redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Replica]:
    monkeypatch.setattr(redis_store, "PROBE_SECONDS", 0.05)
    async with replicas(fresh_redis.url) as (one,):
        yield one


async def test_a_redis_that_may_evict_is_warned_of(
    fresh_redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    with plain(fresh_redis) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
    async with replicas(fresh_redis.url):
        assert "noeviction" in caplog.text


async def test_an_outage_is_said_once(
    replica: Replica, fresh_redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    fresh_redis.kill()
    await replica.lose()
    for _ in range(100):
        await replica.take(requests(10**6, unique("rpm")))
    said = [record for record in caplog.records if record.name.startswith("pipeline.redis")]
    assert len(said) == 1
    assert said[0].exc_info is None
    assert str(fresh_redis.port) not in said[0].getMessage()
    fresh_redis.start()
    await replica.regain()


async def test_what_waits_is_bounded(
    replica: Replica, fresh_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_store, "MAX_OUTBOX", 10)
    slots = unique("slots")
    fresh_redis.kill()
    await replica.lose()
    before = replica.told.lost
    for _ in range(30):
        one = demand(places(100, slots))
        replica.store.settle(one, await replica.store.decide(one), (0,))
    assert len(replica.store._outbox) == 10
    assert replica.told.lost >= before + 20
    fresh_redis.start()
    await replica.regain()


async def test_a_clock_that_is_set_back_frees_nothing(replica: Replica, fresh_redis: RedisServer) -> None:
    """Whatever was counted counts as of now, and not for ever."""
    key = unique("rpm")
    for _ in range(3):
        await replica.take(requests(3, key))
    with plain(fresh_redis) as client:
        name = "llmgw:" + key
        fields = client.hgetall(name)
        later = int(fields["n"]) + 40
        client.delete(name)
        client.hset(name, mapping={"s": 3, "o": later, "n": later, str(later): 3})
        verdict = await replica.take(requests(3, key))
        assert not verdict.admitted
        assert verdict.levels[0].wait <= 86_400 * 61 / 60
        assert int(client.hget(name, "n") or 0) == int(fields["n"])


async def test_a_window_costs_redis_the_same_however_much_it_counts(
    replica: Replica, fresh_redis: RedisServer
) -> None:
    key = unique("tpm")
    for _ in range(500):
        await replica.take(Ask("window", key, 10**9, 1000, 60))
    with plain(fresh_redis) as client:
        assert client.hlen("llmgw:" + key) <= 64
        assert int(client.hget("llmgw:" + key, "s") or 0) == 500_000
        assert 0 < client.ttl("llmgw:" + key) <= 66


async def test_windows_move_on_in_redis(replica: Replica, fresh_redis: RedisServer) -> None:
    """Parts that have passed are taken off the sum: here they are made old by hand."""
    key = unique("rpm")
    await replica.take(Ask("window", key, 10, 1, 60))
    with plain(fresh_redis) as client:
        name = "llmgw:" + key
        newest = int(client.hget(name, "n") or 0)
        client.delete(name)
        client.hset(
            name,
            mapping={
                "s": 9,
                "o": newest - 70,
                "n": newest,
                str(newest - 70): 4,
                str(newest - 61): 2,
                str(newest): 3,
            },
        )
        level = (await replica.take(Ask("window", key, 10, 1, 60))).levels[0]
        assert level.used in (4, 2)
        assert str(newest - 70) not in client.hgetall(name)


def test_all_keys_of_a_decision_are_in_one_slot_of_a_cluster() -> None:
    step = RedisStore("redis://127.0.0.1:1/0", MemoryStore(), lambda _: None, Told().reports())._question(
        Demand("call", "team7", (requests(1, "{team7}:limit:1:60"), places(1, "{team7}:limit:2:0")))
    )
    assert {key.partition("{")[2].partition("}")[0] for key in step.keys} == {"team7"}
