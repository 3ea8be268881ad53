"""A backup as docs/data.md has it: the database by pg_dump and the master secret, restored on an empty
machine."""

from __future__ import annotations

import secrets
import subprocess

import pytest

from tests.faults.whole import House, until, values
from tests.support.fake_upstream import FakeUpstream
from tests.support.services import PostgresServer

pytestmark = [pytest.mark.slow, pytest.mark.postgres, pytest.mark.timeout(600)]


def test_a_restored_database_serves_the_same_keys_with_the_same_secret_alone(
    fake_upstream: FakeUpstream, postgres_server: PostgresServer
) -> None:
    name = secrets.token_hex(4)
    first, second = (postgres_server.create_database(f"{which}_{name}") for which in ("lost", "found"))
    secret = secrets.token_urlsafe(48)
    with House(None, **_environ(fake_upstream, first, secret)) as lost:
        key = lost.manage("keys", "issue", "--team", "crew").strip()
        until(lambda: lost.ask(key=key).status_code == 200, "the key is known")
        dump = lost.folder / "gateway.dump"
        _run(postgres_server, "pg_dump", "--format=custom", f"--file={dump}", first)
        _run(postgres_server, "pg_restore", "--no-owner", "--exit-on-error", f"--dbname={second}", str(dump))
        revision = lost.report()["revision"]
    # An empty data folder each.
    with House(None, **_environ(fake_upstream, second, secret)) as found:
        assert found.report()["revision"] == revision
        assert found.ask(key=key).status_code == 200
        assert "crew" in found.manage("keys", "list")
    with House(None, **_environ(fake_upstream, second, secrets.token_urlsafe(48))) as stranger:
        assert stranger.ask(key=key).status_code == 401


def _environ(fake: FakeUpstream, database: str, secret: str) -> dict[str, str]:
    return values(fake, LLM_GATEWAY_DATABASE_URL=database, LLM_GATEWAY_SECRET_KEY=secret)


def _run(server: PostgresServer, program: str, *words: str) -> None:
    done = subprocess.run(
        [server.programs / program, *words], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
