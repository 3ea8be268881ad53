"""Opens the store of vectors that the settings name.

Importing this module costs numpy: `pipeline.semantic.lazily` does it when a route first asks.
"""

from __future__ import annotations

from pipeline.semantic.memory import MemoryVectors
from pipeline.semantic.postgres import PostgresVectors, prepare
from pipeline.semantic.redis import RedisVectors
from pipeline.semantic.stores import VectorStore


def open_store(postgres: str | None, redis: str | None, memory_bytes: int) -> VectorStore:
    """In PostgreSQL where its conninfo is given, else in Redis, else in this process. It may block: the table
    is made where there is none. Raises psycopg's errors."""
    if postgres is not None:
        prepare(postgres)
        return PostgresVectors(postgres)
    if redis is not None:
        return RedisVectors(redis)
    return MemoryVectors(memory_bytes)
