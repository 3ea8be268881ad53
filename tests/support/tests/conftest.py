"""The support's own tests use its fixtures; they are imported, since only the root conftest may load
plugins."""

from tests.support.fixtures import fake_upstream, fake_upstream_server
from tests.support.services import fresh_postgres, fresh_redis, postgres_server, postgres_url, redis_url

__all__ = [
    "fake_upstream",
    "fake_upstream_server",
    "fresh_postgres",
    "fresh_redis",
    "postgres_server",
    "postgres_url",
    "redis_url",
]
