"""The gateway's door and pipeline on a real socket, with a configuration made by the test instead of tables.

    gateway.url, gateway.key            # what a client needs; the OpenAI SDK's base URL is gateway.openai_url
    gateway.records, gateway.refusals   # what the books were told, in order
    gateway.use(snapshot)               # from the next request on
    gateway.wait_record()               # the next record that closes

Ask for `live` where the default door will do: one gateway serves all such tests. `gateway` is a new one.
It runs under uvicorn in a thread of its own, so that the SDKs' blocking clients can be used. What the servers
themselves do (drain, caps, back-pressure) is tested with whole processes elsewhere.
"""

from __future__ import annotations

import asyncio
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import orjson
import pytest
import structlog
import uvicorn
from prometheus_client import CollectorRegistry

from accounts.keys import KeyHasher, display_prefix, issue
from accounts.ledger.lines import ATTEMPT, ATTEMPT_END, ENDING, OPENING
from apiv1.auth import Authenticator
from apiv1.base import Services
from apiv1.door import Door
from apiv1.lingering import Lingering
from apiv1.urls import EXACT, PREFIXES
from gateway_project.uvicorn_server import Protocol
from pipeline.breaker import Verdict
from pipeline.build import Keeps, Wires, build
from pipeline.cache_memory import MemoryCache
from pipeline.cache_metrics import CacheMetrics
from pipeline.cache_shelf import Shelf
from pipeline.cache_stores import CacheStore
from pipeline.call import Record, Refusal
from pipeline.clocks import SteadyWall
from pipeline.errand import Means
from pipeline.ledger import LedgerBook
from pipeline.limit_metrics import LimitMetrics
from pipeline.live import LiveState, Ticket
from pipeline.memory import Clocks, MemoryStore
from pipeline.metrics import Metrics
from pipeline.news import PressureNews
from pipeline.notices import Notices
from pipeline.pressure import Pressure
from pipeline.purse import Counters, Treasury
from pipeline.redis_store import RedisStore, Reports
from pipeline.slots import Slots
from pipeline.stores import Store
from providers.kinds import KINDS
from providers.transport import HttpTransport, PooledTransport
from providers.wire import Timeouts
from routing.owned_table import OwnedTable
from routing.snapshot import ApiKey, Credential, Provider, Route, Snapshot, Target, Team
from routing.watch import SnapshotHolder
from tests.support.always_ready import AlwaysReady
from tests.support.fake_upstream import FakeUpstream
from tests.support.like_questions import semantic_answers

_PATIENCE = 10.0


class Ears:
    """A book of the pipeline and of the door that keeps what it is told. So are `beside`, of refusals."""

    def __init__(self, *beside: Any) -> None:
        self._beside = beside
        self.records: list[Record] = []
        self.refusals: list[Refusal] = []
        self.open = 0

    def opened(self, _record: Record) -> None:
        self.open += 1

    def closed(self, record: Record) -> None:
        self.open -= 1
        self.records.append(record)

    def refused(self, refusal: Refusal) -> None:
        self.refusals.append(refusal)
        for book in self._beside:
            book.refused(refusal)


class Noted(LiveState):
    """A live state that notes what it is told of each attempt: the provider and the word for its breaker."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(Slots(), clock=clock)
        self.verdicts: list[tuple[str, Verdict]] = []

    def finished(self, ticket: Ticket, verdict: Verdict) -> None:
        self.verdicts.append((ticket.place[0], verdict))
        super().finished(ticket, verdict)


class Kept:
    """Where lines of the ledger go, which keeps them."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def append(self, line: bytes, *, vital: bool) -> None:
        kind, name, *said = orjson.loads(line)
        assert vital is (kind == "e")
        named: dict[str, Any] = {"request_id": name}
        if kind == "e":
            named["end"] = dict(zip(ENDING, said[0], strict=True))
            named["attempts"] = [dict(zip(ATTEMPT_END, each, strict=True)) for each in said[1]]
        elif kind == "a":
            named["attempt"] = dict(zip(ATTEMPT, said[1], strict=True))
            if said[0] is not None:
                named["open"] = dict(zip(OPENING, said[0], strict=True))
        self.lines.append(named)

    def lost(self, reason: str) -> None:
        raise AssertionError(reason)


class LiveGateway:
    """A gateway in a thread, in front of one fake upstream. `traces`: who makes spans of its calls."""

    def __init__(
        self, fake: FakeUpstream, redis_url: str | None = None, traces: Any = None, **door: Any
    ) -> None:
        self.fake = fake
        self.key = issue()
        self.faults: list[BaseException] = []
        self.registry = CollectorRegistry()
        self.hasher = KeyHasher(b"pepper of the tests")
        self.fresh = True
        self.jump = 0.0  # by how much somebody has set the clock
        self.date = SteadyWall(lambda: time.time() + self.jump)
        self.team = Team(id=1, name="default")
        self.holder = SnapshotHolder(self.snapshot())
        self.transport = HttpTransport()
        # Waits between tries and open breakers: noted, or skipped, instead of sat out.
        self.pauses: list[float] = []
        self.skipped = 0.0
        self.live = Noted(lambda: time.monotonic() + self.skipped)
        # What the ledger would say is spent of any budget.
        self.spent = 0
        limits = LimitMetrics(self.registry)
        self.notices = Notices(self.transport, limits)
        self.store = self._store(redis_url, limits)
        self.notices.share(lambda key, seconds: self.store.first(key, seconds))
        self.counters = Counters(self.store, lambda _budget, _start: self.spent)
        self.ledger = Kept()
        book = LedgerBook(self.ledger)
        treasury = Treasury(self.counters, self.notices, limits, book)
        metrics = Metrics(self.registry)
        traced = [] if traces is None else [traces]
        self.ears = Ears(metrics, *traced)
        # The share of the memory that is in use, as the gateway sees it.
        self.memory = 0.0
        news = PressureNews(structlog.get_logger("test"), self.registry)
        self.pressure = Pressure(lambda: self.memory, lambda: self.door.in_flight, None, news)
        means = Means(self.live, random.random, self._pause)
        # How far the clocks of the cache are ahead: the date, and the one that nobody sets.
        self.wall, self.skipped_cache = 0.0, 0.0
        self.shelf = Shelf(self._answers(), CacheMetrics(self.registry), lambda: time.time() + self.wall)
        self.answers = semantic_answers(self.shelf, self.registry)
        keeps = Keeps(self.answers, OwnedTable())
        self.services = Services(
            snapshots=self.holder,
            authenticator=Authenticator(self.hasher, lambda: self.fresh, self.date),
            handler=build(
                Wires({"http": self.transport}), [metrics, book, *traced, self.ears], means, treasury, keeps
            ),
            book=self.ears,
            status=AlwaysReady(),
            pressure=self.pressure,
            fault=lambda _, error: self.faults.append(error),
            lingering=Lingering(),
            tracing=traces,
        )
        self.door = Door(self.services, EXACT, PREFIXES, **door)
        self.port = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    def _store(self, redis_url: str | None, metrics: LimitMetrics | None = None) -> Store:
        local = MemoryStore(watch=self.notices.hear, clocks=Clocks(wall=self.date))
        if redis_url is None or metrics is None:
            return local
        reports = Reports(metrics.degraded, metrics.rebuilt, metrics.waiting, metrics.lost)
        return RedisStore(redis_url, local, self.notices.hear, reports)

    def _answers(self) -> CacheStore:
        return MemoryCache(64 << 20, 16 << 20, lambda: time.monotonic() + self.skipped_cache)

    # -- addresses

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def openai_url(self) -> str:
        return self.url + "/v1"

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop that serves."""
        assert self._loop is not None, "the gateway was not started"
        return self._loop

    # -- what was seen

    @property
    def records(self) -> list[Record]:
        return self.ears.records

    @property
    def refusals(self) -> list[Refusal]:
        return self.ears.refusals

    def wait_record(self, count: int = 1) -> Record:
        """The `count`th closed record, waited for."""
        self.wait(lambda: len(self.records) >= count)
        return self.records[count - 1]

    def ended(self, count: int = 1) -> dict[str, Any]:
        """How the `count`th call ended in the ledger, waited for: its row, and its `attempts`."""
        self.wait_record(count)
        ends = [line for line in self.ledger.lines if "end" in line]
        assert len(ends) == count
        return {**ends[-1]["end"], "attempts": ends[-1]["attempts"]}

    def wait(self, condition: Callable[[], bool]) -> None:
        """Wait until `condition` holds."""
        end = time.monotonic() + _PATIENCE
        while not condition():
            assert time.monotonic() < end, "waited in vain"
            time.sleep(0.005)

    def idle(self) -> None:
        """Wait until nothing is open any more: no call, no request at the door, no answer of a
        provider."""
        self.wait(lambda: self.ears.open == 0 and self.door.in_flight == 0)
        inner = self.transport._inner
        assert isinstance(inner, PooledTransport)
        self.wait(lambda: inner.pool.size == inner.pool.idle)

    def forget(self) -> None:
        """As new: the default configuration, nothing recorded."""
        self.records.clear()
        self.ledger.lines.clear()
        self.refusals.clear()
        self.faults.clear()
        self.pauses.clear()
        self.memory = 0.0
        self.pressure.look(0.0)
        self.live.forget()
        self.spent = 0
        self.store = self.counters.store = self._store(None)
        self.wall, self.skipped_cache = 0.0, 0.0
        self.shelf.store = self._answers()
        self.fresh = True
        self.jump = 0.0
        self.use(self.snapshot())

    async def _pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await asyncio.sleep(min(seconds, 0.01))

    # -- configuration

    def provider(self, kind: str, **changes: Any) -> Provider:
        """A provider of this kind at the fake, with a credential and short timeouts."""
        url = self.fake.openai_url if kind in ("openai", "openai_compatible") else self.fake.url
        made = Provider(
            id=sorted(KINDS).index(kind) + 1,
            name=kind,
            kind=KINDS[kind],
            base_url=url,
            timeouts=Timeouts(connect=2, first_byte=10, first_byte_stream=10, idle=10, total=60),
            credentials=() if kind == "ollama" else (Credential(1, "", "", f"sk-{kind}-0123456789"),),
            allow_private=True,
        )
        return replace(made, **changes)

    def route(self, pattern: str, *targets: Provider | Target, **changes: Any) -> Route:
        """A route to these, in tiers of their order."""
        made = tuple(
            target if isinstance(target, Target) else Target(id=tier, provider=target, tier=tier)
            for tier, target in enumerate(targets)
        )
        return replace(Route(id=abs(hash(pattern)), name=pattern, pattern=pattern, targets=made), **changes)

    def snapshot(
        self, routes: Sequence[Route] | None = None, key: Mapping[str, Any] | None = None, **changes: Any
    ) -> Snapshot:
        """A configuration: by default `gpt-*` and embeddings to OpenAI, `claude-*` to Anthropic, the rest to
        Ollama. `key` changes the caller's key."""
        if routes is None:
            openai, anthropic, ollama = map(self.provider, ("openai", "anthropic", "ollama"))
            routes = [
                self.route("gpt-*", openai),
                self.route("o3-*", openai),
                self.route("text-embedding-*", openai),
                self.route("claude-*", anthropic),
                self.route("*", ollama),
            ]
        digest = self.hasher.digest(self.key)
        row = ApiKey(id=1, prefix=display_prefix(self.key), digest=digest, team=self.team)
        providers = {t.provider.name: t.provider for route in routes for t in route.targets}
        made = Snapshot(
            revision=7,
            routes=tuple(routes),
            keys={digest: replace(row, **(key or {}))},
            providers=providers,
        )
        return replace(made, **changes)

    def use(self, snapshot: Snapshot) -> None:
        """Serve from now on by this configuration."""
        self.holder.current = snapshot

    # -- running

    def start(self) -> LiveGateway:
        """Listen on a free port."""
        listener = socket.socket()
        # asyncio sets it only where a socket names its protocol; without it bodies wait 40 ms for an ACK.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.bind(("127.0.0.1", 0))
        self.port = listener.getsockname()[1]
        config = uvicorn.Config(
            self.door, http=Protocol, log_config=None, lifespan="off", timeout_graceful_shutdown=1
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, args=(listener,), daemon=True)
        self._thread.start()
        self.wait(lambda: self._server is not None and self._server.started)
        return self

    def _run(self, listener: socket.socket) -> None:
        async def serve() -> None:
            self._loop = asyncio.get_running_loop()
            assert self._server is not None
            await self.store.start()
            await self._server.serve(sockets=[listener])
            await self.notices.aclose()
            await self.store.stop()
            await self.transport.aclose()

        with asyncio.Runner() as runner:
            runner.run(serve())

    def cut(self) -> None:
        """What a server does when its patience with open requests ends."""
        self.loop.call_soon_threadsafe(self.door.cut)

    def stop(self) -> None:
        assert self._server is not None
        assert self._thread is not None
        self._server.should_exit = True
        self._thread.join(_PATIENCE)
        assert not self._thread.is_alive()


@pytest.fixture
def gateway(fake_upstream: FakeUpstream) -> Iterator[LiveGateway]:
    """A gateway in front of the fake upstream. At the end nothing may be open and nothing unexpected may
    have happened."""
    running = LiveGateway(fake_upstream).start()
    yield running
    running.idle()
    running.stop()
    assert not running.faults


@pytest.fixture(scope="session")
def session_gateway(fake_upstream_server: FakeUpstream) -> Iterator[LiveGateway]:
    """One gateway for the whole session; ask for `live` instead."""
    running = LiveGateway(fake_upstream_server).start()
    yield running
    running.stop()


@pytest.fixture
def live(session_gateway: LiveGateway, fake_upstream: FakeUpstream) -> Iterator[LiveGateway]:
    """The session's gateway, as clean as a new one. At the end nothing may be open and nothing unexpected may
    have happened."""
    session_gateway.forget()
    yield session_gateway
    session_gateway.idle()
    assert not session_gateway.faults
