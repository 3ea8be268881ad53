"""Two whole gateways with one PostgreSQL and one Valkey: what they share, and a restart of one after the
other."""

from __future__ import annotations

import os
import secrets
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import pytest

from tests.faults.whole import SURFACES, Flow, House, Rest, until, values
from tests.support.fake_upstream import FakeUpstream
from tests.support.services import PostgresServer, RedisServer
from tests.support.upstream.script import Answer, WaitFor

pytestmark = [pytest.mark.slow, pytest.mark.valkey, pytest.mark.postgres, pytest.mark.timeout(600)]

Pair = tuple[House, House]
LIMIT = 30


@contextmanager
def two(fake: FakeUpstream, redis: str, postgres: str) -> Iterator[Pair]:
    """They share what the environment names, and the master secret."""
    environ = values(
        fake,
        LLM_GATEWAY_REDIS_URL=redis,
        LLM_GATEWAY_DATABASE_URL=postgres,
        LLM_GATEWAY_SECRET_KEY=secrets.token_urlsafe(48),
    )
    with ExitStack() as stack:
        yield stack.enter_context(House(None, **environ)), stack.enter_context(House(None, **environ))


@pytest.fixture
def replicas(
    fake_upstream: FakeUpstream, fresh_redis: RedisServer, postgres_server: PostgresServer
) -> Iterator[Pair]:
    """Two, with a database of their own."""
    database = postgres_server.create_database(f"replicas_{secrets.token_hex(4)}")
    with two(fake_upstream, fresh_redis.url, database) as both:
        yield both


def known(replicas: Pair, key: str) -> None:
    """Wait until both serve a key."""
    until(lambda: all(each.ask(key=key).status_code == 200 for each in replicas), "both know the key")


def test_a_limit_is_exact_over_both(replicas: Pair) -> None:
    one, other = replicas
    key = one.manage("keys", "issue", "--team", "limited").strip()
    known(replicas, key)
    one.apply(f"teams: [{{name: limited, limits: [{{kind: requests, amount: {LIMIT}, per: day}}]}}]")
    until(lambda: other.report()["revision"] == one.report()["revision"], "both have the limit")
    with ThreadPoolExecutor(4) as pool:
        asked = [
            pool.submit(replicas[number % 2].ask, SURFACES[number // 2 % 2], key)
            for number in range(2 * LIMIT)
        ]
        statuses = [each.result().status_code for each in asked]
    assert sorted(statuses) == [200] * LIMIT + [429] * LIMIT
    assert [each.metric("gateway_redis_degraded") for each in replicas] == [0, 0]


def test_a_revoked_key_is_refused_by_both_and_no_other_is(replicas: Pair) -> None:
    one, other = replicas
    key = one.manage("keys", "issue", "--team", "leaving", "--label", "leaves").strip()
    known(replicas, key)
    one.manage("keys", "revoke", key[:11])
    until(lambda: all(each.ask(key=key).status_code == 401 for each in replicas), "both refuse it")
    assert [each.ask().status_code for each in (one, other)] == [200, 200]


def test_a_restart_of_one_after_the_other_cuts_no_stream(replicas: Pair, fake_upstream: FakeUpstream) -> None:
    one, other = replicas
    restart(one, other, fake_upstream)
    restart(other, one, fake_upstream)


def restart(gateway: House, other: House, fake: FakeUpstream) -> None:
    """Restart one while streams run on both."""
    go_on = threading.Event()
    fake.script("", [Answer(events=6), WaitFor(go_on), Rest(6)])
    with ExitStack() as stack:
        streams: list[Flow] = [
            stack.enter_context(where.flow(SURFACES[number % 2]))
            for number in range(6)
            for where in (gateway, other)
        ]
        for stream in streams:
            stream.until(b"data:")
        os.kill(gateway.pid, signal.SIGTERM)
        # A balancer hears of it before the door is shut, and finds the other open.
        until(lambda: gateway.ready() == (503, "draining"), "/ready says no")
        assert other.ready()[0] == 200
        until(gateway.refuses, "its door is shut")
        assert other.ask(model="sandbox").status_code == 200
        assert not any(stream.whole for stream in streams)
        go_on.set()
        for stream in streams:
            stream.rest()
        assert [stream.whole for stream in streams] == [True] * len(streams)
        assert gateway.wait() == 0
    fake.reset()
    # The new one of the pair, on its port and in its folder.
    gateway.__enter__()
    until(lambda: gateway.ready()[0] == 200, "it is there again")
    assert gateway.ask().status_code == 200
