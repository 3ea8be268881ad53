"""Other databases behind Django's default connection, for tests that need commits, threads or PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.db import connections
from pytest_django.plugin import DjangoDbBlocker


@contextmanager
def instead(settings: dict[str, Any], blocker: DjangoDbBlocker) -> Iterator[None]:
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


def postgres_settings(url: str) -> dict[str, Any]:
    """Of a database of `tests.support.services`."""
    parts = urlsplit(url)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.path.lstrip("/"),
        "USER": parts.username,
        "HOST": parts.hostname,
        "PORT": parts.port,
        "OPTIONS": {},
    }


def sqlite_settings(path: Path) -> dict[str, Any]:
    """Of a file, as production has it: a writer waits for another instead of failing."""
    options = {
        "transaction_mode": "IMMEDIATE",
        "init_command": "PRAGMA journal_mode=wal; PRAGMA busy_timeout=20000",
    }
    return {"ENGINE": "django.db.backends.sqlite3", "NAME": str(path), "OPTIONS": options}
