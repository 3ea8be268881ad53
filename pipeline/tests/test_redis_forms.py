"""A Redis behind Sentinels and a cluster: exact over replicas as one server is, and back after a failover."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import closing

import pytest
import redis
from prometheus_client import CollectorRegistry

from pipeline import cache_redis, redis_store
from pipeline.cache_metrics import CacheMetrics
from pipeline.cache_stores import Place, Sweep
from pipeline.redis_client import FAULTS, connect, connect_blocking, fetch
from pipeline.stores import Ask, Demand
from pipeline.tests.patient_redis import started, wait_for_answers
from pipeline.tests.redis_replicas import Replica, replicas
from pipeline.tests.test_breaker_share import Replica as Breakers
from pipeline.tests.test_cache_stores import TEAM, kept, key
from pipeline.tests.test_stores import demand, money, places, requests, unique
from providers.kinds import KINDS
from providers.wire import Timeouts
from routing.snapshot import Provider, Target
from tests.support.redis_sets import EACH_FORM, FORMS, ClusterSet, SentinelSet, wait
from tests.support.services import RedisServer

pytestmark = pytest.mark.valkey


@pytest.fixture(params=EACH_FORM)
def url(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Of a Redis that all tests share, in each form."""
    wait_for_answers(monkeypatch)
    found: str = request.getfixturevalue(FORMS[request.param])
    return found


def of_team(team: str, *asks: Ask) -> Demand:
    """What a call of this team asks: its keys lie where the team's do."""
    own = tuple(Ask(a.kind, a.key.replace("{t}", f"{{{team}}}"), a.limit, a.amount, a.span) for a in asks)
    return Demand(unique("call"), team, own)


# -- all is well


async def test_limits_of_many_teams_are_exact_over_replicas(url: str) -> None:
    teams = [f"team{number}" for number in range(12)]
    limit, slots = unique("rpm"), unique("slots")
    async with replicas(url, 3) as stores:
        # In one batch, which goes to several nodes of a cluster: twice as many as may pass.
        asked = [of_team(team, requests(5, limit), places(5, slots)) for team in teams for _ in range(10)]
        verdicts = await asyncio.gather(*(stores[n % 3].store.decide(each) for n, each in enumerate(asked)))
        assert not any(each.store.degraded for each in stores)
    passed = Counter(each.tag for each, verdict in zip(asked, verdicts, strict=True) if verdict.admitted)
    assert passed == dict.fromkeys(teams, 5)


async def test_what_is_reserved_is_settled_once(url: str) -> None:
    budget, slots = unique("budget"), unique("slots")
    async with replicas(url, 2) as (one, other):
        await one.store.seed(budget, 0, None)
        asked = [demand(money(1000, budget, 90), places(20, slots)) for _ in range(30)]
        verdicts = [
            await store.decide(each) for store, each in zip((one.store, other.store) * 15, asked, strict=True)
        ]
        assert sum(verdict.admitted for verdict in verdicts) == 11
        for each, verdict in zip(asked, verdicts, strict=True):
            if verdict.admitted:
                for replica in (one, other):
                    replica.store.settle(each, verdict, (5, 0))

        async def settled() -> bool:
            return await other.store.look(asked[0].asks) == [55, 0]

        await other.until(settled)
        assert not await other.store.first(budget, 60), "it is there"


async def test_breakers_are_shared(url: str) -> None:
    target = Target(1, Provider(1, unique("provider"), KINDS["ollama"], "http://x", Timeouts()))
    one, other = Breakers(url), Breakers(url)
    one.attempts(target, "failed", 5)
    await one.share.exchange()
    await other.share.exchange()
    assert other.live.condition(target).out is not None
    await one.share.stop()
    await other.share.stop()


async def test_answers_of_many_teams_come_in_one_question_and_all_are_purged(url: str) -> None:
    homes = [Place(team=team, route=5) for team in range(100, 120)]
    store = await started(url, TEAM, CacheMetrics(CollectorRegistry()))
    await store.sweep(Sweep(before=1))
    for place in homes:
        await store.put(place, [kept("a", str(place.team).encode()), kept("b")])
    # They come together, so they are asked for together.
    found = await asyncio.gather(*(store.get(place, [key("a"), key("no")]) for place in homes))
    assert found == [[str(place.team).encode(), None] for place in homes]
    stock = await store.stock()
    assert {place.team: stock[place.team].entries for place in homes} == {place.team: 2 for place in homes}
    assert await store.sweep(Sweep(before=1)) == 2 * len(homes)
    assert (
        await asyncio.gather(*(store.get(place, [key("a"), key("b")]) for place in homes))
        == [[None] * 2] * 20
    )
    assert await store.stock() == {}
    await store.stop()


def test_a_command_reads_the_counters(url: str) -> None:
    with connect_blocking(url, 5.0) as client:
        name = "llmgw:" + unique("budget")
        client.set(name, 7)
        assert client.get(name) == b"7"
        assert int(client.time()[0]) > 0


# -- a master that goes


@pytest.mark.parametrize("trouble", ["kill", "stop"])
async def test_a_master_that_goes_is_followed(
    fresh_sentinels: SentinelSet, trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_store, "PROBE_SECONDS", 0.05)
    monkeypatch.setattr(cache_redis, "PROBE_SECONDS", 0.05)
    sentinels = fresh_sentinels
    async with replicas(sentinels.url, 2) as stores:
        one, other = stores
        cache = await started(sentinels.url, TEAM, CacheMetrics(CollectorRegistry()))
        window, budget = unique("rpm"), unique("budget")
        await one.store.seed(budget, 0, None)
        held = demand(requests(100, window, 60), money(1000, budget, 300))
        verdict = await one.store.decide(held)
        assert verdict.admitted
        old = await asyncio.to_thread(sentinels.master)
        await _replicated(sentinels)
        getattr(old, trouble)()
        for each in stores:
            await each.lose()
            # By a share of what was left: never unlimited, and nothing waits.
            passed = [(await each.take(requests(100, window))).admitted for _ in range(60)]
            assert 0 < sum(passed) <= 50
        # A call ends while nobody counts it.
        one.store.settle(held, verdict, (60, 120))
        await asyncio.to_thread(wait, lambda: sentinels.taken_over(old), "another is the master")
        for each in stores:
            await each.regain()
        await one.until(lambda: cache.up)
        # What the new master knows of the time before counts on, and what ended meanwhile is charged once.
        assert await other.store.look([money(1000, budget, 0)]) == [120]
        assert (await other.take(requests(100, window, 40))).admitted
        assert not (await one.take(requests(100, window, 1))).admitted
        if trouble == "stop":
            old.cont()
        else:
            old.start()
        # Who was the master follows, and nobody writes to it.
        await asyncio.to_thread(wait, lambda: _follows(old.port), "the old master follows the new one")
        assert not (await one.take(requests(100, window, 1))).admitted
        await cache.put(Place(1, 1), [kept("a")])
        assert await cache.get(Place(1, 1), [key("a")]) == [b"value"]
        await cache.stop()


async def _replicated(sentinels: SentinelSet) -> None:
    """Wait until the replica has all that the master was told."""
    with closing(redis.Redis(port=sentinels.master().port)) as client:
        await asyncio.to_thread(client.wait, 1, 10_000)


def _follows(port: int) -> bool:
    with closing(redis.Redis(port=port, decode_responses=True, socket_timeout=2)) as client:
        return bool(client.role()[0] == "slave")


async def test_sentinels_that_do_not_answer_are_passed_over(
    fresh_sentinels: SentinelSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_store, "PROBE_SECONDS", 0.05)
    first, second, _ = fresh_sentinels.sentinels
    first.stop()
    second.kill()
    async with replicas(fresh_sentinels.url) as (one,):
        await one.until(lambda: not one.store.degraded)
        assert (await one.take(requests(1, unique("rpm")))).levels[0].used == 1
    first.cont()


# -- a node that goes


@pytest.mark.parametrize("trouble", ["kill", "stop"])
async def test_a_cluster_that_is_not_whole_counts_as_away_until_it_is(
    fresh_cluster: ClusterSet, trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_store, "PROBE_SECONDS", 0.05)
    async with replicas(fresh_cluster.url, 2) as stores:
        one, other = stores
        window, budget = unique("rpm"), unique("budget")
        await one.store.seed(budget, 0, None)
        held = demand(requests(100, window, 60), money(1000, budget, 300))
        verdict = await one.store.decide(held)
        assert verdict.admitted
        node = await asyncio.to_thread(fresh_cluster.owner, "{t}")
        getattr(node, trouble)()
        for each in stores:
            await _lose(each)
            passed = [(await each.take(requests(100, window))).admitted for _ in range(60)]
            assert sum(passed) <= 50
        one.store.settle(held, verdict, (60, 120))
        if trouble == "stop":
            node.cont()
        else:
            node.start()
        await asyncio.to_thread(fresh_cluster.whole)
        for each in stores:
            await each.regain()
        assert await other.store.look([money(1000, budget, 0)]) == [120]
        assert (await other.take(requests(100, window, 40))).admitted
        assert not (await one.take(requests(100, window, 1))).admitted


async def test_a_replica_that_takes_over_is_followed(
    fresh_cluster: ClusterSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_store, "PROBE_SECONDS", 0.05)
    monkeypatch.setattr(cache_redis, "PROBE_SECONDS", 0.05)
    # It has the key by which Redis is looked for.
    node = await asyncio.to_thread(fresh_cluster.owner, "llmgw:replicas")
    await asyncio.to_thread(fresh_cluster.add_replica, node)
    async with replicas(fresh_cluster.url) as (one,):
        cache = await started(fresh_cluster.url, TEAM, CacheMetrics(CollectorRegistry()))
        home = Place(await _team_on(fresh_cluster, node), 1)
        team, window = str(home.team), unique("rpm")
        assert (await one.store.decide(of_team(team, requests(10, window, 6)))).admitted
        await cache.put(home, [kept("a")])
        with closing(redis.Redis(port=node.port)) as client:
            await asyncio.to_thread(client.wait, 1, 10_000)
        node.kill()
        await _lose(one)
        assert await cache.get(home, [key("a")]) == [None]
        assert not cache.up
        # Nobody starts the node again.
        await one.regain()
        verdict = await one.store.decide(of_team(team, requests(10, window, 4)))
        assert (verdict.admitted, verdict.levels[0].used) == (True, 10)
        await one.until(lambda: cache.up)
        assert await cache.get(home, [key("a")]) == [b"value"]
        await cache.stop()


async def _team_on(cluster: ClusterSet, node: RedisServer) -> int:
    """A team whose answers lie on this node."""
    for team in range(1, 100):
        if await asyncio.to_thread(cluster.owner, f"{{{team}}}") is node:
            return team
    raise AssertionError("none of a hundred")


async def _lose(each: Replica) -> None:
    """Ask until it counts as away, also where the node that is asked is not the one that went."""

    async def lost() -> bool:
        await each.take(requests(10**6, unique("noise")))
        return each.store.degraded

    await each.until(lost)


async def test_slots_that_move_are_followed(fresh_cluster: ClusterSet) -> None:
    async with replicas(fresh_cluster.url, 2) as (one, other):
        window = unique("rpm")
        assert (await one.take(requests(3, window))).admitted
        assert (await other.take(requests(3, window))).admitted
        await asyncio.to_thread(fresh_cluster.move, "{t}")
        answers = [(await each.take(requests(3, window))).admitted for each in (one, other, one)]
        assert answers == [True, False, False]
        assert not one.store.degraded


async def test_who_waits_for_a_cluster_that_is_closed_meanwhile_is_told_and_not_cancelled(
    fresh_cluster: ClusterSet,
) -> None:
    for server in fresh_cluster.servers:
        await asyncio.to_thread(server.stop)
    client = connect(fresh_cluster.url, 2, 30.0)
    waiting = asyncio.create_task(fetch(client, ["a", "b"]))
    while not getattr(client, "_learning", None):  # noqa: ASYNC110 - it begins in the next turns of the loop
        await asyncio.sleep(0)
    await client.aclose()
    await asyncio.wait({waiting})
    assert not waiting.cancelled()
    assert isinstance(waiting.exception(), FAULTS)
    for server in fresh_cluster.servers:
        server.cont()
