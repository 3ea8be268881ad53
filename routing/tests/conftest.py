"""Real databases for tests that need commits, threads or PostgreSQL's own rules: one of each kind, migrated
once, copied for each test."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from django.core.management import call_command
from django.db import connections
from pytest_django.plugin import DjangoDbBlocker

from tests.support.services import PostgresServer


@contextmanager
def _instead(settings: dict[str, Any], blocker: DjangoDbBlocker) -> Iterator[None]:
    """The default connection goes elsewhere, in every thread that opens one meanwhile."""
    with blocker.unblock():
        before = connections.settings["default"]
        kept = connections["default"]
        connections.settings["default"] = {**before, **settings}
        del connections["default"]
        try:
            yield
        finally:
            connections["default"].close()
            connections.settings["default"] = before
            connections["default"] = kept


def _postgres(url: str) -> dict[str, Any]:
    parts = urlsplit(url)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.path.lstrip("/"),
        "USER": parts.username,
        "HOST": parts.hostname,
        "PORT": parts.port,
        "OPTIONS": {},
    }


def _sqlite(path: Path) -> dict[str, Any]:
    # As production has it, but for the file: a writer waits for another instead of failing.
    options = {
        "transaction_mode": "IMMEDIATE",
        "init_command": "PRAGMA journal_mode=wal; PRAGMA busy_timeout=20000",
    }
    return {"ENGINE": "django.db.backends.sqlite3", "NAME": str(path), "OPTIONS": options}


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory, django_db_blocker: DjangoDbBlocker) -> Path:
    """A migrated SQLite file."""
    path = tmp_path_factory.mktemp("template") / "db.sqlite3"
    with _instead(_sqlite(path), django_db_blocker):
        call_command("migrate", verbosity=0)
    return path


@pytest.fixture(scope="session")
def postgres_template(postgres_server: PostgresServer, django_db_blocker: DjangoDbBlocker) -> str:
    """The name of a migrated PostgreSQL database."""
    url = postgres_server.create_database("template_of_tests")
    with _instead(_postgres(url), django_db_blocker):
        call_command("migrate", verbosity=0)
    return "template_of_tests"


@pytest.fixture
def sqlite(sqlite_template: Path, tmp_path: Path, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """An empty SQLite file behind the default connection, of this test's own."""
    path = tmp_path / "db.sqlite3"
    shutil.copy(sqlite_template, path)
    with _instead(_sqlite(path), django_db_blocker):
        yield


@pytest.fixture
def postgres(
    postgres_template: str,
    postgres_server: PostgresServer,
    tmp_path: Path,
    django_db_blocker: DjangoDbBlocker,
) -> Iterator[None]:
    """An empty PostgreSQL database behind the default connection, of this test's own."""
    name = "t" + "".join(filter(str.isalnum, tmp_path.name.lower()))[:50]
    with psycopg.connect(postgres_server.url, autocommit=True) as connection:
        # Names that cannot hurt: the fixture's own and letters of the test's.
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{postgres_template}"'.encode())
    with _instead(_postgres(postgres_server.url_of(name)), django_db_blocker):
        yield


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database(request: pytest.FixtureRequest) -> None:
    """Both, one after the other."""
    request.getfixturevalue(request.param)
