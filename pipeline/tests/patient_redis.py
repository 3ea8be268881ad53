"""Redis as tests want it that are not about its absence: however busy the machine, it is waited for."""

from __future__ import annotations

import asyncio

import pytest

from pipeline import cache_redis, redis_link
from pipeline.cache_metrics import CacheMetrics
from pipeline.cache_redis import RedisCache

_LONG = 30.0


async def started(url: str, team: int, metrics: CacheMetrics) -> RedisCache:
    """A store whose Redis answers, at the first look or at a later one."""
    store = RedisCache(url, team, metrics)
    await store.start()
    async with asyncio.timeout(_LONG):
        while not store.up:  # noqa: ASYNC110 - the store looks by itself
            await asyncio.sleep(0.005)
    return store


def wait_for_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """No answer comes too late."""
    monkeypatch.setattr(cache_redis, "SECONDS", _LONG)
    monkeypatch.setattr(cache_redis, "PATIENCE", _LONG)
    monkeypatch.setattr(redis_link, "SECONDS", _LONG)
