"""How this process is: the answer behind /ready."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from pipeline.breaker import State
from pipeline.health import ProviderHealth
from pipeline.live import LiveState
from pipeline.pressure import Pressure
from pipeline.slots import Place
from pipeline.stores import Store
from routing.snapshot import Provider
from routing.watch import SnapshotHolder, Watcher

# A loop that is as late as that answers nobody in time.
_STUCK_SECONDS = 10.0


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
    """Where the parts of a report are known: configuration, last attempts, live state, ledger, load."""

    holder: SnapshotHolder
    watcher: Watcher
    health: ProviderHealth
    live: LiveState
    ledger: Ledger
    pressure: Pressure


class GatewayStatus:
    """Ready while a configuration is in force and the process is not about to end. A database or Redis that
    has gone away since does not take the gateway out of service: what is in memory goes on serving."""

    def __init__(self, process: Process, knows: Knowledge, store: Store | None) -> None:
        self._process = process
        self._knows = knows
        self._holder = knows.holder
        self._watcher = knows.watcher
        self._health = knows.health
        self._live = knows.live
        self._ledger = knows.ledger
        # None: no Redis is configured.
        self._store = store

    def ready(self) -> bool:
        """True when this process can take traffic."""
        return not self.waits_for()

    def waits_for(self) -> str:
        """Why this process is not ready; "" when it is."""
        if self._process.draining:
            return "draining"
        if self._watcher.pending:
            return "migrations are pending"
        return "" if self._holder.current.revision > 0 else "no configuration yet"

    def alive(self) -> bool:
        """False when the event loop is later than anybody waits."""
        return self._knows.pressure.late < _STUCK_SECONDS

    def degraded(self) -> bool:
        """True when something needs a person: the database or Redis is away, the ledger is behind, or a row
        cannot be used, such as a credential that the master secret does not open."""
        redis_away = self._store is not None and self._store.degraded
        unusable = self._holder.current.left_out > 0
        return not self._watcher.fresh() or redis_away or unusable or self._ledger.behind

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
            "rows_left_out": self._holder.current.left_out,
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
