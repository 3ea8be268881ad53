"""Tells operators what happens to targets: breakers, refused credentials, lines. In the log and as
metrics."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from pipeline.breaker import State
from pipeline.pressure import Cause, Level
from pipeline.slots import Place
from routing.snapshot import Snapshot

_FIGURES: dict[State, int] = {"closed": 0, "half_open": 1, "open": 2}
# A loop that is well is late by less than a millisecond.
_LAG_BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)


class Log(Protocol):
    """The part of a structured logger that is used here."""

    def info(self, event: str, **fields: Any) -> Any: ...

    def warning(self, event: str, **fields: Any) -> Any: ...


class LiveNews:
    """A listener of the live state. Its labels are names of the configuration."""

    def __init__(self, log: Log, registry: CollectorRegistry) -> None:
        self._log = log
        self._state = Gauge(
            "gateway_breaker_state",
            "Each target's breaker: 0 closed, 1 half open, 2 open. In several processes the worst.",
            ("provider", "upstream_model"),
            multiprocess_mode="livemax",
            registry=registry,
        )
        self._changes = Counter(
            "gateway_breaker_changes",
            "How often breakers changed to this state.",
            ("provider", "upstream_model", "state"),
            registry=registry,
        )
        self._refused = Counter(
            "gateway_credentials_refused",
            "How often a provider refused a credential, which is then left alone for a while.",
            ("provider",),
            registry=registry,
        )
        self._waiting = Gauge(
            "gateway_queue_depth",
            "Calls that wait for a place at a target of this route.",
            ("route",),
            multiprocess_mode="livesum",
            registry=registry,
        )

    def breaker(self, place: Place, state: State, seconds: float) -> None:
        """A breaker has changed; `seconds` is for how long it is open."""
        provider, model = place
        self._state.labels(provider, model).set(_FIGURES[state])
        self._changes.labels(provider, model, state).inc()
        write = self._log.warning if state == "open" else self._log.info
        write("breaker", provider=provider, upstream_model=model, state=state, seconds=round(seconds, 1))

    def credential(self, provider: str, label: str, seconds: float) -> None:
        """A credential was refused and is left alone for so long."""
        self._refused.labels(provider).inc()
        self._log.warning("credential refused", provider=provider, credential=label, seconds=seconds)

    def waiting(self, group: Hashable, change: int) -> None:
        """One more call, or one less, waits in the line of a route."""
        self._waiting.labels(str(group)).inc(change)


class PressureNews:
    """A watcher of the pressure on this process."""

    def __init__(self, log: Log, registry: CollectorRegistry) -> None:
        self._log = log
        self._lag = Histogram(
            "gateway_loop_lag_seconds",
            "How late the event loop is; every piece of every stream is late by as much.",
            buckets=_LAG_BUCKETS,
            registry=registry,
        )
        self._blocked = Counter(
            "gateway_loop_blocked",
            "How often the event loop stood still for more than a quarter of a second; the log says where.",
            registry=registry,
        )
        self._level = Gauge(
            "gateway_pressure",
            "Who is refused: 0 nobody, 1 the low priorities, 2 all new calls. The worst of the processes.",
            multiprocess_mode="livemax",
            registry=registry,
        )

    def blocked(self, where: Sequence[str] | None) -> None:
        """The event loop is blocked, and where, unless that was said a moment ago. From any thread."""
        self._blocked.inc()
        if where is not None:
            self._log.warning("event loop blocked", where=where)

    def lag(self, seconds: float) -> None:
        """How late the event loop was."""
        self._lag.observe(seconds)

    def pressure(self, level: Level, cause: Cause | None) -> None:
        """The level has changed."""
        self._level.set(level)
        write = self._log.warning if level else self._log.info
        write("pressure", level=level, cause=cause)


class ConfigNews:
    """Hears of each snapshot that comes into force."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._left_out = Gauge(
            "gateway_config_rows_left_out",
            "Rows of the configuration that cannot be used; the log names them.",
            multiprocess_mode="livemax",
            registry=registry,
        )

    def swapped(self, snapshot: Snapshot) -> None:
        """It is in force."""
        self._left_out.set(snapshot.left_out)


class LogNews:
    """Hears of log lines that nobody took."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._lost = Counter(
            "gateway_log_lines_lost",
            "Log lines that were dropped because standard error did not take them.",
            registry=registry,
        )

    def lost(self, lines: int) -> None:
        """So many more. From any thread."""
        self._lost.inc(lines)
