"""What becomes of limits when Redis freezes, dies, forgets or refuses: never none, never a wait."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from pipeline import redis_store
from pipeline.tests.redis_replicas import Replica, plain, replicas
from pipeline.tests.test_stores import demand, money, places, requests, unique
from tests.support.services import RedisServer

pytestmark = pytest.mark.valkey


@pytest.fixture
async def replica(fresh_redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Replica]:
    monkeypatch.setattr(redis_store, "PROBE_SECONDS", 0.05)
    async with replicas(fresh_redis.url) as (one,):
        yield one


# -- replicas


async def test_replicas_share_one_limit(fresh_redis: RedisServer) -> None:
    async with replicas(fresh_redis.url, 4) as stores:
        key = unique("rpm")
        verdicts = await asyncio.gather(*(stores[n % 4].take(requests(100, key)) for n in range(400)))
        assert sum(verdict.admitted for verdict in verdicts) == 100


async def test_replicas_share_places_and_money(fresh_redis: RedisServer) -> None:
    async with replicas(fresh_redis.url, 3) as stores:
        slots, budget = unique("slots"), unique("budget")
        await stores[0].store.seed(budget, 0, None)
        asks = [places(10, slots), money(1000, budget, 90)]
        demands = [demand(*asks) for _ in range(60)]
        verdicts = await asyncio.gather(*(stores[n % 3].store.decide(each) for n, each in enumerate(demands)))
        admitted = [
            (n % 3, d, v) for n, (d, v) in enumerate(zip(demands, verdicts, strict=True)) if v.admitted
        ]
        assert len(admitted) == 10
        for who, each, verdict in admitted:
            stores[who].store.settle(each, verdict, (0, 5))
            stores[who].store.settle(each, verdict, (0, 5))
        with plain(fresh_redis) as client:
            await stores[0].until(lambda: client.get("llmgw:" + budget) == "50")
            assert client.zcard("llmgw:" + slots) == 0


async def test_what_a_dead_process_held_comes_free(
    fresh_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its places by themselves; what it had reserved of a budget stays charged."""
    monkeypatch.setattr(redis_store, "LEASE_SECONDS", 0.5)
    dead = Replica(fresh_redis.url)
    await dead.store.start()
    slots, budget = unique("slots"), unique("budget")
    await dead.store.seed(budget, 0, None)
    assert (await dead.take(places(1, slots), money(100, budget, 30))).admitted
    assert dead.store._keeper is not None
    # As SIGKILL does it: nothing is said any more.
    dead.store._keeper.cancel()
    async with replicas(fresh_redis.url) as (other,):
        assert not (await other.take(places(1, slots))).admitted

        async def free() -> bool:
            return (await other.take(places(1, slots))).admitted

        await other.until(free)
        assert (await other.take(money(100, budget, 0))).levels[0].used == 30
    await dead.store._link.aclose()


async def test_places_that_are_held_are_renewed(
    fresh_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_store, "LEASE_SECONDS", 0.6)
    monkeypatch.setattr(redis_store, "RENEW_SECONDS", 0.1)
    async with replicas(fresh_redis.url, 2) as (holder, other):
        slots = unique("slots")
        assert (await holder.take(places(1, slots))).admitted
        with plain(fresh_redis) as client:
            first = client.zrange("llmgw:" + slots, 0, -1, withscores=True)[0][1]
            await holder.until(
                lambda: client.zrange("llmgw:" + slots, 0, -1, withscores=True)[0][1] > first + 600
            )
        assert not (await other.take(places(1, slots))).admitted


# -- Redis in trouble


@pytest.mark.parametrize("trouble", ["stop", "kill"])
async def test_without_redis_each_replica_takes_its_share(
    fresh_redis: RedisServer, trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_store, "PROBE_SECONDS", 0.05)
    async with replicas(fresh_redis.url, 4) as stores:
        key, fresh, slots = unique("rpm"), unique("rpm"), unique("slots")
        # One after the other: each replica knows what it was told last, and nothing later.
        before = [await stores[n % 4].take(requests(100, key)) for n in range(60)]
        assert all(verdict.admitted for verdict in before)
        getattr(fresh_redis, trouble)()
        for each in stores:
            await each.lose()
        assert stores[0].told.degraded[-1:] == [True]
        after = [await stores[n % 4].take(requests(100, key)) for n in range(200)]
        # What was used is not free again, and what is left of it is shared.
        assert 60 + sum(verdict.admitted for verdict in after) <= 100
        assert sum(verdict.admitted for verdict in after) >= 32
        unseen = [await stores[n % 4].take(requests(100, fresh)) for n in range(200)]
        assert sum(verdict.admitted for verdict in unseen) == 100
        few = [await stores[n % 4].take(places(2, slots)) for n in range(40)]
        assert sum(verdict.admitted for verdict in few) == 4, "one each at least"
        if trouble == "stop":
            fresh_redis.cont()
        else:
            fresh_redis.start()
        for each in stores:
            await each.regain()
        assert stores[0].told.degraded[-1:] == [False]
        assert not (await stores[0].take(places(2, slots))).admitted, "places given meanwhile are known"


@pytest.mark.parametrize("trouble", ["stop", "kill"])
async def test_no_call_waits_for_a_redis_that_does_not_answer(
    replica: Replica, fresh_redis: RedisServer, trouble: str
) -> None:
    getattr(fresh_redis, trouble)()
    longest = 0.0
    for _ in range(40):
        began = time.monotonic()
        await asyncio.gather(*(replica.take(requests(10**6, unique("rpm"))) for _ in range(5)))
        longest = max(longest, time.monotonic() - began)
    # The promise is a tenth of a second; the rest is room for a busy machine.
    assert longest < 1.0
    assert replica.store.degraded
    fresh_redis.cont() if trouble == "stop" else fresh_redis.start()
    await replica.regain()


async def test_a_decision_of_which_nobody_heard_is_undone(replica: Replica, fresh_redis: RedisServer) -> None:
    """Redis froze with the question in its socket, and answers it when nobody listens any more."""
    rpm, slots, budget = unique("rpm"), unique("slots"), unique("budget")
    await replica.store.seed(budget, 0, None)
    asks = (requests(10, rpm), places(3, slots), money(100, budget, 7))
    fresh_redis.stop()
    one = demand(*asks)
    verdict = await replica.store.decide(one)
    assert verdict.admitted is False or verdict.ticket == ""
    fresh_redis.cont()
    await replica.until(lambda: not replica.store._outbox)
    with plain(fresh_redis) as client:
        await replica.until(lambda: client.zcard("llmgw:" + slots) == 0)
        assert client.get("llmgw:" + budget) == "0"
        assert client.hget("llmgw:" + rpm, "s") in (None, "0")


async def test_a_caller_who_leaves_while_redis_decides_holds_nothing(
    replica: Replica, fresh_redis: RedisServer
) -> None:
    slots = unique("slots")
    waiting = [asyncio.ensure_future(replica.take(places(5, slots))) for _ in range(3)]
    await asyncio.sleep(0)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    with plain(fresh_redis) as client:
        await replica.take(requests(5, unique("rpm")))
        await replica.until(lambda: client.zcard("llmgw:" + slots) == 0 and not replica.store._outbox)
    assert dict(replica.local.leases()) == {}


@pytest.mark.parametrize("trouble", ["stop", "kill"])
async def test_settlements_wait_for_redis_and_count_once(
    fresh_redis: RedisServer, trouble: str, monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    monkeypatch.setattr(redis_store, "PROBE_SECONDS", 0.05)
    server = fresh_redis
    if trouble == "kill":
        # So that it remembers what it knew.
        server._options = ["--appendonly", "yes", "--appendfsync", "always"]
        server.terminate()
        server.start()
    async with replicas(server.url) as (one,):
        budget = unique("budget")
        await one.store.seed(budget, 100, None)
        made = [demand(money(10_000, budget, 50)) for _ in range(20)]
        verdicts = [await one.store.decide(each) for each in made]
        assert all(verdict.ticket for verdict in verdicts)
        getattr(server, trouble)()
        for each, verdict in zip(made[:10], verdicts[:10], strict=True):
            one.store.settle(each, verdict, (3,))
        await one.lose()
        here = demand(money(10_000, budget, 50))
        locally = await one.store.decide(here)
        assert locally.admitted
        assert locally.levels[0].used == 100 + 20 * 50 + 50
        for each, verdict in zip(made, verdicts, strict=True):
            one.store.settle(each, verdict, (3,))
        one.store.settle(here, locally, (4,))
        assert one.told.waiting > 0
        server.cont() if trouble == "stop" else server.start()
        await one.regain()
        with plain(server) as client:
            # The last of them may be on their way.
            await one.until(lambda: client.get("llmgw:" + budget) == str(100 + 20 * 3 + 4))


async def test_all_is_forgotten(
    replica: Replica, fresh_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FLUSHALL: places that are held are renewed, budgets are begun again and never lower than they are
    known to have stood, and calls that were under way are charged once."""
    monkeypatch.setattr(redis_store, "RENEW_SECONDS", 0.1)
    slots, budget = unique("slots"), unique("budget")
    await replica.store.seed(budget, 500, None)
    assert replica.told.rebuilt == 1
    one = demand(places(1, slots), money(1000, budget, 40))
    verdict = await replica.store.decide(one)
    with plain(fresh_redis) as client:
        client.flushall()
        await replica.store._look()
        await replica.until(lambda: client.zcard("llmgw:" + slots) == 1)
        assert not (await replica.take(places(1, slots))).admitted
        assert (await replica.take(money(1000, budget, 1))).missing == (budget,)
        # The ledger lags: it does not know yet of what this process does.
        await replica.store.seed(budget, 0, None)
        assert replica.told.rebuilt == 2
        assert client.get("llmgw:" + budget) == "540"
        replica.store.settle(one, verdict, (0, 10))
        replica.store.settle(one, verdict, (0, 10))
        await replica.until(lambda: client.zcard("llmgw:" + slots) == 0)
        # On the safe side by what was under way.
        assert client.get("llmgw:" + budget) == "550"


async def test_scripts_that_redis_has_forgotten_are_told_again(
    replica: Replica, fresh_redis: RedisServer
) -> None:
    key = unique("rpm")
    assert (await replica.take(requests(5, key))).levels[0].used == 1
    with plain(fresh_redis) as client:
        client.script_flush()
    verdicts = await asyncio.gather(*(replica.take(requests(5, key)) for _ in range(4)))
    assert sorted(verdict.levels[0].used for verdict in verdicts) == [2, 3, 4, 5]
    assert all(verdict.ticket for verdict in verdicts)
    assert not replica.store.degraded


@pytest.mark.parametrize("command", ["evalsha", "script"])
async def test_a_redis_without_the_command_is_asked_in_full(fresh_redis: RedisServer, command: str) -> None:
    with plain(fresh_redis) as client:
        client.execute_command("ACL", "SETUSER", "default", f"-{command}")
    async with replicas(fresh_redis.url) as (one,):
        key = unique("rpm")
        verdicts = [await one.take(requests(2, key)) for _ in range(3)]
        assert [verdict.admitted for verdict in verdicts] == [True, True, False]
        assert all(verdict.ticket for verdict in verdicts)


async def test_a_redis_that_takes_no_writes_counts_as_away(
    replica: Replica, fresh_redis: RedisServer
) -> None:
    """A replica after a failover, or one whose memory is full."""
    with plain(fresh_redis) as client:
        client.execute_command("REPLICAOF", "127.0.0.1", "1")
        await replica.lose()
        assert (await replica.take(requests(1, unique("rpm")))).admitted
        client.execute_command("REPLICAOF", "NO", "ONE")
        await replica.regain()
        client.config_set("maxmemory", "1")
        await replica.lose()
        client.config_set("maxmemory", "0")
        await replica.regain()
    assert (await replica.take(requests(1, unique("rpm")))).ticket


async def test_redis_is_away_at_the_start(fresh_redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_store, "PROBE_SECONDS", 0.05)
    fresh_redis.terminate()
    async with replicas(fresh_redis.url, 2) as stores:
        assert stores[0].told.degraded == [True]
        key = unique("rpm")
        verdicts = [await stores[0].take(requests(10, key)) for _ in range(10)]
        # Two processes are to be started, so each lets half through.
        assert sum(verdict.admitted for verdict in verdicts) == 5
        fresh_redis.start()
        for each in stores:
            await each.regain()
        assert (await stores[0].take(requests(10, key))).ticket
