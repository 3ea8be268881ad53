"""Two replicas, one Redis: what one finds out of a target, the other knows."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from itertools import count

import pytest
from redis.asyncio import Redis

from pipeline.breaker import Verdict
from pipeline.breaker_share import BreakerShare
from pipeline.live import LiveState
from pipeline.redis_link import RedisLink
from pipeline.slots import Slots
from providers.kinds import KINDS
from providers.wire import Timeouts
from routing.snapshot import Provider, Target

pytestmark = pytest.mark.valkey
_numbers = count()


class Replica:
    """A live state with its own clock, and its line to the others."""

    def __init__(self, url: str) -> None:
        self.now = 1000.0 * next(_numbers)
        self.live = LiveState(Slots(), clock=lambda: self.now)
        self.share = BreakerShare(self.live, RedisLink(url, lambda: None))

    def attempts(self, target: Target, verdict: Verdict, times: int = 1) -> None:
        for _ in range(times):
            ticket = self.live.start(target)
            assert ticket is not None
            ticket.done(verdict)


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Redis]:
    """Redis itself, without breakers."""
    made: Redis = Redis.from_url(redis_url, decode_responses=True)
    await made.delete("llmgw:breakers")
    yield made
    await made.delete("llmgw:breakers")
    await made.aclose()


@pytest.fixture
async def replicas(redis_url: str, client: Redis) -> AsyncIterator[tuple[Replica, Replica]]:
    both = Replica(redis_url), Replica(redis_url)
    yield both
    for replica in both:
        await replica.share.stop()


@pytest.fixture
def target() -> Target:
    """One that no other test knows."""
    name = f"provider-{time.time_ns():x}"
    return Target(1, Provider(1, name, KINDS["ollama"], "http://x", Timeouts()))


async def test_what_one_gives_up_the_other_leaves_alone(
    replicas: tuple[Replica, Replica], target: Target
) -> None:
    one, other = replicas
    one.attempts(target, "failed", 5)
    await one.share.exchange()
    await other.share.exchange()
    condition = other.live.condition(target)
    assert condition.out is not None
    assert condition.out.startswith("its breaker is open")
    assert condition.ready_in == pytest.approx(15, abs=2)


async def test_the_other_finds_out_by_itself_when_it_is_back(
    replicas: tuple[Replica, Replica], target: Target
) -> None:
    one, other = replicas
    one.attempts(target, "failed", 5)
    await one.share.exchange()
    await other.share.exchange()
    other.now += 16
    other.attempts(target, "ok")
    await other.share.exchange()
    assert other.live.condition(target).out is None
    await other.share.exchange()
    assert other.live.condition(target).out is None, "what it had heard is not told to it again"


async def test_a_failed_probe_makes_the_wait_longer_for_all(
    replicas: tuple[Replica, Replica], target: Target
) -> None:
    one, other = replicas
    one.attempts(target, "failed", 5)
    await one.share.exchange()
    await other.share.exchange()
    other.now += 16
    other.attempts(target, "failed")
    await other.share.exchange()
    await one.share.exchange()
    assert one.live.condition(target).ready_in == pytest.approx(30, abs=2)


async def test_nothing_is_said_of_what_is_well(
    replicas: tuple[Replica, Replica], target: Target, client: Redis
) -> None:
    one, _ = replicas
    one.attempts(target, "ok", 3)
    await one.share.exchange()
    assert await client.hgetall("llmgw:breakers") == {}


async def test_rubbish_in_redis_is_thrown_away(replicas: tuple[Replica, Replica], client: Redis) -> None:
    _, other = replicas
    far = str(int(time.time() * 1000) + 60_000)
    for field, value in (("no json", f"{far} 1"), ("[1, 2]", f"{far} 1"), ('["p", "m"]', "soon")):
        await client.hset("llmgw:breakers", field, value)
    await other.share.exchange()
    assert other.live.report() == {}


async def test_without_redis_each_goes_by_what_it_sees(target: Target) -> None:
    replica = Replica("redis://127.0.0.1:1/0")
    replica.attempts(target, "failed", 5)
    await replica.share.exchange()
    assert replica.live.condition(target).out is not None
    await replica.share.stop()


async def test_what_could_not_be_said_is_said_later(
    replicas: tuple[Replica, Replica], target: Target, redis_url: str
) -> None:
    one, other = replicas
    away = BreakerShare(one.live, RedisLink("redis://127.0.0.1:1/0", lambda: None))
    one.attempts(target, "failed", 5)
    await away.exchange()
    await away.stop()
    await one.share.exchange()
    await other.share.exchange()
    assert other.live.condition(target).out is not None
