"""A gateway whose answers are in Redis: others have them too, and without Redis it serves as if there were
none."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest
from redis import Redis

from pipeline.cache_metrics import CacheMetrics
from pipeline.cache_redis import RedisCache
from pipeline.tests.caching import cached, metric, say, verdict
from pipeline.tests.patient_redis import started
from tests.support.fake_upstream import FakeUpstream
from tests.support.live_gateway import LiveGateway
from tests.support.services import RedisServer
from tests.support.surfaces import CHAT_OPENAI, MESSAGES_ANTHROPIC, TEXT, Pair

pytestmark = pytest.mark.valkey


@pytest.fixture
def server(live: LiveGateway, fresh_redis: RedisServer) -> Iterator[RedisServer]:
    """The Redis in which the gateway's answers are."""
    metrics: CacheMetrics = live.shelf.metrics

    async def begin() -> RedisCache:
        return await started(fresh_redis.url, 1 << 20, metrics)

    store = asyncio.run_coroutine_threadsafe(begin(), live.loop).result(60)
    live.shelf.store = store
    yield fresh_redis
    asyncio.run_coroutine_threadsafe(store.stop(), live.loop).result(10)


@pytest.mark.parametrize("pair", [CHAT_OPENAI, MESSAGES_ANTHROPIC], ids=str)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_answers_are_in_redis_and_end_there(
    live: LiveGateway, fake: FakeUpstream, server: RedisServer, pair: Pair, stream: bool
) -> None:
    teams = cached(live, pair, ttl=100)
    first = say(live, pair, stream=stream)
    again = say(live, pair, stream=stream)
    assert (verdict(first), verdict(again), again.text) == ("miss", "hit", TEXT)
    assert verdict(say(live, pair, stream=stream, key=teams.stranger)) == "miss"
    with Redis.from_url(server.url) as client:
        names = client.keys("*")
        assert names
        for name in names:
            assert name.startswith(b"llmgw-cache:{")
            assert 0 < client.pttl(name) <= 100_000


@pytest.mark.parametrize("away", ["frozen", "killed"])
def test_p7_without_redis_calls_go_on(
    live: LiveGateway, fake: FakeUpstream, server: RedisServer, away: str
) -> None:
    cached(live, CHAT_OPENAI)
    say(live, CHAT_OPENAI)
    errors = sum(metric(live, "gateway_cache_errors_total", reason=r) for r in ("timeout", "connection"))
    (server.stop if away == "frozen" else server.kill)()
    for _ in range(6):
        reply = say(live, CHAT_OPENAI)
        assert (reply.status, verdict(reply), reply.text) == (200, "miss", TEXT)
    now = sum(metric(live, "gateway_cache_errors_total", reason=r) for r in ("timeout", "connection"))
    assert 1 <= now - errors <= 3
    assert metric(live, "gateway_cache_up") == 0
    if away == "frozen":
        server.cont()
    else:
        server.start()
    end = time.monotonic() + 10
    while not live.shelf.store.up:
        assert time.monotonic() < end
        time.sleep(0.01)
    say(live, CHAT_OPENAI)
    assert verdict(say(live, CHAT_OPENAI)) == "hit"


def test_what_is_no_entry_is_no_answer(live: LiveGateway, server: RedisServer) -> None:
    cached(live, CHAT_OPENAI)
    say(live, CHAT_OPENAI)
    with Redis.from_url(server.url) as client:
        (name,) = [name for name in client.keys("*") if not name.endswith((b":index", b":sum"))]
        for junk in (b"", b"\x00\x00", b"\xff" * 40, b"\x00\x00\x00\x02{}body", client.get(name)[:60]):
            client.set(name, junk)
            assert verdict(say(live, CHAT_OPENAI)) == "miss"
