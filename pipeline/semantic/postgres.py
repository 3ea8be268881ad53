"""Vectors in PostgreSQL with pgvector, for those who keep theirs there.

One table, not logged: what is in it can be lost. A partition is found by its index and searched exactly; an
approximate index over all would be asked for neighbours of other teams first, and filter them afterwards.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import psycopg
from pgvector import Vector
from pgvector.psycopg import register_vector_async
from psycopg import AsyncConnection, Error
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from pipeline.semantic.matrix import unpack
from pipeline.semantic.stores import PARTITION, Found

# A look takes a millisecond or two; more connections than this would only be held.
_CONNECTIONS = 4
# What is too old for everybody is taken out again and again.
_SWEEP = 500
_SWEEP_ROWS = 5000

_PREPARE = (
    "CREATE EXTENSION IF NOT EXISTS vector",
    """CREATE UNLOGGED TABLE IF NOT EXISTS semantic_vector (
        partition text NOT NULL,
        found text NOT NULL,
        added bigint GENERATED ALWAYS AS IDENTITY,
        ends timestamptz NOT NULL,
        vector vector NOT NULL,
        PRIMARY KEY (partition, found)
    )""",
    "CREATE INDEX IF NOT EXISTS semantic_vector_ends ON semantic_vector (ends)",
)
_NEAREST = """
    SELECT found, 1 - (vector <=> %(vector)s) FROM semantic_vector
    WHERE partition = %(partition)s AND vector_dims(vector) = %(dimensions)s
    ORDER BY vector <=> %(vector)s LIMIT %(most)s
"""
_ADD = """
    INSERT INTO semantic_vector (partition, found, ends, vector)
    VALUES (%(partition)s, %(found)s, now() + make_interval(secs => %(seconds)s), %(vector)s)
    ON CONFLICT (partition, found) DO UPDATE
    SET ends = EXCLUDED.ends, vector = EXCLUDED.vector, added = DEFAULT
"""
_OVER = """
    DELETE FROM semantic_vector WHERE partition = %(partition)s AND found IN (
        SELECT found FROM semantic_vector WHERE partition = %(partition)s ORDER BY added DESC OFFSET %(most)s
    )
"""
_DROP = "DELETE FROM semantic_vector WHERE partition = %(partition)s AND found = %(found)s"
_OLD = """
    DELETE FROM semantic_vector WHERE ctid IN (
        SELECT ctid FROM semantic_vector WHERE ends < now() LIMIT %(rows)s
    )
"""


def prepare(conninfo: str) -> None:
    """Make the extension and the table where they are not there. It blocks. Raises psycopg's errors: who may
    not make an extension asks somebody who may for `CREATE EXTENSION vector`."""
    with psycopg.connect(conninfo, autocommit=True, connect_timeout=10) as connection:
        there = connection.execute("SELECT to_regclass('semantic_vector')").fetchone()
        if there == (None,):
            for words in _PREPARE:
                connection.execute(words)


class PostgresVectors:
    """A store in the database of `conninfo`. Raises OSError where it is away or not prepared."""

    def __init__(self, conninfo: str, partition: int = PARTITION) -> None:
        self._partition = partition
        self._added = 0
        self._opening = asyncio.Lock()
        self._open = False
        self._pool: AsyncConnectionPool[AsyncConnection[tuple[str, float]]] = AsyncConnectionPool(
            conninfo,
            min_size=0,
            max_size=_CONNECTIONS,
            kwargs={"autocommit": True},
            configure=register_vector_async,
            timeout=1.0,
            reconnect_timeout=5.0,
            open=False,
        )

    async def nearest(self, partition: str, vector: bytes, most: int) -> Sequence[Found]:
        """The nearest of the partition, best first."""
        numbers = unpack(vector)
        asked = {
            "partition": partition,
            "vector": Vector(numbers),
            "dimensions": len(numbers),
            "most": most,
        }
        return [Found(found, float(similarity)) for found, similarity in await self._do([(_NEAREST, asked)])]

    async def add(self, partition: str, found: str, vector: bytes, seconds: float) -> None:
        """Keep a vector for the key `found`."""
        row = {
            "partition": partition,
            "found": found,
            "seconds": seconds,
            "vector": Vector(unpack(vector)),
        }
        work: list[tuple[str, dict[str, object]]] = [
            (_ADD, row),
            (_OVER, {"partition": partition, "most": self._partition}),
        ]
        self._added += 1
        if self._added % _SWEEP == 0:
            work.append((_OLD, {"rows": _SWEEP_ROWS}))
        await self._do(work)

    async def drop(self, partition: str, found: str) -> None:
        """Forget the vector of a key."""
        await self._do([(_DROP, {"partition": partition, "found": found})])

    async def aclose(self) -> None:
        """Close the connections."""
        await self._pool.close()

    async def _do(self, work: list[tuple[str, dict[str, object]]]) -> list[tuple[str, float]]:
        """The rows of the last statement, where it has any."""
        async with self._opening:
            if not self._open:
                await self._pool.open()
                self._open = True
        try:
            async with self._pool.connection() as connection:
                cursor = None
                for words, values in work:
                    cursor = await connection.execute(words.encode(), values)
                return await cursor.fetchall() if cursor is not None and cursor.description else []
        except (Error, PoolTimeout) as error:
            # The type alone: a driver's text may name hosts and users.
            raise ConnectionError(type(error).__name__) from None
