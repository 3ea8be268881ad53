"""Faults of the database: away, frozen, without connections, locked, older or newer than the program. Whole
gateways with a real PostgreSQL."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import httpx
import psutil
import psycopg
import pytest

from tests.faults.whole import KEY, NOBODY, SURFACES, House, until, values
from tests.support.fake_upstream import FakeUpstream
from tests.support.services import PostgresServer
from tests.support.surfaces import Pair, checked

pytestmark = [pytest.mark.postgres, pytest.mark.slow, pytest.mark.timeout(300)]

every_surface = pytest.mark.parametrize("pair", SURFACES, ids=str)


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A PostgreSQL of this file's own."""
    with closing(PostgresServer()) as made:
        yield made.start()


@pytest.fixture(scope="module")
def standing(server: PostgresServer, fake_upstream_server: FakeUpstream) -> Iterator[House]:
    """One gateway with that database for all tests of this file that leave both as they were."""
    with House(None, **values(fake_upstream_server, LLM_GATEWAY_DATABASE_URL=server.url)) as gateway:
        yield gateway


@pytest.fixture
def gateway(standing: House, fake_upstream: FakeUpstream) -> House:
    """That gateway, ready, in front of a clean upstream."""
    until(lambda: standing.report()["database"]["ok"], "the database is seen")
    return standing


def every_call_succeeds(gateway: House) -> None:
    for pair in SURFACES:
        for stream in (False, True):
            reply = gateway.ask(pair, stream=stream)
            assert reply.status_code == 200
            whole = {"chat": "[DONE]", "messages": "message_stop"}[pair.surface] if stream else "word9"
            assert whole in reply.text


def stranger(gateway: House, pair: Pair = SURFACES[0]) -> httpx.Response:
    """What a key is told that is not in memory."""
    reply: httpx.Response = gateway.ask(pair, NOBODY)
    return reply


def test_p1_known_keys_are_served_while_the_database_is_away(
    gateway: House, server: PostgresServer, fake_upstream: FakeUpstream
) -> None:
    assert stranger(gateway).status_code == 401
    server.kill()
    try:
        every_call_succeeds(gateway)
        until(lambda: stranger(gateway).status_code == 503, "what is in memory is known to be old")
        for pair in SURFACES:
            reply = stranger(gateway, pair)
            assert (reply.status_code, reply.headers["retry-after"]) == (503, "5")
            error = checked(pair.surface, reply.json())
            assert error["type"] == ("api_error" if pair.surface == "messages" else "server_error")
        every_call_succeeds(gateway)
        ready = gateway.get("/ready")
        assert (ready.status_code, ready.json()) == (200, {"ready": True, "degraded": True})
        assert gateway.output.count("configuration cannot be read") == 1
        assert "Traceback" not in gateway.output
    finally:
        server.start()
    until(lambda: stranger(gateway).status_code == 401, "the database is seen again")
    key = gateway.manage("keys", "issue", "--team", "crew").strip()
    until(lambda: gateway.ask(key=key).status_code == 200, "a new key works")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_p2_a_start_without_the_database_listens_and_sets_up_by_itself(
    fresh_postgres: PostgresServer, fake_upstream: FakeUpstream, workers: str
) -> None:
    fresh_postgres.kill()
    more = {"LLM_GATEWAY_DATABASE_URL": fresh_postgres.url, "LLM_GATEWAY_WORKERS": workers}
    with House(None, **values(fake_upstream, **more)) as gateway:
        assert gateway.ready() == (503, "no configuration yet")
        assert gateway.get("/health").status_code == 200
        assert stranger(gateway).status_code == 503
        assert "the database does not answer" in gateway.output.lower()
        fresh_postgres.start()
        until(lambda: gateway.ready() == (200, ""), "it is ready")
        until(lambda: gateway.output.count(gateway.url) >= 1, "it says how to begin")
        # Every worker.
        until(lambda: all(gateway.ready() == (200, "") for _ in range(6)), "all are ready")
        every_call_succeeds(gateway)
        assert gateway.end() == 0


def test_p3_no_connection_is_left_for_the_gateway(
    gateway: House, server: PostgresServer, fake_upstream: FakeUpstream
) -> None:
    with closing(psycopg.connect(server.url, autocommit=True)) as look, ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: gateway.ask(), range(24)))
        # A call needs none, whatever their number.
        mine = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
        (used,) = look.execute(mine).fetchone() or (99,)
        assert used - 1 <= 4
    with closing(Crowd(server)) as crowd:
        crowd.take_all()
        crowd.break_others()
        # Those that were open are broken: the next look needs a new one, and gets none.
        crowd.take_all()
        until(lambda: not gateway.report()["database"]["ok"], "it is noticed")
        every_call_succeeds(gateway)
        assert gateway.get("/health").status_code == 200
    until(lambda: gateway.report()["database"]["ok"], "it is connected again")
    every_call_succeeds(gateway)


class Crowd:
    """Whoever has all of a server's connections."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self._held: list[psycopg.Connection] = []

    def take_all(self) -> None:
        """Connect until nobody can any more."""
        with pytest.raises(psycopg.OperationalError, match="too many clients"):
            self._take_on()

    def _take_on(self) -> None:
        while True:
            self._held.append(psycopg.connect(self._server.url, autocommit=True))

    def break_others(self) -> None:
        """End the connections of everybody else."""
        mine = [each.info.backend_pid for each in self._held]
        self._held[0].execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE backend_type = 'client backend' AND NOT pid = ANY(%s)",
            [mine],
        )

    def close(self) -> None:
        for each in self._held:
            each.close()


def test_p4_a_locked_sqlite_holds_up_no_call(tmp_path: Path, fake_upstream: FakeUpstream) -> None:
    with House(tmp_path, **values(fake_upstream)) as gateway:
        with closing(sqlite3.connect(tmp_path / "gateway.sqlite3", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            other.execute("UPDATE routing_route SET name = name")
            every_call_succeeds(gateway)
            # Readers are not held up: the configuration stays fresh.
            assert gateway.report()["database"]["ok"]
            assert stranger(gateway).status_code == 401
            with ThreadPoolExecutor(1) as pool:
                # A writer waits, and goes on when the lock is given back.
                issued = pool.submit(gateway.manage, "keys", "issue", "--team", "crew")
                every_call_succeeds(gateway)
                other.execute("ROLLBACK")
                key = issued.result(60).strip()
        until(lambda: gateway.ask(key=key).status_code == 200, "the key works")


def test_p5_while_migrations_are_pending_it_is_not_ready_and_says_so(
    tmp_path: Path, fake_upstream: FakeUpstream
) -> None:
    with House(tmp_path, **values(fake_upstream)) as gateway:
        # As a restored backup of an older version would be.
        gateway.manage("migrate", "routing", "0001")
        _publish(tmp_path)
        until(lambda: gateway.ready() == (503, "migrations are pending"), "it says no")
        until(lambda: "migrations are pending" in gateway.output, "it is logged")
        # What is in memory serves, for those who ask all the same.
        every_call_succeeds(gateway)
        gateway.manage("migrate")
        until(lambda: gateway.ready() == (200, ""), "it is ready")
        # A newer version has been here: this one goes on beside it, and after a start of its own too.
        with closing(sqlite3.connect(tmp_path / "gateway.sqlite3", isolation_level=None)) as newer:
            newer.execute("ALTER TABLE routing_route ADD COLUMN of_tomorrow text")
            newer.execute(
                "INSERT INTO django_migrations (app, name, applied)"
                " VALUES ('routing', '9999_of_tomorrow', '2030-01-01')"
            )
        before = gateway.report()["revision"]
        _publish(tmp_path)
        until(lambda: gateway.report()["revision"] > before, "it is read")
        assert gateway.ready() == (200, "")
        every_call_succeeds(gateway)
        assert gateway.end() == 0
    with House(tmp_path, **values(fake_upstream)) as gateway:
        assert gateway.ready() == (200, "")
        every_call_succeeds(gateway)


def _publish(folder: Path) -> None:
    """A revision without a change, so that the tables are read anew."""
    with closing(sqlite3.connect(folder / "gateway.sqlite3", isolation_level=None)) as rows:
        rows.execute(
            "INSERT INTO routing_revision (number, author, reason, summary, created)"
            " SELECT max(number) + 1, 'test', 'test', '[]', '2030-01-01' FROM routing_revision"
        )


@pytest.mark.parametrize("slow", ["frozen", "locked"])
def test_p6_a_slow_database_slows_no_call(
    gateway: House, server: PostgresServer, fake_upstream: FakeUpstream, slow: str
) -> None:
    with closing(psycopg.connect(server.url)) as other:
        if slow == "frozen":
            server.stop()
        else:
            other.execute("LOCK TABLE routing_revision IN ACCESS EXCLUSIVE MODE")
        try:
            every_call_succeeds(gateway)
            until(lambda: gateway.get("/ready").json() == {"ready": True, "degraded": True}, "it is noticed")
            every_call_succeeds(gateway)
            assert stranger(gateway).status_code == 503
            assert psutil.Process(gateway.pid).status() != psutil.STATUS_STOPPED
        finally:
            server.cont()
            other.rollback()
    until(lambda: gateway.report()["database"]["ok"], "it is over")
    assert gateway.ask(key=KEY).status_code == 200
