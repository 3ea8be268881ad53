"""An index that a migration builds beside writers, and what an interrupted run of it leaves."""

from __future__ import annotations

import pytest
from django.db import connection, models
from django.db.migrations.loader import MigrationLoader
from django.test.utils import CaptureQueriesContext

from accounts.index_beside import AddIndexBeside

KEY = ("accounts", "0016_usage_by_day")


def run() -> list[str]:
    """The migration's own operation, on a database that may have the index. Its statements."""
    loader = MigrationLoader(connection)
    migration = loader.get_migration(*KEY)
    before = loader.project_state([("accounts", "0015_identities")])
    after = loader.project_state([KEY])
    with (
        CaptureQueriesContext(connection) as said,
        connection.schema_editor(atomic=migration.atomic) as editor,
    ):
        for operation in migration.operations:
            operation.database_forwards("accounts", editor, before, after)
    return [each["sql"] for each in said if "INDEX" in each["sql"]]


def valid() -> list[bool]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('usage_day_day')")
        return [each for (each,) in cursor.fetchall()]


def do(sql: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql)


@pytest.mark.postgres
@pytest.mark.usefixtures("postgres")
def test_it_is_built_beside_writers() -> None:
    do("DROP INDEX usage_day_day")
    (said,) = run()
    assert said.startswith("CREATE INDEX CONCURRENTLY")
    assert valid() == [True]


@pytest.mark.postgres
@pytest.mark.usefixtures("postgres")
def test_what_an_interrupted_run_left_is_built_anew() -> None:
    do("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'usage_day_day'::regclass")
    dropped, made = run()
    assert dropped.startswith("DROP INDEX CONCURRENTLY")
    assert made.startswith("CREATE INDEX CONCURRENTLY")
    assert valid() == [True]


@pytest.mark.postgres
@pytest.mark.usefixtures("postgres")
def test_one_that_is_there_stays() -> None:
    assert run() == []
    assert valid() == [True]


@pytest.mark.usefixtures("sqlite")
def test_sqlite_has_it_too() -> None:
    do("DROP INDEX usage_day_day")
    (said,) = run()
    assert "CONCURRENTLY" not in said
    assert said.startswith("CREATE INDEX")


def test_it_is_an_index_for_the_state() -> None:
    index = models.Index(fields=["day"], name="by_day")
    name, _, words = AddIndexBeside("usageday", index).deconstruct()
    assert (name, words) == ("AddIndexBeside", {"model_name": "usageday", "index": index})
