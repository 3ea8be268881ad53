"""Where a process gets its configuration from: the tables, and a file that remembers what they last said."""

from __future__ import annotations

import logging
import os
import tempfile
import time
from pathlib import Path

import msgspec
from django.db import connection, connections
from django.db.migrations.executor import MigrationExecutor

from providers.crypto import Vault, VaultError
from routing.loader import compile_tables
from routing.measures import end_overdue
from routing.readable import UNREADABLE
from routing.revisions import latest
from routing.snapshot import Snapshot
from routing.tables import Tables, read_tables

logger = logging.getLogger(__name__)

# No provider's id: what is sealed for it opens as no credential.
_NOBODY = 0


class TableSource:
    """The database, and the file `path` beside it, so that a start without the database can serve.

    The file holds the rows as the database does, so secrets in it are sealed twice: by themselves, and with
    the whole, which nobody without the vault's key can read or change. Processes may share it.
    """

    def __init__(self, path: Path, vault: Vault) -> None:
        self._path = path
        self._vault = vault
        # When a measure that holds is over, in seconds since the epoch.
        self._ends: float | None = None

    def latest(self) -> int:
        """The number of the last revision, which measures whose time is over bring about. Blocks. Raises
        DatabaseError."""
        if self._ends is not None and time.time() >= self._ends:
            end_overdue()
        return latest()

    def load(self) -> Snapshot:
        """A snapshot from the tables; its rows are kept. Blocks. Raises DatabaseError; what cannot be kept is
        only logged."""
        tables = read_tables()
        snapshot = compile_tables(tables, self._vault)
        self._ends = snapshot.ends
        try:
            self._write(self._vault.seal(msgspec.json.encode(tables).decode(), _NOBODY))
        except (OSError, *UNREADABLE) as error:
            logger.warning("the last good configuration cannot be kept: %s", type(error).__name__)
        return snapshot

    def recall(self) -> Snapshot | None:
        """The kept snapshot; None where there is none that this key can open. Blocks."""
        try:
            text = self._vault.open(self._path.read_text(encoding="ascii"), _NOBODY)
            tables = msgspec.json.decode(text, type=Tables)
        except FileNotFoundError:
            return None
        except (OSError, VaultError, *UNREADABLE) as error:
            logger.error("the last good configuration cannot be read: %s", type(error).__name__)  # noqa: TRY400 - where it failed says nothing, and a trace may quote the file
            return None
        return compile_tables(tables, self._vault)

    def pending(self) -> bool:
        """True when the tables are older than this program: migrations are to be applied. Newer ones are no
        trouble. Blocks. Raises DatabaseError."""
        executor = MigrationExecutor(connection)
        return bool(executor.migration_plan(executor.loader.graph.leaf_nodes()))

    def release(self) -> None:
        """Close the calling thread's database connections."""
        connections.close_all()

    def _write(self, text: str) -> None:
        """Whole or not at all: beside it, then in its place. mkstemp lets only the owner read."""
        handle, name = tempfile.mkstemp(dir=self._path.parent, prefix=self._path.name)
        try:
            with os.fdopen(handle, "w", encoding="ascii") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(self._path)
        except OSError:
            Path(name).unlink(missing_ok=True)
            raise
