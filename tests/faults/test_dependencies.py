"""Faults of Redis: away, frozen, forgetful, read-only, full. A real Valkey, and the gateway's door and
pipeline on a socket."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from itertools import count

import pytest
import redis

from pipeline.redis_store import RedisStore
from routing.allowances import Budget, Limit
from tests.faults.whole import SURFACES, House, Rest, until, values
from tests.support.fake_upstream import FakeUpstream
from tests.support.live_gateway import LiveGateway
from tests.support.services import RedisServer, free_port
from tests.support.surfaces import Pair, ask
from tests.support.upstream.script import Answer, WaitFor

pytestmark = [pytest.mark.valkey, pytest.mark.timeout(300)]

every_surface = pytest.mark.parametrize("pair", SURFACES, ids=str)
every_way = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
_ids = count(1000)


def requests(amount: int, span: int = 3600) -> Limit:
    return Limit(next(_ids), "requests", amount, span=span, key_id=1)


def places(amount: int) -> Limit:
    return Limit(next(_ids), "concurrency", amount, key_id=1)


def tokens(amount: int) -> Budget:
    return Budget(next(_ids), unit="tokens", amount=amount, period="total", key_id=1)


def allow(live: LiveGateway, *rows: Limit | Budget) -> None:
    limits = tuple(row for row in rows if isinstance(row, Limit))
    live.use(
        live.snapshot(
            key={"limits": limits, "budgets": tuple(row for row in rows if isinstance(row, Budget))}
        )
    )


@contextmanager
def gateway_with(fake: FakeUpstream, url: str) -> Iterator[LiveGateway]:
    """A gateway that counts in this Redis. At the end nothing is open and nothing unexpected happened."""
    running = LiveGateway(fake, url).start()
    try:
        yield running
        running.idle()
    finally:
        running.stop()
    assert not running.faults


@pytest.fixture
def shared(fake_upstream: FakeUpstream, fresh_redis: RedisServer) -> Iterator[LiveGateway]:
    """A gateway with a Redis of its own."""
    with gateway_with(fake_upstream, fresh_redis.url) as running:
        yield running


@pytest.fixture
def plain(fresh_redis: RedisServer) -> Iterator[redis.Redis]:
    """A look into that Redis."""
    with closing(redis.Redis(port=fresh_redis.port, decode_responses=True)) as client:
        yield client


def degraded(live: LiveGateway) -> bool:
    return live.registry.get_sample_value("gateway_redis_degraded") == 1


def outbox(live: LiveGateway) -> int:
    assert isinstance(live.store, RedisStore)
    return len(live.store._outbox)


def meter(plain: redis.Redis, budget: Budget) -> int:
    """Where a budget stands in Redis."""
    (key,) = [
        key for key in plain.scan_iter("llmgw:*", _type="string") if re.search(rf"\b{budget.id}\b", key)
    ]
    return int(plain.get(key))  # type: ignore[arg-type]  # a string that is there


def lose(live: LiveGateway) -> list[int]:
    """Ask until Redis is given up; the statuses on the way."""
    seen: list[int] = []
    while not degraded(live):
        assert len(seen) < 50, "Redis is still believed in"
        seen.append(ask(live, SURFACES[len(seen) % 2]).status)
    return seen


# -- R1, R2, R3: away


@every_surface
@every_way
def test_r1_away_at_the_start_is_degraded_and_limited(
    fake_upstream: FakeUpstream, fresh_redis: RedisServer, pair: Pair, stream: bool
) -> None:
    fresh_redis.kill()
    with gateway_with(fake_upstream, fresh_redis.url) as live:
        assert degraded(live)
        allow(live, requests(2))
        assert [ask(live, pair, stream=stream).status for _ in range(3)] == [200, 200, 429]
        fresh_redis.start()
        live.wait(lambda: not degraded(live))


@pytest.mark.slow
def test_r1_the_process_starts_and_says_that_it_is_degraded(
    fake_upstream: FakeUpstream, fresh_redis: RedisServer
) -> None:
    fresh_redis.kill()
    with House(None, **values(fake_upstream, LLM_GATEWAY_REDIS_URL=fresh_redis.url)) as gateway:
        reply = gateway.get("/ready")
        assert (reply.status_code, reply.json()) == (200, {"ready": True, "degraded": True})
        assert gateway.metric("gateway_redis_degraded") == 1
        assert gateway.ask().status_code == 200
        assert "Traceback" not in gateway.output
        fresh_redis.start()
        until(lambda: not gateway.get("/ready").json()["degraded"], "Redis is found")
        assert gateway.metric("gateway_redis_degraded") == 0


def kill(server: RedisServer) -> None:
    server.kill()


def freeze(server: RedisServer) -> None:
    server.stop()


def _under_load(
    live: LiveGateway, server: RedisServer, fault: Callable[[RedisServer], None]
) -> tuple[list[int], list[int]]:
    """The statuses of calls from eight clients before and after Redis goes."""
    gone = threading.Event()

    def client(number: int) -> tuple[list[int], list[int]]:
        before: list[int] = []
        after: list[int] = []
        while len(after) < 6:
            seen = after if gone.is_set() else before
            seen.append(ask(live, SURFACES[number % 2], stream=number % 4 < 2).status)
        return before, after

    with ThreadPoolExecutor(8) as pool:
        running = [pool.submit(client, number) for number in range(8)]
        live.wait_record(16)
        fault(server)
        gone.set()
        results = [each.result(60) for each in running]
    return [s for before, _ in results for s in before], [s for _, after in results for s in after]


@pytest.mark.parametrize("fault", [pytest.param(kill, id="r2-killed"), pytest.param(freeze, id="r3-frozen")])
def test_r2_r3_gone_under_load_no_call_fails_and_none_is_unlimited(
    shared: LiveGateway,
    fresh_redis: RedisServer,
    fault: Callable[[RedisServer], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    allow(shared, requests(10_000), places(1000), tokens(10_000_000))
    before, after = _under_load(shared, fresh_redis, fault)
    assert set(before + after) == {200}
    assert len(after) == 48
    assert degraded(shared)
    # One line for the outage, without a trace, and not one for each call.
    told = [record for record in caplog.records if "redis is away" in record.message]
    assert len(told) == 1
    assert not any(record.exc_info for record in caplog.records)
    # What was used before counts on: never unlimited, and not anew.
    allow(shared, requests(4))
    statuses = [ask(shared, pair).status for pair in SURFACES * 4]
    assert statuses == [200] * 4 + [429] * 4
    if fault is freeze:
        fresh_redis.cont()
    else:
        fresh_redis.start()
    shared.wait(lambda: not degraded(shared))
    shared.wait(lambda: outbox(shared) == 0)


@every_surface
@every_way
def test_r3_frozen_a_call_goes_on_by_its_share(
    shared: LiveGateway, fresh_redis: RedisServer, pair: Pair, stream: bool
) -> None:
    allow(shared, requests(5))
    assert ask(shared, pair, stream=stream).header("x-ratelimit-remaining-requests") == "4"
    fresh_redis.stop()
    try:
        # Each is asked of Redis until it is given up, and then of nobody.
        statuses = [ask(shared, pair, stream=stream).status for _ in range(8)]
        # The share of this one replica is all that was left.
        assert statuses.count(200) == 4
        assert statuses[-1] == 429
        assert degraded(shared)
    finally:
        fresh_redis.cont()
    shared.wait(lambda: not degraded(shared))
    # Redis knows nothing of what was let through meanwhile: at most the limit and one share in all.
    while ask(shared, pair, stream=stream).status == 200:
        assert sum(record.status == 200 for record in shared.records) <= 5 + 5


# -- R4: between reserve and settle


@every_surface
@pytest.mark.parametrize("fault", [kill, freeze], ids=["killed", "frozen"])
def test_r4_what_is_settled_meanwhile_is_exact_afterwards(
    fake_upstream: FakeUpstream, pair: Pair, fault: Callable[[RedisServer], None]
) -> None:
    # One that keeps its data over a kill, as a Redis in production does.
    with closing(RedisServer(["--appendonly", "yes", "--appendfsync", "always"])) as server:
        server.start()
        with gateway_with(fake_upstream, server.url) as live:
            row = tokens(100_000)
            allow(live, row)
            assert ask(live, pair).status == 200
            go_on = threading.Event()
            fake_upstream.script("", [Answer(events=6), WaitFor(go_on), Rest(6)], times=1)
            with ThreadPoolExecutor(1) as pool:
                open_stream = pool.submit(ask, live, pair, stream=True)
                live.wait(lambda: len(fake_upstream.requests) == 2)
                fault(server)
                go_on.set()
                assert open_stream.result(30).complete
            live.wait_record(2)
            lose(live)
            assert outbox(live) >= 1
            if fault is kill:
                server.start()
            else:
                server.cont()
            live.wait(lambda: not degraded(live))
            live.wait(lambda: outbox(live) == 0)
            assert live.registry.get_sample_value("gateway_settlements_lost_total") == 0
            used = [record.usage for record in live.records if record.outcome == "ok"]
            spent = sum(usage.input_tokens + usage.output_tokens for usage in used if usage is not None)
            with closing(redis.Redis(port=server.port, decode_responses=True)) as client:
                live.wait(lambda: meter(client, row) == spent)


# -- R5: all is forgotten


@every_surface
def test_r5_after_a_flush_places_are_kept_and_budgets_are_not_begun_anew(
    shared: LiveGateway, fake_upstream: FakeUpstream, plain: redis.Redis, pair: Pair
) -> None:
    row = tokens(700)
    allow(shared, row, places(2))
    # 600 of 700 are used.
    used = 0
    while used < 500:
        answer = ask(shared, pair, max_tokens=150, messages=[{"role": "user", "content": "count:60"}])
        assert answer.status == 200
        asked = len(fake_upstream.requests)
        usage = shared.wait_record(asked).usage
        assert usage is not None
        used += usage.input_tokens + usage.output_tokens
    go_on = threading.Event()
    fake_upstream.script("", [Answer(events=6), WaitFor(go_on), Rest(6)], times=1)
    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(ask, shared, pair, stream=True, max_tokens=20)
        asked = len(fake_upstream.requests)
        shared.wait(lambda: len(fake_upstream.requests) > asked)
        plain.flushall()
        # The heartbeat brings the place of the open stream back.
        shared.wait(lambda: any("replicas" not in key for key in plain.scan_iter("llmgw:*", _type="zset")))
        refused = ask(shared, pair, max_tokens=300)
        assert refused.status == (402 if pair.surface == "messages" else 429)
        assert refused.error()["type"] in ("insufficient_quota", "billing_error")
        assert shared.registry.get_sample_value("gateway_counter_rebuilds_total") == 1
        go_on.set()
        assert held.result(30).complete
    assert not degraded(shared)


@every_surface
def test_r5_a_replica_that_never_saw_the_counter_begins_it_by_the_ledger(
    shared: LiveGateway, plain: redis.Redis, pair: Pair
) -> None:
    allow(shared, tokens(1000))
    plain.flushall()
    shared.spent = 990
    refused = ask(shared, pair, max_tokens=50)
    assert refused.status == (402 if pair.surface == "messages" else 429)


# -- R6: there, and no use


def _follow_nobody(client: redis.Redis) -> None:
    client.replicaof("127.0.0.1", "1")


def _lead(client: redis.Redis) -> None:
    client.replicaof("NO", "ONE")


def _fill(client: redis.Redis) -> None:
    client.config_set("maxmemory", "1")


def _empty(client: redis.Redis) -> None:
    client.config_set("maxmemory", "0")


@pytest.mark.parametrize(
    ("fault", "mend"), [(_follow_nobody, _lead), (_fill, _empty)], ids=["readonly", "out-of-memory"]
)
def test_r6_one_that_takes_no_writes_counts_as_away(
    shared: LiveGateway,
    plain: redis.Redis,
    fault: Callable[[redis.Redis], None],
    mend: Callable[[redis.Redis], None],
) -> None:
    allow(shared, requests(1000))
    assert ask(shared, SURFACES[0]).status == 200
    fault(plain)
    assert set(lose(shared)) == {200}
    allow(shared, requests(3))
    assert [ask(shared, pair).status for pair in SURFACES * 2] == [200] * 3 + [429]
    mend(plain)
    shared.wait(lambda: not degraded(shared))
    assert ask(shared, SURFACES[0]).header("x-ratelimit-limit-requests") == "3"


def test_r6_a_cluster_that_is_down_counts_as_away(fake_upstream: FakeUpstream) -> None:
    with closing(RedisServer(["--cluster-enabled", "yes", "--cluster-port", str(free_port())])) as server:
        server.start()
        # No slot is served: every command is answered with an error.
        with gateway_with(fake_upstream, server.url) as live:
            assert degraded(live)
            allow(live, requests(2))
            assert [ask(live, pair).status for pair in (*SURFACES, *SURFACES)] == [200, 200, 429, 429]


# -- R7, R8


@pytest.mark.slow
def test_r7_a_redis_that_may_evict_counters_is_warned_of_at_the_start(fake_upstream: FakeUpstream) -> None:
    options = ["--maxmemory", "50mb", "--maxmemory-policy", "allkeys-lru"]
    with closing(RedisServer(options)) as server:
        server.start()
        with House(None, **values(fake_upstream, LLM_GATEWAY_REDIS_URL=server.url)) as gateway:
            until(lambda: "set noeviction" in gateway.output, "it is said")
            assert "allkeys-lru" in gateway.output
            assert gateway.ask().status_code == 200


@every_surface
@every_way
@pytest.mark.parametrize("forget", ["restart", "script flush"])
def test_r8_scripts_that_are_forgotten_are_told_again(
    shared: LiveGateway, fresh_redis: RedisServer, pair: Pair, stream: bool, forget: str
) -> None:
    # More than a quick machine asks in the second until Redis is looked for.
    allow(shared, requests(100_000))
    assert ask(shared, pair, stream=stream).status == 200
    if forget == "restart":
        fresh_redis.kill()
        fresh_redis.start()
    else:
        with closing(redis.Redis(port=fresh_redis.port)) as client:
            client.script_flush()
    with closing(redis.Redis(port=fresh_redis.port)) as client:

        def counted() -> bool:
            """A restart closes connections: the first call may be decided here."""
            assert ask(shared, pair, stream=stream).status == 200
            return any(True for _ in client.scan_iter("llmgw:*", _type="hash"))

        shared.wait(counted)
    assert not degraded(shared)
