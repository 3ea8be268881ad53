"""What of the gateway goes by way of Redis. Loaded only where one is configured: its library costs 9 MiB."""

from __future__ import annotations

from pipeline.breaker_share import BreakerShare
from pipeline.cache_metrics import CacheMetrics
from pipeline.cache_redis import RedisCache
from pipeline.cache_stores import CacheStore
from pipeline.limit_metrics import LimitMetrics
from pipeline.live import LiveState
from pipeline.memory import MemoryStore
from pipeline.notices import Notices
from pipeline.pulse_boards import Board
from pipeline.pulse_redis import RedisBoard
from pipeline.redis_link import RedisLink
from pipeline.redis_store import RedisStore, Reports
from pipeline.stores import Store


def _unheard() -> None:
    """Whether Redis is there is the store's to say."""


class RedisParts:
    """Makes them, each with connections of its own to the Redis at `url`."""

    def __init__(self, url: str) -> None:
        self._url = url

    def store(self, local: MemoryStore, notices: Notices, metrics: LimitMetrics) -> Store:
        """Where limits and budgets are counted; `local` counts while Redis is away."""
        reports = Reports(metrics.degraded, metrics.rebuilt, metrics.waiting, metrics.lost)
        return RedisStore(self._url, local, notices.hear, reports)

    def breakers(self, live: LiveState) -> BreakerShare:
        """How breakers are known to other replicas."""
        return BreakerShare(live, RedisLink(self._url, _unheard))

    def answers(self, team: int, metrics: CacheMetrics) -> CacheStore:
        """Where answers are kept that are given again: of each team as many bytes."""
        return RedisCache(self._url, team, metrics)

    def board(self) -> Board:
        """Where what processes say of themselves is left for who watches."""
        return RedisBoard(RedisLink(self._url, _unheard))
