"""How this process is: the answer behind /ready."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

import redis.asyncio
from redis.exceptions import RedisError

from pipeline.health import ProviderHealth
from routing.snapshot import Provider
from routing.watch import SnapshotHolder, Watcher

# A probe waits for this answer: a Redis that needs longer is not well.
_PING_SECONDS = 0.5


class Process(Protocol):
    """What is asked of the gateway itself."""

    @property
    def draining(self) -> bool: ...

    @property
    def in_flight(self) -> int: ...


class GatewayStatus:
    """Ready while a configuration is in force and the process is not about to end. A database or Redis that
    has gone away since does not take the gateway out of service: what is in memory goes on serving."""

    def __init__(
        self,
        process: Process,
        holder: SnapshotHolder,
        watcher: Watcher,
        health: ProviderHealth,
        redis_url: str | None,
    ) -> None:
        self._process = process
        self._holder = holder
        self._watcher = watcher
        self._health = health
        self._redis = (
            None
            if redis_url is None
            else redis.asyncio.Redis.from_url(
                redis_url, socket_timeout=_PING_SECONDS, socket_connect_timeout=_PING_SECONDS
            )
        )

    def ready(self) -> bool:
        """True when this process can take traffic."""
        return self._holder.current.revision > 0 and not self._process.draining

    async def report(self) -> dict[str, Any]:
        """The parts, for whoever has a key. `degraded` is true when something needs a person."""
        age = self._watcher.age
        database = {"ok": self._watcher.fresh(), "seconds_ago": None if age is None else round(age, 1)}
        cache = {"configured": self._redis is not None, "ok": await self._ping()}
        providers = {name: self._provider(row) for name, row in self._holder.current.providers.items()}
        return {
            "draining": self._process.draining,
            "degraded": not database["ok"] or cache["ok"] is False,
            "in_flight": self._process.in_flight,
            "revision": self._holder.current.revision,
            "database": database,
            "redis": cache,
            "providers": providers,
        }

    async def aclose(self) -> None:
        """Close the connection to Redis."""
        if self._redis is not None:
            await self._redis.aclose()

    def _provider(self, provider: Provider) -> dict[str, Any]:
        usable = bool(provider.credentials) or not provider.kind.needs_credential
        return {
            "kind": provider.kind.name,
            "enabled": provider.enabled,
            "has_credential": usable,
            **self._health.report(provider.name),
        }

    async def _ping(self) -> bool | None:
        if self._redis is None:
            return None
        try:
            async with asyncio.timeout(_PING_SECONDS * 2):
                await self._redis.ping()
        except (RedisError, OSError, TimeoutError):
            return False
        return True
