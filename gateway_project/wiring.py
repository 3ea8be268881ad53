"""The composition root: the only place that constructs what lives long and hands it to who needs it."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import resource
import traceback
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

import structlog
from django.apps import apps
from prometheus_client import REGISTRY, CollectorRegistry

from accounts.apps import AccountsConfig
from accounts.capture.writer import CaptureWriter
from accounts.keys import KeyHasher
from accounts.ledger.journal import Journal
from accounts.ledger.metrics import LedgerMetrics
from accounts.ledger.writer import Writer
from apiv1.auth import Authenticator
from apiv1.base import Services
from apiv1.door import Door
from apiv1.lingering import Lingering
from apiv1.origins import Origins
from apiv1.realtime import RealtimeDoor
from apiv1.urls import EXACT, PREFIXES
from console.apps import ConsoleConfig, Running
from gateway_project.beside_the_loop import counted, looked, stock
from gateway_project.config import Config
from gateway_project.follow import Follower
from gateway_project.line_log import LineLog
from gateway_project.live_traffic import LiveTraffic
from gateway_project.log_sink import Sink
from gateway_project.memory import memory_share
from gateway_project.semantic import SemanticParts
from gateway_project.status import GatewayStatus, Knowledge
from pipeline.build import Keeps, Wires, build
from pipeline.cache_keeper import Keeper
from pipeline.cache_memory import MemoryCache
from pipeline.cache_metrics import CacheMetrics
from pipeline.cache_shelf import Shelf
from pipeline.cache_stores import CacheStore
from pipeline.call import Refusal
from pipeline.clocks import SteadyWall
from pipeline.errand import Means
from pipeline.health import ProviderHealth
from pipeline.ledger import LedgerBook
from pipeline.limit_metrics import LimitMetrics
from pipeline.live import LiveState
from pipeline.losses import LossBook
from pipeline.memory import Clocks, MemoryStore
from pipeline.metrics import Metrics
from pipeline.news import ConfigNews, LiveNews, LogNews, PressureNews
from pipeline.notices import Notices
from pipeline.pressure import Pressure
from pipeline.pulse_boards import Board, FolderBoard
from pipeline.purse import Counters, Treasury
from pipeline.requestlog import RequestLog
from pipeline.slots import Slots
from pipeline.stores import Store
from pipeline.watchdog import Watchdog
from providers.apps import BreakerNow, ProvidersConfig
from providers.crypto import Vault
from providers.sandbox import SandboxTransport
from providers.socket_wire import PooledSockets
from providers.transport import HttpTransport, PooledTransport
from providers.wire import Transport
from routing.allowances import Budget
from routing.apps import RoutingConfig
from routing.loss_table import LossTable
from routing.owned_table import OwnedTable
from routing.snapshot import EMPTY, Snapshot
from routing.source import TableSource
from routing.watch import SnapshotHolder, Watcher
from routing.writer import TableWriter

if TYPE_CHECKING:
    from gateway_project.otlp import Traces
    from gateway_project.redis_parts import RedisParts
    from pipeline.breaker_share import BreakerShare

# What of a traceback goes into the log: where, never the values or the exception's words, which may quote a
# prompt.
_FRAMES = 8
# A start waits this long for its configuration and then serves what it has: /ready says no until it comes.
_FIRST_LOOK = 10.0
# Logs, databases, Redis, connections that are kept for the next call.
_OTHER_FILES = 128


def equip(config: Config) -> None:
    """Hand the admin and the commands what they need of the secrets."""
    cast(ProvidersConfig, apps.get_app_config("providers")).vault = Vault(config.secrets.vault_keys)
    cast(AccountsConfig, apps.get_app_config("accounts")).hasher = KeyHasher(*config.secrets.peppers)
    routing = cast(RoutingConfig, apps.get_app_config("routing"))
    routing.own_addresses, routing.approval = _own_addresses(config), config.approval
    console = cast(ConsoleConfig, apps.get_app_config("console"))
    if config.oidc is not None:
        # Loaded only where somebody may sign in so, as what traces and Redis need.
        module = import_module("console.oidc.identity_provider")
        console.sign_in = module.IdentityProvider(config.oidc)


def _own_addresses(config: Config) -> list[tuple[str, int]]:
    found = [(config.host.lower(), config.port)]
    if config.public_url is not None:
        public = urlsplit(config.public_url)
        port = public.port or (443 if public.scheme == "https" else 80)
        found.append(((public.hostname or "").lower(), port))
    return found


class Gateway:
    """Everything that serves calls in this process. `draining` is set by the server when it has to stop."""

    def __init__(
        self, config: Config, registry: CollectorRegistry = REGISTRY, sink: Sink | None = None
    ) -> None:
        self.draining = False
        self._sink = sink
        if sink is not None:
            sink.on_lost = LogNews(registry).lost
        self._log = structlog.get_logger("gateway")
        vault = Vault(config.secrets.vault_keys)
        self._holder = SnapshotHolder(EMPTY)
        self._watcher = Watcher(self._holder, TableSource(config.last_good, vault))
        pooled = PooledTransport()
        self._transports: Mapping[str, Transport] = {
            "http": HttpTransport(pooled),
            "sandbox": SandboxTransport(),
        }
        # For people to read, a line of a request is one like all others.
        lean = sink if config.production else None
        lines = self._log if lean is None else LineLog(config.log_level, lean.put)
        metrics, requests, health = Metrics(registry), RequestLog(lines), ProviderHealth()
        losses = LossBook()
        live = LiveState(Slots(), LiveNews(self._log, registry))
        self._live = live
        self._loss_writer = TableWriter("translation losses", losses, LossTable())
        limits = LimitMetrics(registry)
        self._notices = Notices(self._transports["http"], limits)
        wall = SteadyWall()
        self._store = _store(config, self._notices, limits, wall)
        self._notices.share(self._store.first)
        journal, self._ledger = _ledger(config, registry)
        ledger = LedgerBook(journal)
        counters = Counters(self._store, partial(_spent, self._ledger))
        self._traces = _traces(config, registry)
        traced = [] if self._traces is None else [self._traces]
        treasury = Treasury(counters, self._notices, limits, ledger)
        self._breakers = _shared(config, live)
        self._captures = CaptureWriter(vault.seal, registry)
        cached = CacheMetrics(registry)
        answers = _answers(config, cached)
        self._answers = answers
        self._cache = Keeper(answers, self._holder, cached)
        self._semantic = SemanticParts(config, Shelf(answers, cached), registry)
        memory = memory_share(None if config.memory_mb is None else config.memory_mb << 20)
        most = _most_calls() if config.max_calls is None else config.max_calls
        news = PressureNews(self._log, registry)
        self._pressure = Pressure(memory, lambda: self.in_flight, most, news)
        # Alone, a process that hangs is ended by who asks /health; of several nobody can tell which it is.
        stuck = self._end_stuck if config.workers > 1 else None
        self._watchdog = Watchdog(lambda: self._pressure.looks, news, stuck)
        knows = Knowledge(self._holder, self._watcher, health, live, self._ledger, self._pressure)
        self._status = GatewayStatus(self, knows, self._store if config.redis_url else None)
        self._watched = LiveTraffic(_board(config), live, self)
        self.services = Services(
            snapshots=self._holder,
            authenticator=Authenticator(KeyHasher(*config.secrets.peppers), self._watcher.fresh, wall),
            handler=build(
                Wires(self._transports, PooledSockets(pooled.pool)),
                [metrics, requests, health, losses, ledger, self._watched.book, *traced],
                Means(live, random.random),
                treasury,
                Keeps(self._semantic.answers, OwnedTable(), self._captures),
            ),
            book=_DoorBooks([metrics, requests, self._watched.book, *traced]),
            status=self._status,
            pressure=self._pressure,
            fault=self._fault,
            lingering=Lingering(),
            origins=Origins(config.cors_origins) if config.cors_origins else None,
            tracing=self._traces,
        )
        self.door = Door(self.services, EXACT, PREFIXES)
        self.realtime = RealtimeDoor(self.services)
        cast(ProvidersConfig, apps.get_app_config("providers")).breakers = partial(_breakers_of, live)
        self._console = cast(ConsoleConfig, apps.get_app_config("console"))
        self._follower = Follower(self._holder, [self._cut_revoked, ConfigNews(registry).swapped])

    @property
    def in_flight(self) -> int:
        """Requests that have come in and not yet been answered to the end."""
        return self.door.in_flight + self.realtime.in_flight

    @property
    def conversations(self) -> int:
        """WebSockets of the API that are open."""
        return self.realtime.in_flight

    async def start(self) -> None:
        """Read the configuration and begin to watch it. While the database is away, what it last said serves;
        where there is nothing of that either, /ready says no until the watcher finds it."""
        await asyncio.to_thread(self._watcher.start, _FIRST_LOOK)
        self._loss_writer.start()
        self._semantic.start(self._holder.current)
        self._ledger.start()
        self._captures.start()
        if self._traces is not None:
            self._traces.start()
        await self._store.start()
        await self._cache.start()
        if self._breakers is not None:
            self._breakers.start()
        self._pressure.start()
        self._watchdog.start()
        loop = asyncio.get_running_loop()
        self._console.running = Running(
            lambda: self._holder.current,
            self._live,
            partial(counted, self._store, loop),
            partial(stock, self._answers, loop),
            partial(looked, self._answers, loop),
        )
        self._console.desk = self._watched.desk
        self._watched.desk.start()
        self._follower.start()
        # What is loaded by now lives as long as the process. A full collection that looks at all of it stops
        # the loop for 0.2 seconds, and each new snapshot brings one about.
        gc.collect()
        gc.freeze()

    def refused(self, refusal: Refusal) -> None:
        """The server itself has answered a request: it was too slow, or no HTTP that is spoken here."""
        self.services.book.refused(refusal)

    def cut(self) -> None:
        """End every open request, in-band where its reply has begun."""
        self.door.cut()
        self.realtime.cut()

    async def stop(self) -> None:
        """Give back what is held. The server calls it after the last request."""
        self._console.running = self._console.desk = None
        await self._watched.desk.stop()
        self._watcher.stop()
        self._watchdog.stop()
        await self._follower.stop()
        await self._pressure.stop()
        await self.services.lingering.stop()
        if self._breakers is not None:
            await self._breakers.stop()
        await asyncio.to_thread(self._loss_writer.stop)
        await self._semantic.stop()
        # After the last call has closed: all that it wrote down is carried.
        await asyncio.to_thread(self._ledger.stop)
        await asyncio.to_thread(self._captures.stop)
        if self._traces is not None:
            await asyncio.to_thread(self._traces.stop)
        await self._notices.aclose()
        await self._store.stop()
        await self._cache.stop()
        for transport in self._transports.values():
            await transport.aclose()

    def _cut_revoked(self, snapshot: Snapshot) -> None:
        known = {key.id for key in snapshot.keys.values()}
        self.door.cut_revoked(known)
        self.realtime.cut_revoked(known)

    def _end_stuck(self) -> None:
        """From the watchdog's thread: the parent starts another worker in this one's place."""
        self._log.error("the event loop does not go on, this worker ends")
        if self._sink is not None:
            self._sink.drain()
        os._exit(os.EX_SOFTWARE)

    def _fault(self, request_id: str, error: BaseException) -> None:
        frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
        self._log.error(
            "fault",
            request_id=request_id,
            error=type(error).__name__,
            where=[f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames],
        )


def _traces(config: Config, registry: CollectorRegistry) -> Traces | None:
    """Where spans go; the SDK is loaded only where that is somewhere."""
    if config.traces is None:
        return None
    made: Traces = import_module("gateway_project.otlp").Traces(config.traces, registry)
    return made


def _ledger(config: Config, registry: CollectorRegistry) -> tuple[Journal, Writer]:
    """Where calls are written down at once, and what carries that into the database."""
    metrics = LedgerMetrics(registry)
    folder = config.data_dir / "ledger"
    journal = Journal(folder, config.ledger_journal_mb << 20, metrics.dropped)
    return journal, Writer(journal, folder, metrics, config.ledger_days)


def _spent(ledger: Writer, budget: Budget, start: datetime) -> int:
    """What the ledger says is spent of a budget since its period began."""
    return ledger.spent(budget.unit, start.date(), team_id=budget.team_id, key_id=budget.key_id)


def _breakers_of(live: LiveState, provider: str) -> list[BreakerNow]:
    """For the admin, which asks from a thread of its own."""
    return [
        BreakerNow(model or "every model", state, seconds)
        for (name, model), (state, seconds) in live.report().items()
        if name == provider
    ]


def _most_calls() -> int:
    """As many as there are file descriptors for: one to the client and one to the provider each, and some for
    all else."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(16, soft // 2 - _OTHER_FILES)


def _redis(url: str) -> RedisParts:
    """What makes the parts that share by Redis; its library is loaded only where there is one."""
    made: RedisParts = import_module("gateway_project.redis_parts").RedisParts(url)
    return made


def _board(config: Config) -> Board:
    """Where live traffic is told: Redis knows all replicas, a folder those of this machine."""
    if config.redis_url is not None:
        return _redis(config.redis_url).board()
    return FolderBoard(config.data_dir / "live")


def _shared(config: Config, live: LiveState) -> BreakerShare | None:
    """How breakers are known to other replicas; None: there are none."""
    return _redis(config.redis_url).breakers(live) if config.redis_url else None


def _answers(config: Config, metrics: CacheMetrics) -> CacheStore:
    """Where answers are kept that are given again."""
    team = config.cache_team_mb << 20
    if config.cache_redis_url is not None:
        return _redis(config.cache_redis_url).answers(team, metrics)
    return MemoryCache(config.cache_mb << 20, team)


def _store(config: Config, notices: Notices, metrics: LimitMetrics, wall: SteadyWall) -> Store:
    """Where limits and budgets are counted. Without Redis each worker lets its share through."""
    local = MemoryStore(config.workers, notices.hear, Clocks(wall=wall))
    if config.redis_url is None:
        return local
    return _redis(config.redis_url).store(local, notices, metrics)


class _DoorBooks:
    """Several door books as one."""

    def __init__(self, books: Sequence[Any]) -> None:
        self._books = books

    def refused(self, refusal: Refusal) -> None:
        for book in self._books:
            book.refused(refusal)
