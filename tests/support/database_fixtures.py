"""The fixtures of real databases, for tests that need commits, threads or PostgreSQL's own rules: one of each
kind, migrated once, copied for each test."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from django.core.management import call_command
from pytest_django.plugin import DjangoDbBlocker

from tests.support.databases import instead, postgres_settings, sqlite_settings
from tests.support.services import PostgresServer


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory, django_db_blocker: DjangoDbBlocker) -> Path:
    """A migrated SQLite file."""
    path = tmp_path_factory.mktemp("template") / "db.sqlite3"
    with instead(sqlite_settings(path), django_db_blocker):
        call_command("migrate", verbosity=0)
    return path


@pytest.fixture(scope="session")
def postgres_template(postgres_server: PostgresServer, django_db_blocker: DjangoDbBlocker) -> str:
    """The name of a migrated PostgreSQL database."""
    url = postgres_server.create_database("template_of_tests")
    with instead(postgres_settings(url), django_db_blocker):
        call_command("migrate", verbosity=0)
    return "template_of_tests"


@pytest.fixture
def sqlite(sqlite_template: Path, tmp_path: Path, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """An empty SQLite file behind the default connection, of this test's own."""
    path = tmp_path / "db.sqlite3"
    shutil.copy(sqlite_template, path)
    with instead(sqlite_settings(path), django_db_blocker):
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
    with instead(postgres_settings(postgres_server.url_of(name)), django_db_blocker):
        yield


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database(request: pytest.FixtureRequest) -> None:
    """Both, one after the other."""
    request.getfixturevalue(request.param)
