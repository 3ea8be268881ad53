"""Replicas that start at once on an empty PostgreSQL: one migrates, beside whose index nobody may stand in
line within the database."""

from __future__ import annotations

import secrets
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.served import Served
from tests.support.services import PostgresServer


@pytest.mark.postgres
@pytest.mark.timeout(300)
def test_replicas_that_start_at_once_all_serve(postgres_server: PostgresServer) -> None:
    url = postgres_server.create_database("at_once")
    secret = secrets.token_hex(32)
    replicas = [Served(LLM_GATEWAY_DATABASE_URL=url, LLM_GATEWAY_SECRET_KEY=secret) for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        # Who does not come up raises, with its log.
        assert list(pool.map(_serves, replicas)) == [True, True, True]


def _serves(replica: Served) -> bool:
    with replica:
        return True
