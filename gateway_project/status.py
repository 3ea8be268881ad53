"""How this process is: the answer behind /ready."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from pipeline.breaker import State
from pipeline.health import ProviderHealth
from pipeline.live import LiveState
from pipeline.slots import Place
from pipeline.stores import Store
from routing.snapshot import Provider
from routing.watch import SnapshotHolder, Watcher


class Process(Protocol):
    """What is asked of the gateway itself."""

    @property
    def draining(self) -> bool: ...

    @property
    def in_flight(self) -> int: ...


class Ledger(Protocol):
    """What is asked of the ledger's writer."""

    @property
    def lag(self) -> float: ...

    @property
    def behind(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Knowledge:
    """Where the parts of a report are known: configuration, database, last attempts, live state, ledger."""

    holder: SnapshotHolder
    watcher: Watcher
    health: ProviderHealth
    live: LiveState
    ledger: Ledger


class GatewayStatus:
    """Ready while a configuration is in force and the process is not about to end. A database or Redis that
    has gone away since does not take the gateway out of service: what is in memory goes on serving."""

    def __init__(self, process: Process, knows: Knowledge, store: Store | None) -> None:
        self._process = process
        self._holder = knows.holder
        self._watcher = knows.watcher
        self._health = knows.health
        self._live = knows.live
        self._ledger = knows.ledger
        # None: no Redis is configured.
        self._store = store

    def ready(self) -> bool:
        """True when this process can take traffic."""
        return self._holder.current.revision > 0 and not self._process.draining

    def degraded(self) -> bool:
        """True when something needs a person: the database or Redis is away, or the ledger is behind."""
        redis_away = self._store is not None and self._store.degraded
        return not self._watcher.fresh() or redis_away or self._ledger.behind

    async def report(self) -> dict[str, Any]:
        """The parts, for whoever has a key."""
        age = self._watcher.age
        database = {"ok": self._watcher.fresh(), "seconds_ago": None if age is None else round(age, 1)}
        store = self._store
        cache = {"configured": store is not None, "ok": None if store is None else not store.degraded}
        breakers = self._live.report()
        providers = {
            name: self._provider(row, breakers) for name, row in self._holder.current.providers.items()
        }
        return {
            "draining": self._process.draining,
            "in_flight": self._process.in_flight,
            "revision": self._holder.current.revision,
            "database": database,
            "redis": cache,
            "ledger": {"ok": not self._ledger.behind, "seconds_behind": round(self._ledger.lag, 1)},
            "providers": providers,
        }

    def _provider(self, provider: Provider, breakers: Mapping[Place, tuple[State, float]]) -> dict[str, Any]:
        usable = bool(provider.credentials) or not provider.kind.needs_credential
        # Open ones only: the others are as they should be.
        left_alone = {
            model or "*": round(seconds, 1)
            for (name, model), (state, seconds) in breakers.items()
            if name == provider.name and state == "open"
        }
        return {
            "kind": provider.kind.name,
            "enabled": provider.enabled,
            "has_credential": usable,
            "breaker_mode": provider.breaker.mode,
            "open_breakers": left_alone,
            **self._health.report(provider.name),
        }
